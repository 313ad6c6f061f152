//! What waits for the writer.
//!
//! Callers put their records straight into the newest batch, under the queue's lock, so the order
//! of the queue is the order on disk. A group's lock is held around that, so a group's records
//! stand in the order in which its memory changed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::Done;
use super::batch::{Batch, Op, Waiter};
use super::group::{Effect, Group, Mark};
use super::record::{Action, Frame, Tag};
use crate::types::{Error, Kind, Result};

/// Buffers kept for the next batches, and how large they may be.
const BUFFERS: usize = 2;
const BUFFER_BYTES: usize = 16 << 20;

/// Why the log takes no more writes: given to every caller from then on.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    kind: Kind,
    message: String,
}

impl Failure {
    pub fn new(error: &Error) -> Failure {
        Failure { kind: error.kind(), message: error.to_string() }
    }

    pub fn error(&self) -> Error {
        Error::new(self.kind, "the log failed and takes no more writes until it is opened again")
            .because(self.message.clone())
    }
}

#[derive(Debug)]
enum Phase {
    Open,
    Closing,
    Failed(Failure),
}

/// What the writer is to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Write this batch.
    Batch(Batch),
    /// Everything is written and no more will come.
    Closed,
    /// The log failed.
    Failed,
}

/// The writer's queue. Its bound is soft: see [`Queue::pressure`].
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// Whether the phase is open, to be seen without the lock.
    is_open: AtomicBool,
    bytes: AtomicUsize,
    batch_bytes: usize,
    bound: usize,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    batches: VecDeque<Batch>,
    next_number: u64,
    /// Committed positions that go out with the next batch behind which none waits: by then all
    /// entries that they speak of are on disk or in that batch.
    committed: BTreeMap<Tag, (Arc<Group>, Bytes)>,
    buffers: Vec<Vec<u8>>,
}

/// The queue while it takes operations, locked.
pub(super) struct Open<'a> {
    queue: &'a Queue,
    state: MutexGuard<'a, State>,
}

impl Queue {
    /// A queue whose batches are closed at about `batch_bytes`.
    pub fn new(batch_bytes: usize, bound: usize) -> Queue {
        let state = State {
            phase: Phase::Open,
            batches: VecDeque::new(),
            next_number: 0,
            committed: BTreeMap::new(),
            buffers: Vec::new(),
        };
        Queue {
            state: Mutex::new(state),
            wake: Condvar::new(),
            is_open: AtomicBool::new(true),
            bytes: AtomicUsize::new(0),
            batch_bytes,
            bound,
        }
    }

    /// Whether more waits than should: callers are asked to hold back, but nothing is refused.
    pub fn pressure(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.bound
    }

    /// Bytes that wait for the disk.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// # Errors
    /// `Closed`, or what the log failed with.
    pub fn check(&self) -> Result<()> {
        if self.is_open.load(Ordering::Acquire) { Ok(()) } else { self.open().map(drop) }
    }

