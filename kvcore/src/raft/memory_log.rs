//! A log that lives as long as its process, for nodes that keep everything in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::types::{Error, Result};
use crate::wal::{Position, Record, State};

/// One group's log in memory. Cheap to clone; all clones are the same log.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    records: BTreeMap<u64, Record>,
    purged: Option<Position>,
    vote: Option<Bytes>,
    committed: Option<Bytes>,
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
        self.0.lock().records.split_off(&from);
    }

    pub(super) fn purge(&self, upto: Position) {
        let mut inner = self.0.lock();
        inner.records = inner.records.split_off(&(upto.index + 1));
        inner.purged = inner.purged.max(Some(upto));
    }

    pub(super) fn save_vote(&self, vote: Bytes) {
        self.0.lock().vote = Some(vote);
    }

    pub(super) fn save_committed(&self, committed: Bytes) {
        self.0.lock().committed = Some(committed);
    }
}
