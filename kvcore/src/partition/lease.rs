//! The lease before a read that trusts clocks: whether a quorum has confirmed the leader not long ago.
//!
//! Followers do not vote for another leader for a while after they have heard of this one (Ongaro's thesis,
//! section 6.4.1). The leader counts from when it sent what a quorum has answered, and stops well before
//! they do, so that clocks may differ a little in rate. Raft's own clock stands still while the machine
//! sleeps, and theirs do not; so a lease is only good if boot time went on no faster than that clock.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::raft::Group;
use crate::types::Seam;

/// So much the clocks of one machine may be apart from one look to the next.
const SLACK: Duration = Duration::from_millis(20);

/// The lease of one replica, should it lead.
pub(super) struct Lease {
    group: Group,
    seam: Seam,
    clocks: Mutex<Clocks>,
}

/// What the two clocks showed when they were last looked at together.
#[derive(Clone, Copy)]
struct Clocks {
    running: Instant,
    boot: Duration,
    /// Until then a lease may stem from before the machine slept.
    doubtful: Option<Instant>,
}

impl Clocks {
    /// Takes note of the time. Whether a lease that is `lease` long at most may be trusted.
    fn look(&mut self, running: Instant, boot: Duration, lease: Duration) -> bool {
        let ran = running.saturating_duration_since(self.running);
        if boot.saturating_sub(self.boot) > ran + SLACK {
            self.doubtful = Some(running + lease);
        }
        (self.running, self.boot) = (running, boot);
        match self.doubtful {
            Some(until) if running < until => false,
            _ => {
                self.doubtful = None;
                true
            }
        }
    }
}

impl Lease {
    pub(super) fn new(group: Group, seam: Seam) -> Lease {
        let clocks =
            Clocks { running: Instant::now(), boot: seam.clock.monotonic(), doubtful: None };
        Lease { group, seam, clocks: Mutex::new(clocks) }
    }

    /// Whether the replica leads by its lease, and has applied all that was committed before.
    pub(super) async fn holds(&self) -> bool {
        let awake = {
            let boot = self.seam.clock.monotonic();
            self.clocks.lock().look(Instant::now(), boot, self.group.lease())
        };
        awake && self.group.leads_by_lease().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_before_the_machine_slept_is_not_trusted() {
        let (start, lease) = (Instant::now(), Duration::from_millis(700));
        let ms = Duration::from_millis;
        let mut clocks = Clocks { running: start, boot: ms(5000), doubtful: None };
        assert!(clocks.look(start + ms(100), ms(5100), lease));
        assert!(clocks.look(start + ms(200), ms(5215), lease), "a little apart");
        // It slept for ten seconds, of which the running clock knows nothing.
        assert!(!clocks.look(start + ms(300), ms(15_300), lease));
        assert!(!clocks.look(start + ms(900), ms(15_900), lease));
        assert!(clocks.look(start + ms(1000), ms(16_000), lease), "it must be a new one by now");
        assert!(clocks.look(start + ms(1100), ms(16_100), lease));
    }
}