    /// Locks the queue to add something.
    ///
    /// # Errors
    /// `Closed`, or what the log failed with.
    pub fn open(&self) -> Result<Open<'_>> {
        let state = self.state.lock();
        match &state.phase {
            Phase::Open => Ok(Open { queue: self, state }),
            Phase::Closing => Err(Error::new(Kind::Closed, "the log is closed")),
            Phase::Failed(failure) => Err(failure.error()),
        }
    }

    /// Whether the writer would have to wait for something to do.
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.batches.is_empty() && matches!(state.phase, Phase::Open)
    }

    /// Waits for something to do.
    pub fn next(&self) -> Next {
        let mut state = self.state.lock();
        loop {
            if let Phase::Failed(_) = state.phase {
                return Next::Failed;
            }
            if let Some(mut batch) = state.batches.pop_front() {
                if state.batches.is_empty() {
                    self.take_committed(&mut state, &mut batch);
                }
                return Next::Batch(batch);
            }
            match state.phase {
                Phase::Closing if state.committed.is_empty() => return Next::Closed,
                Phase::Closing => {
                    let mut batch = state.new_batch();
                    self.bytes.fetch_add(batch.bytes(), Ordering::Relaxed);
                    self.take_committed(&mut state, &mut batch);
                    return Next::Batch(batch);
                }
                Phase::Open | Phase::Failed(_) => self.wake.wait(&mut state),
            }
        }
    }

    fn take_committed(&self, state: &mut State, batch: &mut Batch) {
        let before = batch.bytes();
        for (tag, (group, committed)) in std::mem::take(&mut state.committed) {
            let home = batch.push_frame(&Frame::plain(Action::Commit, tag, &committed));
            let effect = Effect::Mark(Mark::Committed, home);
            batch.ops.push(Op { group: Some(group), effect, done: None });
        }
        self.bytes.fetch_add(batch.bytes() - before, Ordering::Relaxed);
    }

    /// The batch of that many bytes is done with; its buffer can be used again.
    pub fn finished(&self, bytes: usize, buffer: Vec<u8>) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        let mut state = self.state.lock();
        if state.buffers.len() < BUFFERS && buffer.capacity() <= BUFFER_BYTES {
            state.buffers.push(buffer);
        }
    }

    /// Takes no more operations; the writer ends when it has written what waits.
    pub fn close(&self) {
        let mut state = self.state.lock();
        if let Phase::Open = state.phase {
            state.phase = Phase::Closing;
            self.is_open.store(false, Ordering::Release);
        }
        self.wake.notify_all();
    }

    /// Takes no more operations, ever; returns why, which is what it failed with first, and those that
    /// waited.
    pub fn fail(&self, failure: Failure) -> (Failure, Vec<Op>) {
        let mut state = self.state.lock();
        let failure = match &state.phase {
            Phase::Failed(first) => first.clone(),
            Phase::Open | Phase::Closing => failure,
        };
        state.phase = Phase::Failed(failure.clone());
        self.is_open.store(false, Ordering::Release);
        state.committed.clear();
        self.wake.notify_all();
        let batches = std::mem::take(&mut state.batches);
        (failure, batches.into_iter().flat_map(|batch| batch.ops).collect())
    }

    /// What the log failed with.
    pub fn failure(&self) -> Option<Error> {
        match &self.state.lock().phase {
            Phase::Failed(failure) => Some(failure.error()),
            Phase::Open | Phase::Closing => None,
        }
    }
}

impl State {
    fn new_batch(&mut self) -> Batch {
        self.next_number += 1;
        Batch::new(self.next_number, self.buffers.pop().unwrap_or_default())
    }
}

impl Open<'_> {
    /// Adds an operation: `fill` puts its records into the batch. When `fill` fails it must have
    /// put nothing there; nothing is added then, and `done` is left where it is.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn add(
        mut self,
        group: Option<&Arc<Group>>,
        done: &mut Option<Done>,
        fill: impl FnOnce(&mut Batch) -> Result<Effect>,
    ) -> Result<()> {
        let Open { queue, state } = &mut self;
        let state = &mut **state;
        if state.batches.back().is_none_or(|batch| batch.bytes() >= queue.batch_bytes) {
            let batch = state.new_batch();
            queue.bytes.fetch_add(batch.bytes(), Ordering::Relaxed);
            state.batches.push_back(batch);
        }
        let Some(batch) = state.batches.back_mut() else {
            return Err(Error::internal("the queue of the log lost a batch"));
        };
        let before = batch.bytes();
        let effect = fill(batch)?;
        queue.bytes.fetch_add(batch.bytes() - before, Ordering::Relaxed);
        if let (Effect::Removed, Some(group)) = (&effect, group) {
            // It would otherwise be written behind the removal and bring a log back to life.
            state.committed.remove(&group.tag);
        }
        batch.ops.push(Op { group: group.cloned(), effect, done: done.take().map(Waiter) });
        self.queue.wake.notify_one();
        Ok(())
    }

    /// Buffers a committed position, in the place of the group's last one. Wakes nobody.
    pub fn set_committed(&mut self, group: &Arc<Group>, committed: Bytes) {
        self.state.committed.insert(group.tag, (group.clone(), committed));
    }
}
