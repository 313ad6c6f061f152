//! Committed entries become engine batches.
//!
//! Everything that a run of entries changes goes into one batch together with the position of the
//! last of them and the membership in force, so that a crash leaves either all of it or none. After a
//! crash the engine may be behind the log: the entries in between are applied again, and since the
//! position went back with the effects, each still counts once.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use openraft::entry::RaftEntry;
use openraft::impls::EntryPayload;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{OptionalSend, RaftTypeConfig};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::membership;
use super::snapshot::{self, SnapshotData};
use super::types::{
    Consensus, LogEntry, LogId, Payload, Reply, SnapshotMeta, StoredMembership, Term, log_id,
    position, to_io,
};
use crate::engine::{Batch, Engine, Family, View, keys};
use crate::types::{Error, GroupId, Kind, ReplicaId, Result};
use crate::wal::{Position, Tag};

/// How many entries become one engine batch at most.
const ENTRIES: usize = 1024;

/// What a group's entries do. Implementations are deterministic: the same entries in the same order
/// give the same bytes on every replica, whatever the time of day.
pub trait Apply: Send + Sync + 'static {
    /// Reads what it keeps in memory from the engine: at the start, and after a snapshot replaced
    /// everything.
    ///
    /// # Errors
    /// `Corruption` for what does not parse; the engine's own.
    fn load(&mut self) -> Result<()>;

    /// Applies one payload: its effects go into the batch, and must be visible to the payloads after
    /// it although the batch is not written yet.
    ///
    /// # Errors
    /// Only such as make this replica unfit to go on; a command that cannot be done is a reply.
    fn apply(&mut self, position: Position, payload: &Bytes, batch: &mut Batch) -> Result<Reply>;

    /// Everything applied so far has been written.
    fn written(&mut self);
}

/// How far a group has been applied, as stored beside its data.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Applied {
    position: Option<Position>,
    membership_position: Option<Position>,
    membership: Bytes,
}

impl Applied {
    fn decode(bytes: &[u8]) -> Result<Applied> {
        postcard::from_bytes(bytes).map_err(|error| {
            Error::new(Kind::Corruption, "stored position does not parse").because(error)
        })
    }

    fn encode(&self) -> Result<Bytes> {
        postcard::to_stdvec(self)
            .map(Bytes::from)
            .map_err(|error| Error::internal("position cannot be encoded").because(error))
    }

    fn membership(&self) -> Result<StoredMembership> {
        if self.membership.is_empty() {
            return Ok(StoredMembership::default());
        }
        let membership = membership::decode(&self.membership)?;
        Ok(StoredMembership::new(self.membership_position.map(log_id), membership))
    }

    fn meta(&self) -> Result<SnapshotMeta> {
        Ok(SnapshotMeta {
            last_log_id: self.position.map(log_id),
            last_membership: self.membership()?,
        })
    }

    fn from_meta(meta: &SnapshotMeta) -> Result<Applied> {
        Ok(Applied {
            position: meta.last_log_id.as_ref().map(position),
            membership_position: meta.last_membership.log_id().as_ref().map(position),
            membership: membership::encode(meta.last_membership.membership())?,
        })
    }
}

/// Tells when a state machine has come to rest: when it is gone. Cheap to clone.
#[derive(Clone)]
pub(super) struct Ended(watch::Receiver<()>);

