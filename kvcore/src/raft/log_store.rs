//! A group's log, as openraft wants it.
//!
//! Nothing is acknowledged to openraft before the segment log has synced it. Purges do not wait: they
//! go through the same queue, so whatever is appended after them is synced after them as well.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use bytes::{BufMut, Bytes, BytesMut};
use openraft::entry::RaftEntry;
use openraft::impls::EntryPayload;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use super::fault::Fault;
use super::membership;
use super::memory_log::MemoryLog;
use super::types::{Consensus, LeaderId, LogEntry, LogId, Payload, Vote, log_id, position};
use crate::types::{Error, Kind, Result};
use crate::wal::{Log, Position, Record, State};

/// The most one read of the log returns, so that a lagging follower does not cost a gigabyte.
const READ_BYTES: usize = 4 * 1024 * 1024;

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// A group's log. Cheap to clone; all clones are the same log.
#[derive(Clone)]
pub struct LogStore {
    place: Place,
    fault: Fault,
}

/// Where a group's log is kept.
#[derive(Clone)]
enum Place {
    /// On the node's shared segment log.
    Disk(Log),
    /// In memory, gone with the process.
    Memory(MemoryLog),
}

impl LogStore {
    /// A log on the node's shared segment log.
    pub fn disk(log: Log) -> LogStore {
        LogStore { place: Place::Disk(log), fault: Fault::default() }
    }

    /// A log that goes with the process.
    pub fn memory(log: MemoryLog) -> LogStore {
        LogStore { place: Place::Memory(log), fault: Fault::default() }
    }

    /// Where damage to the log is noted.
    pub(super) fn fault(&self) -> Fault {
        self.fault.clone()
    }

    pub(super) fn state(&self) -> State {
        match &self.place {
            Place::Disk(log) => log.state(),
            Place::Memory(log) => log.state(),
        }
    }

    /// What the log takes, for whoever trims logs to a budget.
    pub fn weight(&self) -> Weight {
        match &self.place {
            Place::Disk(log) => Weight { bytes: log.live_bytes(), entries: log.entries() },
            Place::Memory(log) => log.weight(),
        }
    }

    /// The last index up to which the log can be purged so that the entries behind it still weigh that
    /// many bytes; nothing if there is none.
    pub(super) fn purgeable(&self, keep_bytes: u64) -> Option<u64> {
        match &self.place {
            Place::Disk(log) => log.purgeable(keep_bytes),
            Place::Memory(log) => log.purgeable(keep_bytes),
        }
    }

    /// Whether nothing was ever written to it.
    pub fn is_empty(&self) -> bool {
        let state = self.state();
        state.last.is_none() && state.vote.is_none()
    }

    /// Removes the log for good: its replica is gone.
    ///
    /// # Errors
    /// As the log's writer: `StorageFull`, `Closed`, `Internal`.
    pub async fn remove(&self) -> Result<()> {
        let Place::Disk(log) = &self.place else { return Ok(()) };
        let (done, synced) = synced();
        log.remove(done);
        wait(synced).await
    }

    fn read(&self, from: u64, to: u64, limit_bytes: usize) -> Result<Vec<LogEntry>> {
        let records = match &self.place {
            Place::Disk(log) => log.read(from..to, limit_bytes)?,
            Place::Memory(log) => log.read(from..to, limit_bytes),
        };
        records.into_iter().map(entry).collect()
    }

    pub(super) fn vote(&self) -> Result<Option<Vote>> {
        self.state().vote.as_deref().map(decode_vote).transpose()
    }
}

/// What a log takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Bytes of its records.
    pub bytes: u64,
    /// Its entries.
    pub entries: u64,
}

type Synced = tokio::sync::oneshot::Receiver<Result<()>>;

fn synced() -> (crate::wal::Done, Synced) {
    let (tell, synced) = tokio::sync::oneshot::channel();
    let done = Box::new(move |result| {
        // Nobody waits any more when the group is shutting down.
        drop(tell.send(result));
    });
    (done, synced)
}

async fn wait(synced: Synced) -> Result<()> {
    match synced.await {
        Ok(result) => result,
        Err(_) => Err(Error::new(Kind::Closed, "the log was closed")),
    }
}

/// For records that nobody waits for; a failure poisons the log, and the next append hears of it.
fn unheard(result: Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "the log failed");
    }
}

impl RaftLogReader<Consensus> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<LogEntry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        self.read(from, to, usize::MAX).map_err(|error| self.fault.pass(error))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.vote().map_err(|error| self.fault.pass(error))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<LogEntry>> {
        self.read(start, end, READ_BYTES).map_err(|error| self.fault.pass(error))
    }
}

