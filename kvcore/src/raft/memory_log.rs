//! A log that lives as long as its process, for nodes that keep everything in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::log_store::Weight;
use crate::types::{Error, Result};
use crate::wal::{Position, Record, State};

/// One group's log in memory. Cheap to clone; all clones are the same log.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    records: BTreeMap<u64, Record>,
    /// Bytes of the records.
    bytes: u64,
    purged: Option<Position>,
    vote: Option<Bytes>,
    committed: Option<Bytes>,
}

/// What an entry takes beside its payload, about.
const ENTRY_OVERHEAD: u64 = 128;

fn weigh(record: &Record) -> u64 {
    ENTRY_OVERHEAD + record.payload.len() as u64
}

impl Inner {
    fn drop_records(&mut self, dropped: BTreeMap<u64, Record>) {
        self.bytes -= dropped.values().map(weigh).sum::<u64>();
    }
}

impl MemoryLog {
    pub(super) fn state(&self) -> State {
        let inner = self.0.lock();
        let last = inner.records.last_key_value().map(|(_, record)| record.position);
        State {
            purged: inner.purged,
            last: last.or(inner.purged),
            vote: inner.vote.clone(),
            committed: inner.committed.clone(),
        }
    }

    pub(super) fn append(&self, records: Vec<Record>) -> Result<()> {
        let mut inner = self.0.lock();
        for record in records {
            let last = inner.records.last_key_value().map(|(index, _)| *index);
            let last = last.or(inner.purged.map(|position| position.index));
            if last.is_some_and(|last| record.position.index != last + 1) {
                return Err(Error::internal("log entries must follow on")
                    .with("last", last.unwrap_or(0))
                    .with("index", record.position.index));
            }
            inner.bytes += weigh(&record);
            inner.records.insert(record.position.index, record);
        }
        Ok(())
    }

    pub(super) fn read(&self, range: Range<u64>, limit_bytes: usize) -> Vec<Record> {
        let inner = self.0.lock();
        let mut left = limit_bytes;
        let mut records = Vec::new();
        if range.start >= range.end {
            return records;
        }
        for record in inner.records.range(range).map(|(_, record)| record) {
            let weight = record.payload.len() + 64;
            if !records.is_empty() && weight > left {
                break;
            }
            left = left.saturating_sub(weight);
            records.push(record.clone());
        }
        records
    }

    pub(super) fn truncate_after(&self, last: Option<Position>) {
        let from = last.map_or(0, |position| position.index + 1);
        let mut inner = self.0.lock();
        let dropped = inner.records.split_off(&from);
        inner.drop_records(dropped);
    }

    pub(super) fn purge(&self, upto: Position) {
        let mut inner = self.0.lock();
        let kept = inner.records.split_off(&(upto.index + 1));
        let dropped = std::mem::replace(&mut inner.records, kept);
        inner.drop_records(dropped);
        inner.purged = inner.purged.max(Some(upto));
    }

    pub(super) fn weight(&self) -> Weight {
        let inner = self.0.lock();
        Weight { bytes: inner.bytes, entries: inner.records.len() as u64 }
    }

    /// As [`LogStore::purgeable`](super::LogStore::purgeable).
    pub(super) fn purgeable(&self, keep_bytes: u64) -> Option<u64> {
        let inner = self.0.lock();
        let mut kept = 0;
        for (index, record) in inner.records.iter().rev() {
            if kept >= keep_bytes {
                return Some(*index);
            }
            kept += weigh(record);
        }
        None
    }

    pub(super) fn save_vote(&self, vote: Bytes) {
        self.0.lock().vote = Some(vote);
    }

    pub(super) fn save_committed(&self, committed: Bytes) {
        self.0.lock().committed = Some(committed);
    }
}