impl Ended {
    pub(super) async fn wait(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// One replica's state: an [`Apply`] over its part of the engine.
pub struct StateMachine {
    _alive: watch::Sender<()>,
    tag: Tag,
    engine: Arc<dyn Engine>,
    apply: Box<dyn Apply>,
    applied: Applied,
}

impl StateMachine {
    /// Opens the stored state of a replica. State that belongs to another replica of the group is
    /// deleted first: an old identity never comes back.
    ///
    /// # Errors
    /// `Corruption` for what does not parse; the engine's own.
    pub(super) fn open(
        tag: Tag,
        engine: Arc<dyn Engine>,
        apply: Box<dyn Apply>,
    ) -> Result<(StateMachine, Ended)> {
        let owner = engine.get(Family::Meta, &keys::replica(tag.group))?;
        if owner.as_deref() != Some(tag.replica.0.to_le_bytes().as_slice()) {
            let mut batch = erase(tag.group);
            batch.put(Family::Meta, keys::replica(tag.group), owner_record(tag.replica));
            engine.write(&batch)?;
        }
        let (alive, ended) = watch::channel(());
        let applied = Applied::default();
        let mut machine = StateMachine { _alive: alive, tag, engine, apply, applied };
        machine.load()?;
        Ok((machine, Ended(ended)))
    }

    fn load(&mut self) -> Result<()> {
        let stored = self.engine.get(Family::Meta, &keys::applied(self.tag.group))?;
        self.applied = match stored {
            Some(bytes) => Applied::decode(&bytes)?,
            None => Applied::default(),
        };
        self.apply.load()
    }

    fn apply_run(&mut self, run: &[LogEntry]) -> Result<Vec<Reply>> {
        let mut batch = Batch::default();
        let mut replies = Vec::with_capacity(run.len());
        for entry in run {
            let at = position(&entry.log_id());
            replies.push(match &entry.payload {
                EntryPayload::Blank => Reply::Nothing,
                EntryPayload::Normal(Payload(payload)) => {
                    self.apply.apply(at, payload, &mut batch)?
                }
                EntryPayload::Membership(membership) => {
                    self.applied.membership = membership::encode(membership)?;
                    self.applied.membership_position = Some(at);
                    Reply::Nothing
                }
            });
            self.applied.position = Some(at);
        }
        batch.put(Family::Meta, keys::applied(self.tag.group), self.applied.encode()?);
        self.engine.write(&batch)?;
        self.apply.written();
        Ok(replies)
    }

    async fn replace(&mut self, meta: &SnapshotMeta, parts: Vec<Bytes>) -> Result<()> {
        let group = self.tag.group;
        let mut batch = erase(group);
        for part in parts {
            for (family, key, value) in snapshot::pairs(group, &part)? {
                batch.put(family, key, value);
            }
        }
        batch.put(Family::Meta, keys::replica(group), owner_record(self.tag.replica));
        batch.put(Family::Meta, keys::applied(group), Applied::from_meta(meta)?.encode()?);
        let engine = self.engine.clone();
        let written = tokio::task::spawn_blocking(move || {
            engine.write(&batch)?;
            // The log is purged up to here next, so this must not be lost.
            engine.flush()
        });
        written
            .await
            .map_err(|error| Error::internal("installing was interrupted").because(error))??;
        self.load()
    }

    /// A consistent view of the whole group, with the position it is of.
    fn view(&self) -> Result<(SnapshotMeta, Arc<dyn View>)> {
        let view = self.engine.view()?;
        let stored = view.get(Family::Meta, &keys::applied(self.tag.group))?;
        let applied = stored.map_or(Ok(Applied::default()), |bytes| Applied::decode(&bytes))?;
        Ok((applied.meta()?, view))
    }
}

/// Deletes all that is stored of a group.
pub(super) fn erase(group: GroupId) -> Batch {
    let mut batch = Batch::default();
    batch.delete_range(Family::Data, keys::data_range(group));
    batch.delete_range(Family::Meta, keys::meta_range(group));
    batch
}

fn owner_record(replica: ReplicaId) -> Bytes {
    Bytes::copy_from_slice(&replica.0.to_le_bytes())
}

impl RaftStateMachine<Consensus> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let membership = self.applied.membership().map_err(to_io)?;
        Ok((self.applied.position.map(log_id), membership))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: futures::Stream<Item = io::Result<EntryResponder<Consensus>>> + Unpin + OptionalSend,
    {
        let mut runs = entries.ready_chunks(ENTRIES);
        while let Some(run) = runs.next().await {
            let mut entries = Vec::with_capacity(run.len());
            let mut responders = Vec::with_capacity(run.len());
            for item in run {
                let (entry, responder) = item?;
                entries.push(entry);
                responders.push(responder);
            }
            let replies = self.apply_run(&entries).map_err(|error| {
                tracing::error!(group = %self.tag.group, %error, "entries cannot be applied");
                to_io(error)
            })?;
            for (responder, reply) in responders.into_iter().zip(replies) {
                if let Some(responder) = responder {
                    responder.send(reply);
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { tag: self.tag, engine: self.engine.clone(), view: self.view() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> io::Result<()> {
        let SnapshotData::Parts(parts) = data else {
            return Err(to_io(Error::internal("a snapshot of one's own cannot be installed")));
        };
        self.replace(meta, parts).await.map_err(to_io)
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<Snapshot<Term, u64, <Consensus as RaftTypeConfig>::Node, SnapshotData>>>
    {
        // There is nothing stored to look up: any view of now is a snapshot, and newer is better.
        let (meta, view) = self.view().map_err(to_io)?;
        if meta.last_log_id.is_none() {
            return Ok(None);
        }
        Ok(Some(Snapshot { meta, snapshot: SnapshotData::View(view) }))
    }
}

/// Makes the log purgeable: sees to it that the engine has on disk what the log is to forget. It
/// copies nothing.
pub struct Builder {
    tag: Tag,
    engine: Arc<dyn Engine>,
    view: Result<(SnapshotMeta, Arc<dyn View>)>,
}

impl RaftSnapshotBuilder<Consensus> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(
        &mut self,
    ) -> io::Result<Snapshot<Term, u64, <Consensus as RaftTypeConfig>::Node, SnapshotData>> {
        let view = std::mem::replace(&mut self.view, Err(Error::internal("built before")));
        let (meta, view) = view.map_err(to_io)?;
        let (engine, group) = (self.engine.clone(), self.tag.group);
        let persisted = tokio::task::spawn_blocking(move || -> Result<Option<Position>> {
            engine.flush()?;
            let stored = engine.get_persisted(Family::Meta, &keys::applied(group))?;
            Ok(stored.map(|bytes| Applied::decode(&bytes)).transpose()?.and_then(|a| a.position))
        });
        let persisted = persisted
            .await
            .map_err(|error| to_io(Error::internal("flush was interrupted").because(error)))?
            .map_err(to_io)?;
        // The purge that follows goes up to this snapshot: refuse it if the disk does not hold it.
        if persisted < meta.last_log_id.as_ref().map(position) {
            return Err(to_io(
                Error::internal("the engine did not keep what it flushed")
                    .with("group", self.tag.group),
            ));
        }
        Ok(Snapshot { meta, snapshot: SnapshotData::View(view) })
    }
}

#[cfg(test)]
#[path = "state_machine_test.rs"]
mod tests;
