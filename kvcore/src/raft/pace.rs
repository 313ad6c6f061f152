//! Holds what is sent to a rate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A rate in bytes a second, shared by all who send. Those who come while it is used up wait their turn.
pub(super) struct Pace {
    bytes_a_second: AtomicU64,
    /// When what was let through so far has passed.
    free_at: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(bytes_a_second: u64) -> Pace {
        let bytes_a_second = AtomicU64::new(bytes_a_second.max(1));
        Pace { bytes_a_second, free_at: Mutex::new(Instant::now()) }
    }

    /// Holds to another rate from now on; those who have their turn keep it.
    pub(super) fn set(&self, bytes_a_second: u64) {
        self.bytes_a_second.store(bytes_a_second.max(1), Ordering::Relaxed);
    }

    /// Returns when that many bytes may go.
    pub(super) async fn wait(&self, bytes: usize) {
        let rate = self.bytes_a_second.load(Ordering::Relaxed);
        let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let turn = {
            let mut free_at = self.free_at.lock();
            let turn = (*free_at).max(Instant::now());
            *free_at = turn + takes;
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_senders_together_keep_the_rate() {
        let pace = Pace::new(1000);
        let began = Instant::now();
        let senders = (0..10).map(|_| async {
            for _ in 0..5 {
                pace.wait(100).await;
            }
        });
        futures::future::join_all(senders).await;
        // The last one does not wait for itself to pass.
        assert_eq!(began.elapsed().as_millis(), 4900);
        // An idle time is not saved up.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let began = Instant::now();
        pace.wait(1000).await;
        pace.wait(1000).await;
        assert_eq!(began.elapsed().as_millis(), 1000);
        // Half as fast, for those who come from now on.
        pace.set(500);
        pace.wait(1000).await;
        pace.wait(1000).await;
        assert_eq!(began.elapsed().as_millis(), 4000);
    }
}
