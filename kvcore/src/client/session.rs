//! A client's identity for exactly-once writes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::retry::LONGEST;
use crate::types::{Command, Mutation, Seam, SessionId};

/// How much longer than the call itself a partition recognizes its retries. It also makes up for
/// clocks that differ between client and leader.
const GRACE: Duration = Duration::from_secs(300);

/// One session: its number, and which of its commands have no answer yet. Cheap to clone.
#[derive(Clone)]
pub(super) struct Session(Arc<Inner>);

struct Inner {
    id: SessionId,
    seam: Seam,
    commands: Mutex<Commands>,
}

#[derive(Default)]
struct Commands {
    last: u64,
    unanswered: BTreeSet<u64>,
}

/// A command under way. Dropping it says that its answer is not asked for any more.
pub(super) struct UnderWay {
    session: Session,
    sequence: u64,
    /// What is sent, the same for each attempt.
    pub(super) command: Command,
}

impl Session {
    pub(super) fn new(seam: Seam) -> Session {
        let id = SessionId(seam.entropy.next_u64());
        Session(Arc::new(Inner { id, seam, commands: Mutex::default() }))
    }

    pub(super) fn begin(&self, mutation: Mutation, timeout: Duration) -> UnderWay {
        let (sequence, lowest_unanswered) = {
            let mut commands = self.0.commands.lock();
            commands.last += 1;
            let sequence = commands.last;
            commands.unanswered.insert(sequence);
            (sequence, commands.unanswered.first().copied().unwrap_or(sequence))
        };
        let patience =
            u64::try_from((timeout.min(LONGEST) + GRACE).as_millis()).unwrap_or(u64::MAX);
        let command = Command {
            session: self.0.id,
            sequence,
            lowest_unanswered,
            not_after_ms: self.0.seam.clock.wall_ms().saturating_add(patience),
            mutation,
        };
        UnderWay { session: self.clone(), sequence, command }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.session.0.commands.lock().unanswered.remove(&self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::types::{Clock, Entropy};

    #[derive(Debug)]
    struct Fixed;

    impl Clock for Fixed {
        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }

        fn wall_ms(&self) -> u64 {
            1_000
        }
    }

    impl Entropy for Fixed {
        fn next_u64(&self) -> u64 {
            7
        }
    }

    #[test]
    fn commands_are_numbered_and_the_lowest_open_one_is_told() {
        let session = Session::new(Seam { clock: Arc::new(Fixed), entropy: Arc::new(Fixed) });
        let begin = || {
            let mutation = Mutation::Delete { key: Bytes::from_static(b"k"), if_revision: None };
            session.begin(mutation, Duration::from_secs(5))
        };
        let (first, second) = (begin(), begin());
        assert_eq!((first.command.sequence, first.command.lowest_unanswered), (1, 1));
        assert_eq!((second.command.sequence, second.command.lowest_unanswered), (2, 1));
        drop(first);
        assert_eq!(begin().command.lowest_unanswered, 2);
        assert_eq!(second.command.not_after_ms, 1_000 + 5_000 + 300_000);
        let mutation = Mutation::Delete { key: Bytes::from_static(b"k"), if_revision: None };
        let endless = session.begin(mutation, Duration::MAX);
        assert_eq!(endless.command.not_after_ms, 1_000 + 24 * 3_600_000 + 300_000);
    }
}
