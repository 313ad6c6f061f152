//! What the tests of this floor have their groups do: keep a list.

use std::sync::Arc;

use bytes::Bytes;

use super::snapshot::{Chunks, travelling};
use super::staging::{Staged, Staging};
use crate::engine::{Batch, Engine, Family, View, keys};
use crate::raft::{Apply, Reply};
use crate::rpc::message::SnapshotChunk;
use crate::types::{Error, GroupId, Result};
use crate::wal::{Position, Tag};

/// Appends each payload to a list in the engine, and answers with its place. An entry that is applied
/// twice would stand in the list twice.
pub(super) struct Journal {
    group: GroupId,
    engine: Arc<dyn Engine>,
    length: u64,
}

impl Journal {
    pub(super) fn new(group: GroupId, engine: Arc<dyn Engine>) -> Journal {
        Journal { group, engine, length: 0 }
    }

    /// The list, as the engine holds it.
    pub(super) fn list(group: GroupId, engine: &dyn Engine) -> Vec<Bytes> {
        let view = engine.view().unwrap();
        let range = keys::data_range(group);
        let pairs = view.scan(Family::Data, range, false, usize::MAX, usize::MAX).unwrap();
        pairs.into_iter().map(|(_, value)| value).collect()
    }
}

impl Apply for Journal {
    fn load(&mut self) -> Result<()> {
        let stored = self.engine.get(Family::Meta, &keys::state(self.group))?;
        self.length = match stored {
            None => 0,
            Some(bytes) => {
                let bytes: [u8; 8] =
                    bytes.as_ref().try_into().map_err(|_| Error::internal("length"))?;
                u64::from_be_bytes(bytes)
            }
        };
        Ok(())
    }

    fn apply(&mut self, _at: Position, payload: &Bytes, batch: &mut Batch) -> Result<Reply> {
        let key = keys::data(self.group, &self.length.to_be_bytes());
        batch.put(Family::Data, key, payload.clone());
        self.length += 1;
        let length = Bytes::copy_from_slice(&self.length.to_be_bytes());
        batch.put(Family::Meta, keys::state(self.group), length.clone());
        Ok(Reply::Bytes(length))
    }

    fn written(&mut self) {}
}

/// All chunks of a snapshot, as they are sent.
pub(super) fn chunks(
    group: GroupId,
    view: Arc<dyn View>,
    engine: &dyn Engine,
    staging: &Staging,
) -> Vec<SnapshotChunk> {
    let outgoing = staging.send(GroupId::Metadata).unwrap();
    let mut all = Vec::new();
    for (number, run) in engine.export(view, travelling(group), &outgoing.dir()).enumerate() {
        let run = run.unwrap();
        let family = run.family;
        let mut chunks = Chunks::of(run).unwrap();
        while let Some(data) = chunks.next().unwrap() {
            all.push(SnapshotChunk {
                transfer: outgoing.transfer(),
                chunk: all.len() as u32,
                run: number as u32,
                data_family: family == Family::Data,
                checksum: crc32c::crc32c(&data),
                data,
                ..SnapshotChunk::default()
            });
        }
    }
    all
}

/// Sends a snapshot from one engine's side to the other's.
pub(super) async fn ship(
    tag: Tag,
    view: Arc<dyn View>,
    from: (&dyn Engine, &Staging),
    to: &Staging,
) -> Staged {
    let chunks = chunks(tag.group, view, from.0, from.1);
    let (transfer, count) = (chunks.first().map_or(0, |chunk| chunk.transfer), chunks.len());
    for chunk in chunks {
        to.take(tag, chunk).await.unwrap();
    }
    to.complete(tag, transfer, count as u32).await.unwrap()
}
