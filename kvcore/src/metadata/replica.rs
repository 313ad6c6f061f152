//! This node's membership in the metadata group.

use std::sync::Arc;

use parking_lot::RwLock;

use super::apply::Map;
use super::change::{Change, Decision};
use super::state::State;
use super::watch::{Publisher, Watch};
use crate::engine::Engine;
use crate::raft::{Group, GroupOptions, LogStore, Reply, Staging};
use crate::rpc::Pool;
use crate::types::config::Timers;
use crate::types::{Error, GroupId, NodeId, ReplicaId, Result};
use crate::wal::Tag;

/// What it is started with.
#[derive(Clone)]
pub struct MetadataOptions {
    /// This node's replica of the metadata group.
    pub replica: ReplicaId,
    /// Its log.
    pub log: LogStore,
    /// Where its state is kept.
    pub engine: Arc<dyn Engine>,
    /// How the other nodes are reached.
    pub pool: Pool,
    /// Where snapshots stand between two replicas.
    pub staging: Staging,
    /// Heartbeats and elections.
    pub timers: Timers,
}

/// This node's membership in the metadata group. Cheap to clone, usable from any task.
#[derive(Clone)]
pub struct Metadata {
    group: Arc<RwLock<Group>>,
    publisher: Publisher,
    watch: Watch,
    options: MetadataOptions,
}

impl Metadata {
    /// The founder's replica: the one id that nobody issues.
    pub const FOUNDER: ReplicaId = ReplicaId(1);

    /// Starts it on what its log and the engine hold.
    ///
    /// # Errors
    /// As [`Group::start`].
    pub async fn start(options: MetadataOptions) -> Result<Metadata> {
        let (publisher, watch) = Publisher::new();
        let group = Self::run(options.clone(), publisher.clone()).await?;
        Ok(Metadata { group: Arc::new(RwLock::new(group)), publisher, watch, options })
    }

    async fn run(options: MetadataOptions, publisher: Publisher) -> Result<Group> {
        let apply = Map::new(options.engine.clone(), publisher);
        Group::start(GroupOptions {
            tag: Tag { group: GroupId::Metadata, replica: options.replica },
            log: options.log,
            engine: options.engine,
            apply: Box::new(apply),
            pool: options.pool,
            staging: options.staging,
            timers: options.timers,
        })
        .await
    }

    /// Starts the replica anew, on that log, if it has stopped: by itself, as after a failed disk, or so
    /// that its disk could be opened anew. Also if its disk has refused to read.
    ///
    /// # Errors
    /// `Corruption` if it stopped because what it has stored is damaged: it has forgotten what it
    /// promised, and must not vote again. Else as [`start`](Metadata::start); it can be tried again.
    pub async fn revive(&self, log: LogStore) -> Result<()> {
        let stopped = self.group();
        if let Some(damage) = stopped.damage() {
            stopped.stop().await;
            return Err(damage);
        }
        if stopped.health().running && stopped.unreadable().is_none() {
            return Ok(());
        }
        stopped.stop().await;
        let options = MetadataOptions { log, ..self.options.clone() };
        let group = Self::run(options, self.publisher.clone()).await?;
        *self.group.write() = group;
        Ok(())
    }

    /// Makes this node the group's only member, if the group does not exist.
    ///
    /// # Errors
    /// As [`Group::found`].
    pub async fn found(&self, node: NodeId) -> Result<()> {
        self.group().found(node).await
    }

    /// The group.
    pub fn group(&self) -> Group {
        self.group.read().clone()
    }

    /// The newest state here: complete, but perhaps not the newest of all.
    pub fn state(&self) -> Arc<State> {
        self.watch.borrow().clone()
    }

    /// Tells of each newer state.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Gets a change decided, if this replica leads the group.
    ///
    /// # Errors
    /// `Unavailable` if it does not lead; what the change was refused with; `Timeout`, `Internal`.
    pub async fn decide(&self, change: &Change) -> Result<Decision> {
        match self.group().propose(change.encode()?).await? {
            Reply::Bytes(bytes) => Decision::decode(&bytes)?.into_result(),
            _ => Err(Error::internal("a change was answered with something else")),
        }
    }

    /// Stops it.
    pub async fn stop(&self) {
        self.group().stop().await;
    }
}
