//! Commands on their way into the log: those that wait together go together.
//!
//! There is no timer that waits for more: while some entries are under way the next one gathers, so
//! the busier the partition, the larger its entries.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::apply::Entry;
use crate::raft::{Group, Reply};
use crate::types::{Command, Error, Kind, Outcome, Result, Seam};

/// Commands that may wait; beyond that the caller is told to come later.
const QUEUE: usize = 4096;
/// Commands in one entry at most.
const ENTRY_COMMANDS: usize = 256;
/// Bytes after which an entry takes no further command.
const ENTRY_BYTES: usize = 256 * 1024;
/// Entries under way at once.
const WINDOW: usize = 4;

type Answer = oneshot::Sender<Result<Outcome>>;

/// The queue in front of a partition's log. Dropping it ends its task once what waits is done.
pub(super) struct Proposer {
    queue: mpsc::Sender<(Command, Answer)>,
}

impl Proposer {
    pub(super) fn start(group: Group, seam: Seam) -> Proposer {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(run(group, seam, waiting));
        Proposer { queue }
    }

    /// Proposes a command; what it came to.
    ///
    /// # Errors
    /// `Overloaded` if the queue is full; else as [`Group::propose`], and the command's own refusal.
    pub(super) async fn propose(&self, command: Command) -> Result<Outcome> {
        let (tell, answer) = oneshot::channel();
        self.queue.try_send((command, tell)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::new(Kind::Overloaded, "the partition has too many commands waiting")
                    .with("limit", QUEUE)
            }
            mpsc::error::TrySendError::Closed(_) => {
                Error::new(Kind::Unavailable, "the replica is shutting down")
            }
        })?;
        match answer.await {
            Ok(outcome) => outcome?.into_result(),
            Err(_) => {
                Err(Error::new(Kind::Timeout, "the replica stopped with the command under way"))
            }
        }
    }
}

async fn run(group: Group, seam: Seam, mut waiting: mpsc::Receiver<(Command, Answer)>) {
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            first = waiting.recv(), if under_way.len() < WINDOW => {
                let Some(first) = first else { break };
                let (commands, answers) = gather(first, &mut waiting);
                under_way.push(propose(group.clone(), seam.clock.wall_ms(), commands, answers));
            }
        }
    }
    while under_way.next().await.is_some() {}
}

fn gather(
    first: (Command, Answer),
    waiting: &mut mpsc::Receiver<(Command, Answer)>,
) -> (Vec<Command>, Vec<Answer>) {
    let mut bytes = first.0.mutation.weight();
    let (mut commands, mut answers) = (vec![first.0], vec![first.1]);
    while commands.len() < ENTRY_COMMANDS && bytes < ENTRY_BYTES {
        let Ok((command, answer)) = waiting.try_recv() else { break };
        bytes += command.mutation.weight();
        commands.push(command);
        answers.push(answer);
    }
    (commands, answers)
}

async fn propose(group: Group, time_ms: u64, commands: Vec<Command>, answers: Vec<Answer>) {
    let proposed = match (Entry { time_ms, commands }).encode() {
        Ok(payload) => group.propose(payload).await,
        Err(error) => Err(error.into_kind(Kind::InvalidArgument)),
    };
    let failure = match proposed {
        Ok(Reply::Outcomes(outcomes)) if outcomes.len() == answers.len() => {
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // Whoever gave up waiting has its answer in the session.
                drop(answer.send(Ok(outcome)));
            }
            return;
        }
        Ok(_) => Error::internal("an entry was answered with something else"),
        Err(error) => error,
    };
    for answer in answers {
        drop(answer.send(Err(failure.again())));
    }
}
