//! Committed entries become engine batches.
//!
//! Everything that a run of entries changes goes into one batch together with the position of the
//! last of them and the membership in force, so that a crash leaves either all of it or none. After a
//! crash the engine may be behind the log: the entries in between are applied again, and since the
//! position went back with the effects, each still counts once.
//!
//! An engine that cannot take a batch for now, because its disk is full or it has to catch up, is no
//! reason to give up: what was agreed on waits here until it can be applied. Everything else that an
//! engine may fail with ends the replica.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use futures::StreamExt;
use openraft::entry::RaftEntry;
use openraft::impls::EntryPayload;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{OptionalSend, RaftTypeConfig};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::fault::Fault;
use super::mark::Mark;
use super::membership;
use super::snapshot::{self, SnapshotData};
use super::staging::{Ended, Hold, Staged, Staging, blocking};
use super::types::{
    Consensus, LogEntry, LogId, Payload, Reply, SnapshotMeta, StoredMembership, Term, log_id,
    position,
};
use crate::engine::{Batch, Engine, Family, View, keys};
use crate::types::{Error, GroupId, Kind, ReplicaId, Result};
use crate::wal::{Position, Tag};

/// How many entries become one engine batch at most.
const ENTRIES: usize = 1024;
/// How long opening a replica waits for an engine that has to catch up.
const OPENING: Duration = Duration::from_secs(30);
/// How soon an engine that could not take a batch is asked again, at first and in the long run.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

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
pub(super) struct Applied {
    position: Option<Position>,
    membership_position: Option<Position>,
    membership: Bytes,
}

