//! Commands on their way into the log: those that wait together go together.
//!
//! There is no timer that waits for more: while some entries are under way the next one gathers, so
//! the busier the partition, the larger its entries.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
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

/// What a caller wants to be kept for as long as its command takes up room here.
pub(super) type Held = Box<dyn Send>;

/// A command with its caller.
struct Waiting {
    command: Command,
    answer: oneshot::Sender<Result<Outcome>>,
    held: Held,
}

/// A place in the queue. It is empty once the command went into an entry, or its caller gave up
/// before that: without a majority nothing leaves the queue by itself.
type Place = Arc<Mutex<Option<Waiting>>>;

/// Empties the place of a caller who gives up.
struct Claim(Place);

impl Drop for Claim {
    fn drop(&mut self) {
        let waiting = self.0.lock().take();
        drop(waiting);
    }
}

/// The commands of one entry, and what waits for it.
#[derive(Default)]
struct Gathered {
    commands: Vec<Command>,
    answers: Vec<oneshot::Sender<Result<Outcome>>>,
    held: Vec<Held>,
    bytes: usize,
}

impl Gathered {
    fn add(&mut self, place: &Place) {
        let Some(Waiting { command, answer, held }) = place.lock().take() else { return };
        self.bytes += command.mutation.weight();
        self.commands.push(command);
        self.answers.push(answer);
        self.held.push(held);
    }

    fn full(&self) -> bool {
        self.commands.len() >= ENTRY_COMMANDS || self.bytes >= ENTRY_BYTES
    }
}

/// The queue in front of a partition's log. Dropping it ends its task once what waits is done.
pub(super) struct Proposer {
    queue: mpsc::Sender<Place>,
}

impl Proposer {
    pub(super) fn start(group: Group, seam: Seam) -> Proposer {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(run(group, seam, waiting));
        Proposer { queue }
    }

    /// Proposes a command; what it came to. `held` is dropped when neither the queue nor an entry
    /// under way has the command any more, which may be long after the caller has given up.
    ///
    /// # Errors
    /// `Overloaded` if the queue is full; else as [`Group::propose`], and the command's own refusal.
    pub(super) async fn propose(&self, command: Command, held: Held) -> Result<Outcome> {
        let (tell, answer) = oneshot::channel();
        let place = Arc::new(Mutex::new(Some(Waiting { command, answer: tell, held })));
        let _claim = Claim(place.clone());
        self.queue.try_send(place).map_err(|error| match error {
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

async fn run(group: Group, seam: Seam, mut waiting: mpsc::Receiver<Place>) {
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            first = waiting.recv(), if under_way.len() < WINDOW => {
                let Some(first) = first else { break };
                let gathered = gather(&first, &mut waiting);
                if !gathered.commands.is_empty() {
                    under_way.push(propose(group.clone(), seam.clock.wall_ms(), gathered));
                }
            }
        }
    }
    while under_way.next().await.is_some() {}
}

fn gather(first: &Place, waiting: &mut mpsc::Receiver<Place>) -> Gathered {
    let mut gathered = Gathered::default();
    gathered.add(first);
    while !gathered.full()
        && let Ok(next) = waiting.try_recv()
    {
        gathered.add(&next);
    }
    gathered
}

async fn propose(group: Group, time_ms: u64, gathered: Gathered) {
    let Gathered { commands, answers, held, .. } = gathered;
    let proposed = match (Entry { time_ms, commands }).encode() {
        Ok(payload) => group.propose(payload).await,
        Err(error) => Err(error.into_kind(Kind::InvalidArgument)),
    };
    drop(held);
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

#[cfg(test)]
#[path = "propose_test.rs"]
mod tests;
