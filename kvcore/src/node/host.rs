//! The replicas on this node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::damage::Damage;
use super::storage::Storage;
use crate::engine::{Batch, Family, keys};
use crate::metadata::State;
use crate::partition::{Replica, ReplicaOptions};
use crate::rpc::Pool;
use crate::types::config::NodeConfig;
use crate::types::{Error, GroupId, Kind, NodeId, PartitionId, ReplicaId, Result, Seam};
use crate::wal::Tag;

/// How long deleting waits for a state that has to catch up.
const ERASE: Duration = Duration::from_secs(30);

/// Runs the replicas that the map places on this node.
pub(super) struct Host {
    node: NodeId,
    config: NodeConfig,
    pool: Pool,
    storage: Arc<Storage>,
    seam: Seam,
    damage: Arc<Damage>,
    alarm: Notify,
    replicas: RwLock<BTreeMap<PartitionId, Arc<Replica>>>,
}

impl Host {
    pub(super) fn new(
        node: NodeId,
        config: NodeConfig,
        pool: Pool,
        storage: Arc<Storage>,
        seam: Seam,
        damage: Arc<Damage>,
    ) -> Host {
        let (alarm, replicas) = (Notify::new(), RwLock::default());
        Host { node, config, pool, storage, seam, damage, alarm, replicas }
    }

    /// The replicas here that are damaged.
    pub(super) fn damage(&self) -> &Damage {
        &self.damage
    }

    /// The replica of a partition, if there is one here.
    pub(super) fn replica(&self, partition: PartitionId) -> Option<Arc<Replica>> {
        self.replicas.read().get(&partition).cloned()
    }

    /// All replicas here.
    pub(super) fn replicas(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().values().cloned().collect()
    }

    /// Says that a replica here has come upon damage.
    pub(super) fn raise_alarm(&self) {
        self.alarm.notify_one();
    }

    /// Waits until somebody says so.
    pub(super) async fn alarm(&self) {
        self.alarm.notified().await;
    }

    /// Makes the replicas here those of the map: starts what is missing, retires what has left, and
    /// starts anew what stopped by itself, unless it is damaged.
    ///
    /// # Errors
    /// The first one of those that a replica could not be run for; all others are.
    pub(super) async fn reconcile(&self, state: &State) -> Result<()> {
        let mut all = Ok(());
        for partition in (0..state.config.partitions).map(PartitionId) {
            let wanted = state.hosted(partition, self.node);
            let done = self.settle(state, partition, wanted).await;
            all = all.and(done.map_err(|error| error.with("partition", partition)));
        }
        all
    }

    async fn settle(
        &self,
        state: &State,
        partition: PartitionId,
        wanted: Option<ReplicaId>,
    ) -> Result<()> {
        if let Some(running) = self.replica(partition) {
            let group = running.group();
            let (damage, unreadable) = (group.damage(), group.unreadable());
            if let Some(damage) = &damage {
                self.found_damaged(partition, running.id(), damage);
            } else if let Some(refusal) = &unreadable {
                self.found_unreadable(partition, running.id(), refusal);
            }
            let sound = damage.is_none() && unreadable.is_none();
            let healthy = group.health().running && sound;
            if wanted == Some(running.id()) && healthy {
                return Ok(());
            }
            self.replicas.write().remove(&partition);
            running.stop().await;
            if wanted != Some(running.id()) {
                self.erase(partition, running.id()).await?;
            }
        }
        if let Some(damaged) = self.damage.of(partition) {
            // A map of before it was placed here says nothing of it.
            if wanted == Some(damaged) || !state.retired(partition, self.node, damaged) {
                return Ok(());
            }
            // Another one has its place: its own log and state go before that one begins. But the note may
            // have outlived both, and the state be the other one's by now.
            match self.storage.owner(GroupId::Partition(partition)) {
                Ok(owner) if owner != Some(damaged) => {
                    let tag = Tag { group: GroupId::Partition(partition), replica: damaged };
                    self.storage.forget(tag).await?;
                }
                // Whose it is may be what is damaged.
                _ => self.erase(partition, damaged).await?,
            }
            self.damage.forget(partition)?;
        }
        let Some(replica) = wanted else { return Ok(()) };
        let started = match self.start(partition, replica).await {
            // What the whole engine has failed with is no damage to this one.
            Err(error) if error.kind() == Kind::Corruption && self.storage.failure().is_none() => {
                self.found_damaged(partition, replica, &error);
                return Ok(());
            }
            started => started?,
        };
        // A partition begins with one replica that was placed when the cluster was founded; any other
        // gets its members from the replicas that are there. Moves that have begun do not count: they
        // may have before a founder that was interrupted came to this partition.
        let placed = state.table.assignment(partition).map(|placed| placed.replicas.as_slice());
        let alone = matches!(placed, Some([only]) if only.id == replica);
        if alone {
            started.found(self.node).await?;
        }
        self.replicas.write().insert(partition, Arc::new(started));
        Ok(())
    }

