//! The real clock and the real source of randomness.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::types::{Clock, Entropy, Seam};

/// The machine's clocks and the operating system's randomness.
#[derive(Debug)]
struct System;

/// The seam of a program that runs for real.
pub(super) fn seam() -> Seam {
    Seam { clock: Arc::new(System), entropy: Arc::new(System) }
}

impl Clock for System {
    fn monotonic(&self) -> Duration {
        // Boot time, because it goes on while the machine sleeps: a lease must not.
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Entropy for System {
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_numbers_differ() {
        let seam = seam();
        let before = seam.clock.monotonic();
        assert!(seam.clock.monotonic() >= before);
        assert!(seam.clock.wall_ms() > 1_700_000_000_000);
        assert_ne!(seam.next_u128(), seam.next_u128());
    }
}
