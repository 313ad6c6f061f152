//! The barrier before a linearizable read: one proof of leadership for all reads that wait.
//!
//! A read may use a proof only if the proof was begun after the read arrived; so those that arrive
//! while one is under way wait for the next, together.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::raft::Group;
use crate::types::{Error, Kind, Result};

/// Reads that may wait; beyond that the caller is told to come later.
const QUEUE: usize = 16 * 1024;

/// The barrier of one replica. Cheap to clone.
#[derive(Clone)]
pub(super) struct Barrier {
    group: Group,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    proving: bool,
    waiting: Vec<oneshot::Sender<Result<()>>>,
}

impl Barrier {
    pub(super) fn new(group: Group) -> Barrier {
        Barrier { group, state: Arc::default() }
    }

    /// Returns when a read may go to the engine.
    ///
    /// # Errors
    /// `Overloaded` if too many wait; else as [`Group::read_index`].
    pub(super) async fn pass(&self) -> Result<()> {
        let (tell, proven) = oneshot::channel();
        let begin = {
            let mut state = self.state.lock();
            if state.waiting.len() >= QUEUE {
                return Err(Error::new(
                    Kind::Overloaded,
                    "the partition has too many reads waiting",
                )
                .with("limit", QUEUE));
            }
            state.waiting.push(tell);
            !std::mem::replace(&mut state.proving, true)
        };
        if begin {
            tokio::spawn(self.clone().prove());
        }
        proven.await.unwrap_or_else(|_| {
            Err(Error::new(Kind::Unavailable, "the replica stopped with the read under way"))
        })
    }

    /// Proves for all that wait, until nobody does.
    async fn prove(self) {
        loop {
            let waiting = {
                let mut state = self.state.lock();
                if state.waiting.is_empty() {
                    state.proving = false;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let proof = self.group.read_index().await;
            for tell in waiting {
                let proof = match &proof {
                    Ok(()) => Ok(()),
                    Err(error) => Err(error.again()),
                };
                // Whoever gave up waiting does not need it.
                drop(tell.send(proof));
            }
        }
    }
}