impl Applied {
    pub(super) fn decode(bytes: &[u8]) -> Result<Applied> {
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

    pub(super) fn meta(&self) -> Result<SnapshotMeta> {
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

/// What a state machine is made of.
pub(super) struct Parts {
    pub(super) tag: Tag,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) staging: Staging,
    pub(super) apply: Box<dyn Apply>,
    pub(super) fault: Fault,
    /// Turns true when the replica is to stop, whatever it waits for.
    pub(super) stop: watch::Receiver<bool>,
}

/// One replica's state: an [`Apply`] over its part of the engine.
pub struct StateMachine {
    hold: Hold,
    parts: Parts,
    applied: Applied,
}

impl StateMachine {
    /// Opens the stored state of a replica. State that belongs to another replica of the group is
    /// deleted first: an old identity never comes back. A snapshot whose installation was interrupted is
    /// installed. Blocks.
    ///
    /// # Errors
    /// `Corruption` for what does not parse; `Unavailable` while another replica of the group is at work
    /// on it; the engine's own.
    pub(super) fn open(parts: Parts) -> Result<(StateMachine, Ended)> {
        let Parts { tag, engine, staging, .. } = &parts;
        let hold = staging.hold(tag.group)?;
        let owner = engine.get(Family::Meta, &keys::replica(tag.group))?;
        let own = owner.as_deref() == Some(tag.replica.0.to_le_bytes().as_slice());
        if let Some((mark, staged)) = staging.marked(*tag)? {
            let applied = if own { applied_of(engine.as_ref(), tag.group)? } else { None };
            // The mark may have outlived the installation, and the state gone on since.
            if !own || applied < mark.position {
                tracing::info!(group = %tag.group, "installing a snapshot that was interrupted");
                import(engine.as_ref(), *tag, &mark, &staged)?;
            } else {
                // It may be in memory only: the engine has lived on.
                engine.flush()?;
            }
            staged.installed()?;
        } else if !own {
            let mut batch = erase(tag.group);
            batch.put(Family::Meta, keys::replica(tag.group), owner_record(tag.replica));
            engine.write_waiting(&batch, OPENING)?;
            // What the other one had applied must not be taken for this one's on disk.
            if persisted(engine.as_ref(), tag.group)?.is_some() {
                engine.flush()?;
            }
        }
        let ended = hold.ended();
        let applied = Applied::default();
        let mut machine = StateMachine { hold, parts, applied };
        machine.load()?;
        Ok((machine, ended))
    }

    fn load(&mut self) -> Result<()> {
        let key = keys::applied(self.parts.tag.group);
        self.applied = match self.parts.engine.get(Family::Meta, &key)? {
            Some(bytes) => Applied::decode(&bytes)?,
            None => Applied::default(),
        };
        self.parts.apply.load()
    }

    /// How far it is applied.
    pub(super) fn position(&self) -> Option<Position> {
        self.applied.position
    }

    async fn apply_run(&mut self, run: &[LogEntry]) -> Result<Vec<Reply>> {
        let mut batch = Batch::default();
        let mut replies = Vec::with_capacity(run.len());
        for entry in run {
            let at = position(&entry.log_id());
            replies.push(match &entry.payload {
                EntryPayload::Blank => Reply::Nothing,
                EntryPayload::Normal(Payload(payload)) => {
                    self.parts.apply.apply(at, payload, &mut batch)?
                }
                EntryPayload::Membership(membership) => {
                    self.applied.membership = membership::encode(membership)?;
                    self.applied.membership_position = Some(at);
                    Reply::Nothing
                }
            });
            self.applied.position = Some(at);
        }
        batch.put(Family::Meta, keys::applied(self.parts.tag.group), self.applied.encode()?);
        let engine = self.parts.engine.clone();
        let written = self.patiently(|| std::future::ready(engine.write(&batch))).await;
        written.map_err(|error| self.blame(error))?;
        self.parts.apply.written();
        Ok(replies)
    }

    /// Tries something until the engine can take it, or the replica is to stop.
    async fn patiently<F>(&mut self, mut attempt: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .without_max_times()
            .build();
        loop {
            let error = match attempt().await {
                Err(error) if passing(error.kind()) => error,
                done => return done,
            };
            let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
            let stopped = self.parts.stop.wait_for(|stop| *stop);
            if tokio::time::timeout(pause, stopped).await.is_ok() {
                return Err(error);
            }
        }
    }

    /// What the engine as a whole has failed with is no damage to this replica's part of it.
    fn blame(&self, error: Error) -> Error {
        match error.kind() {
            Kind::Corruption if self.parts.engine.failure().is_some() => {
                error.into_kind(Kind::Internal)
            }
            _ => error,
        }
    }

    async fn replace(&mut self, meta: &SnapshotMeta, staged: Staged) -> Result<()> {
        let tag = self.parts.tag;
        let applied = Applied::from_meta(meta)?.encode()?;
        let mark = Mark::new(meta.last_log_id.as_ref().map(position), applied, staged.runs());
        let staged = Arc::new(staged);
        let (engine, hold) = (self.parts.engine.clone(), self.hold.clone());
        let imported = self.patiently(|| {
            let (engine, mark, staged) = (engine.clone(), mark.clone(), staged.clone());
            // It goes on even if nobody waits for it any more.
            let hold = hold.clone();
            blocking(move || {
                staged.mark(&mark)?;
                import(engine.as_ref(), tag, &mark, &staged)?;
                drop(hold);
                Ok(())
            })
        });
        let imported = imported.await;
        imported.map_err(|error| self.blame(error))?;
        blocking(move || match Arc::into_inner(staged) {
            Some(staged) => staged.installed(),
            None => Err(Error::internal("a snapshot is in use although it is installed")),
        })
        .await?;
        self.load()
    }

    /// A consistent view of the whole group, with the position it is of.
    fn view(&self) -> Result<(SnapshotMeta, Arc<dyn View>)> {
        let view = self.parts.engine.view()?;
        let stored = view.get(Family::Meta, &keys::applied(self.parts.tag.group))?;
        let applied = stored.map_or(Ok(Applied::default()), |bytes| Applied::decode(&bytes))?;
        Ok((applied.meta()?, view))
    }

    /// How far the group is applied on disk: up to there the log may forget.
    fn persisted(&self) -> Result<Option<SnapshotMeta>> {
        let key = keys::applied(self.parts.tag.group);
        let stored = self.parts.engine.get_persisted(Family::Meta, &key)?;
        stored.map(|bytes| Applied::decode(&bytes)?.meta()).transpose()
    }
}

/// Whether what failed so may be tried again.
fn passing(kind: Kind) -> bool {
    matches!(kind, Kind::Overloaded | Kind::StorageFull)
}

/// Makes what has arrived the state of a replica. Can be done again after it was broken off. Blocks.
fn import(engine: &dyn Engine, tag: Tag, mark: &Mark, staged: &Staged) -> Result<()> {
    let mut last = Batch::default();
    last.put(Family::Meta, keys::replica(tag.group), owner_record(tag.replica));
    last.put(Family::Meta, keys::applied(tag.group), mark.applied.clone());
    engine.import(&snapshot::stored(tag.group), staged.runs(), &last)
}

fn applied_of(engine: &dyn Engine, group: GroupId) -> Result<Option<Position>> {
    let stored = engine.get(Family::Meta, &keys::applied(group))?;
    Ok(stored.map(|bytes| Applied::decode(&bytes)).transpose()?.and_then(|a| a.position))
}

/// How far a replica's state is on disk: `None` if nothing of it is.
///
/// # Errors
/// `Corruption` for what does not parse; the engine's own.
pub(super) fn persisted(engine: &dyn Engine, group: GroupId) -> Result<Option<Position>> {
    let stored = engine.get_persisted(Family::Meta, &keys::applied(group))?;
    Ok(stored.map(|bytes| Applied::decode(&bytes)).transpose()?.and_then(|a| a.position))
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
        let membership = self.applied.membership().map_err(|error| self.parts.fault.pass(error))?;
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
            let replies = self.apply_run(&entries).await.map_err(|error| {
                if !*self.parts.stop.borrow() {
                    let group = self.parts.tag.group;
                    tracing::error!(%group, %error, "entries cannot be applied");
                }
                self.parts.fault.pass(error)
            })?;
            for (responder, reply) in responders.into_iter().zip(replies) {
                if let Some(responder) = responder {
                    responder.send(reply);
                }
            }
        }
        Ok(())
    }