    /// A disk that refuses to read may do so for a moment only; so the replica is stopped and started
    /// again, and taken for damaged when that does not help.
    fn found_unreadable(&self, partition: PartitionId, replica: ReplicaId, refusal: &Error) {
        tracing::error!(%partition, %replica, error = %refusal, "a replica cannot be read");
        if self.damage.doubt(partition, replica, Instant::now()) {
            self.found_damaged(partition, replica, refusal);
        }
    }

    fn found_damaged(&self, partition: PartitionId, replica: ReplicaId, damage: &Error) {
        tracing::error!(%partition, %replica, error = %damage, "replica is damaged");
        if let Err(error) = self.damage.note(partition, replica) {
            tracing::error!(%partition, %replica, %error, "the damage cannot be noted");
        }
    }

    async fn start(&self, partition: PartitionId, replica: ReplicaId) -> Result<Replica> {
        let tag = Tag { group: GroupId::Partition(partition), replica };
        Replica::start(ReplicaOptions {
            partition,
            replica,
            log: self.storage.log(tag)?,
            engine: self.storage.engine(),
            pool: self.pool.clone(),
            staging: self.storage.staging(),
            timers: self.config.timers.clone(),
            limits: self.config.limits.clone(),
            seam: self.seam.clone(),
        })
        .await
    }

    /// Deletes what a replica that has left kept here.
    async fn erase(&self, partition: PartitionId, replica: ReplicaId) -> Result<()> {
        let group = GroupId::Partition(partition);
        let hold = self.storage.staging().hold(group)?;
        let mut batch = Batch::default();
        batch.delete_range(Family::Data, keys::data_range(group));
        batch.delete_range(Family::Meta, keys::meta_range(group));
        // On disk before the log forgets the replica: with them the map that says so. A replica that came
        // back with neither its log nor its vote could vote a second time.
        let engine = self.storage.engine();
        let erased = tokio::task::spawn_blocking(move || {
            engine.write_waiting(&batch, ERASE)?;
            engine.flush()?;
            Ok::<_, Error>(hold)
        });
        let hold = erased
            .await
            .map_err(|error| Error::internal("erasing was interrupted").because(error))??;
        self.storage.forget(Tag { group, replica }).await?;
        drop(hold);
        Ok(())
    }

    /// Deletes what is left of replicas that left while this node was down, or when it could not be
    /// deleted.
    ///
    /// # Errors
    /// As the log's writer and the engine: `StorageFull`, `Internal`; `Unavailable` while one of them is
    /// still at work.
    pub(super) async fn clear(&self, state: &State) -> Result<()> {
        for tag in self.storage.tags() {
            let GroupId::Partition(partition) = tag.group else { continue };
            let running = self.replica(partition).is_some_and(|r| r.id() == tag.replica);
            if running || !state.retired(partition, self.node, tag.replica) {
                continue;
            }
            tracing::info!(%partition, replica = %tag.replica, "deleting what a replica left behind");
            // The state may belong to its successor, which then opens it; the log is its own.
            if state.hosted(partition, self.node).is_none() {
                self.erase(partition, tag.replica).await?;
            } else {
                self.storage.forget(tag).await?;
            }
        }
        Ok(())
    }

    /// Stops all replicas.
    pub(super) async fn stop(&self) {
        let replicas = std::mem::take(&mut *self.replicas.write());
        futures::future::join_all(replicas.values().map(|replica| replica.stop())).await;
    }
}