impl RaftLogStorage<Consensus> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<Consensus>> {
        let state = self.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(log_id),
            last_log_id: state.last.map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = encode_vote(vote);
        match &self.place {
            Place::Disk(log) => {
                let (done, synced) = synced();
                log.save_vote(vote, done);
                wait(synced).await.map_err(|error| self.fault.pass(error))
            }
            Place::Memory(log) => {
                log.save_vote(vote);
                Ok(())
            }
        }
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed else { return Ok(()) };
        let committed = encode_position(position(&committed));
        match &self.place {
            Place::Disk(log) => log.save_committed(committed),
            Place::Memory(log) => log.save_committed(committed),
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let committed = self.state().committed;
        committed
            .as_deref()
            .map(|bytes| decode_position(bytes).map(log_id))
            .transpose()
            .map_err(|error| self.fault.pass(error))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Consensus>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records: Result<Vec<Record>> = entries.into_iter().map(record).collect();
        let records = records.map_err(|error| self.fault.pass(error))?;
        match &self.place {
            Place::Disk(log) => {
                let fault = self.fault.clone();
                let done = move |result: Result<()>| {
                    callback.io_completed(result.map_err(|error| fault.pass(error)));
                };
                log.append(records, Box::new(done));
            }
            Place::Memory(log) => {
                callback.io_completed(log.append(records).map_err(|error| self.fault.pass(error)));
            }
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let last = last.as_ref().map(position);
        match &self.place {
            Place::Disk(log) => {
                // A snapshot may be installed next, and its flush must not overtake this.
                let (done, synced) = synced();
                log.truncate_after(last, done);
                wait(synced).await.map_err(|error| self.fault.pass(error))
            }
            Place::Memory(log) => {
                log.truncate_after(last);
                Ok(())
            }
        }
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        match &self.place {
            Place::Disk(log) => log.purge(position(&upto), Box::new(unheard)),
            Place::Memory(log) => log.purge(position(&upto)),
        }
        Ok(())
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

/// A log entry as the segment log keeps it.
pub(super) fn record(entry: LogEntry) -> Result<Record> {
    let position = position(&entry.log_id());
    let (kind, payload) = match entry.payload {
        EntryPayload::Blank => (BLANK, Bytes::new()),
        EntryPayload::Normal(Payload(bytes)) => (NORMAL, bytes),
        EntryPayload::Membership(membership) => (MEMBERSHIP, membership::encode(&membership)?),
    };
    Ok(Record { position, kind, payload })
}

/// And back.
pub(super) fn entry(record: Record) -> Result<LogEntry> {
    let payload = match record.kind {
        BLANK => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(Payload(record.payload)),
        MEMBERSHIP => EntryPayload::Membership(membership::decode(&record.payload)?),
        kind => {
            return Err(Error::new(Kind::Corruption, "log entry of an unknown kind")
                .with("kind", kind)
                .with("index", record.position.index));
        }
    };
    Ok(LogEntry { log_id: log_id(record.position), payload })
}

fn encode_vote(vote: &Vote) -> Bytes {
    let mut bytes = BytesMut::with_capacity(17);
    bytes.put_u64_le(vote.leader_id.term);
    bytes.put_u64_le(vote.leader_id.voted_for);
    bytes.put_u8(u8::from(vote.committed));
    bytes.freeze()
}

pub(super) fn decode_vote(bytes: &[u8]) -> Result<Vote> {
    let (term, rest) = split_u64(bytes)?;
    let (voted_for, rest) = split_u64(rest)?;
    match rest {
        [committed @ (0 | 1)] => {
            Ok(Vote { leader_id: LeaderId { term, voted_for }, committed: *committed == 1 })
        }
        _ => Err(damaged()),
    }
}

fn encode_position(position: Position) -> Bytes {
    let mut bytes = BytesMut::with_capacity(16);
    bytes.put_u64_le(position.term);
    bytes.put_u64_le(position.index);
    bytes.freeze()
}

pub(super) fn decode_position(bytes: &[u8]) -> Result<Position> {
    let (term, rest) = split_u64(bytes)?;
    let (index, _) = split_u64(rest)?;
    Ok(Position { term, index })
}

fn split_u64(bytes: &[u8]) -> Result<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    Ok((u64::from_le_bytes(*number), rest))
}

fn damaged() -> Error {
    Error::new(Kind::Corruption, "stored vote or position does not parse")
}

#[cfg(test)]
#[path = "log_store_test.rs"]
mod tests;