    /// For trimming the log, unless forced. Nothing is copied: a log may forget what the engine has on
    /// disk, so the "snapshot" is what is there already. An error here would end the replica, so there
    /// is none: what cannot be read now is not trimmed now.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        if force {
            return Some(self.get_snapshot_builder().await);
        }
        match self.persisted() {
            Ok(Some(meta)) if meta.last_log_id.is_some() => {
                Some(Builder(Some(Ok((meta, SnapshotData::Here)))))
            }
            Ok(_) => None,
            Err(error) => {
                self.parts.fault.note(&error);
                tracing::warn!(group = %self.parts.tag.group, %error, "the log is not trimmed");
                None
            }
        }
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let view = self.view().map(|(meta, view)| (meta, SnapshotData::View(view)));
        Builder(Some(view.map_err(|error| self.parts.fault.pass(error))))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> io::Result<()> {
        let SnapshotData::Staged(staged) = data else {
            let error = Error::internal("a snapshot of one's own cannot be installed");
            return Err(self.parts.fault.pass(error));
        };
        self.replace(meta, staged).await.map_err(|error| self.parts.fault.pass(error))
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<Snapshot<Term, u64, <Consensus as RaftTypeConfig>::Node, SnapshotData>>>
    {
        // There is nothing stored to look up: any view of now is a snapshot, and newer is better.
        let (meta, view) = self.view().map_err(|error| self.parts.fault.pass(error))?;
        if meta.last_log_id.is_none() {
            return Ok(None);
        }
        Ok(Some(Snapshot { meta, snapshot: SnapshotData::View(view) }))
    }
}

/// What openraft asks for when a log is to be trimmed.
pub struct Builder(Option<io::Result<(SnapshotMeta, SnapshotData)>>);

impl RaftSnapshotBuilder<Consensus> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(
        &mut self,
    ) -> io::Result<Snapshot<Term, u64, <Consensus as RaftTypeConfig>::Node, SnapshotData>> {
        let built = self.0.take();
        let (meta, snapshot) = built.unwrap_or_else(|| Err(io::Error::other("built before")))?;
        Ok(Snapshot { meta, snapshot })
    }
}

#[cfg(test)]
#[path = "state_machine_test.rs"]
mod tests;
