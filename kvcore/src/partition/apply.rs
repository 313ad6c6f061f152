//! What a log entry does to a partition: deterministic, on every replica alike.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::sessions::{Sessions, Verdict};
use crate::engine::{Batch, Engine, Family, View, keys};
use crate::raft::{Apply, Reply};
use crate::types::{
    Command, Error, GroupId, Kind, Mutation, Outcome, PartitionId, Result, Revision,
};
use crate::wal::Position;

/// The first byte of each entry. A replica that meets a larger one stops rather than guess.
const FORMAT: u8 = 2;

/// One log entry: commands that were waiting together.
#[derive(Serialize, Deserialize)]
pub(super) struct Entry {
    /// The leader's wall clock when it proposed the entry; log time is the largest seen.
    pub(super) time_ms: u64,
    pub(super) commands: Vec<Command>,
}

impl Entry {
    pub(super) fn encode(&self) -> Result<Bytes> {
        postcard::to_extend(self, vec![FORMAT])
            .map(Bytes::from)
            .map_err(|error| Error::internal("commands cannot be encoded").because(error))
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Entry> {
        match payload.split_first() {
            Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|error| {
                Error::new(Kind::Corruption, "log entry does not parse").because(error)
            }),
            other => Err(Error::new(Kind::Unsupported, "log entry of an unknown format")
                .with("format", other.map_or(0, |(format, _)| *format))
                .with("known", FORMAT)),
        }
    }
}

/// What a partition counts.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) revision: Revision,
    time_ms: u64,
}

impl Header {
    pub(super) fn read(view: &dyn View, group: GroupId) -> Result<Header> {
        match view.get(Family::Meta, &keys::state(group))? {
            None => Ok(Header::default()),
            Some(bytes) => postcard::from_bytes(&bytes).map_err(|error| {
                Error::new(Kind::Corruption, "stored partition header does not parse")
                    .with("group", group)
                    .because(error)
            }),
        }
    }
}

/// The state of one partition, as far as it is not simply in the engine.
pub(super) struct Partition {
    group: GroupId,
    engine: Arc<dyn Engine>,
    header: Header,
    sessions: Sessions,
    /// The revisions of the keys that the batch under construction changes; 0 for one that it removes.
    unwritten: HashMap<Bytes, Revision>,
}

impl Partition {
    pub(super) fn new(
        partition: PartitionId,
        engine: Arc<dyn Engine>,
        session_limit: usize,
    ) -> Partition {
        let group = GroupId::Partition(partition);
        Partition {
            group,
            engine,
            header: Header::default(),
            sessions: Sessions::new(group, session_limit),
            unwritten: HashMap::new(),
        }
    }

    /// The revision of a key's value, 0 if it has none.
    fn revision(&self, key: &Bytes) -> Result<Revision> {
        if let Some(revision) = self.unwritten.get(key) {
            return Ok(*revision);
        }
        let stored = self.engine.get(Family::Data, &keys::data(self.group, key))?;
        stored.map_or(Ok(0), |stored| Ok(parse_stored(&stored)?.1))
    }

    /// The outcome if the condition of a mutation does not hold.
    fn conflict(&self, mutation: &Mutation) -> Result<Option<Outcome>> {
        let Some(wanted) = mutation.if_revision() else { return Ok(None) };
        let revision = self.revision(mutation.key())?;
        let code = Kind::Conflict.code();
        let refused = Outcome::Refused { code, revision: Some(revision) };
        Ok((revision != wanted).then_some(refused))
    }

    fn change(&mut self, mutation: &Mutation, batch: &mut Batch) -> Result<Outcome> {
        if let Some(refused) = self.conflict(mutation)? {
            return Ok(refused);
        }
        match mutation {
            Mutation::Put { key, value, .. } => {
                self.header.revision += 1;
                let revision = self.header.revision;
                batch.put(Family::Data, keys::data(self.group, key), stored(revision, value));
                self.unwritten.insert(key.clone(), revision);
                Ok(Outcome::Put { revision })
            }
            Mutation::Delete { key, .. } => {
                let existed = self.revision(key)? != 0;
                if existed {
                    self.header.revision += 1;
                    batch.delete(Family::Data, keys::data(self.group, key));
                    self.unwritten.insert(key.clone(), 0);
                }
                Ok(Outcome::Deleted { existed })
            }
        }
    }

    fn run(&mut self, command: &Command, batch: &mut Batch) -> Result<Outcome> {
        match self.sessions.judge(command, self.header.time_ms) {
            Verdict::Known(outcome) => return Ok(outcome),
            Verdict::Refused(kind) => {
                return Ok(Outcome::Refused { code: kind.code(), revision: None });
            }
            Verdict::Fresh => {}
        }
        let outcome = self.change(&command.mutation, batch)?;
        self.sessions.remember(command, outcome.clone(), batch)?;
        Ok(outcome)
    }
}

impl Apply for Partition {
    fn load(&mut self) -> Result<()> {
        let view = self.engine.view()?;
        self.header = Header::read(view.as_ref(), self.group)?;
        self.sessions.load(view.as_ref())
    }

    fn apply(&mut self, _at: Position, payload: &Bytes, batch: &mut Batch) -> Result<Reply> {
        let entry = Entry::decode(payload)?;
        self.header.time_ms = self.header.time_ms.max(entry.time_ms);
        self.sessions.expire(self.header.time_ms, batch);
        let outcomes: Result<Vec<Outcome>> =
            entry.commands.iter().map(|command| self.run(command, batch)).collect();
        let header = postcard::to_stdvec(&self.header).map_err(|error| {
            Error::internal("partition header cannot be encoded").because(error)
        })?;
        batch.put(Family::Meta, keys::state(self.group), Bytes::from(header));
        Ok(Reply::Outcomes(outcomes?))
    }

    fn written(&mut self) {
        self.unwritten.clear();
    }
}

/// A value as it is stored: behind its revision.
fn stored(revision: Revision, value: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(8 + value.len());
    bytes.put_u64_le(revision);
    bytes.put_slice(value);
    bytes.freeze()
}

/// And back: the value, without copying it, and its revision.
pub(super) fn parse_stored(stored: &Bytes) -> Result<(Bytes, Revision)> {
    let (revision, value) = stored
        .split_first_chunk::<8>()
        .ok_or_else(|| Error::new(Kind::Corruption, "stored value has no revision"))?;
    Ok((stored.slice_ref(value), u64::from_le_bytes(*revision)))
}

#[cfg(test)]
#[path = "apply_test.rs"]
mod tests;
