//! This node's copy of one partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::apply::{Partition, parse_stored};
use super::lease::Lease;
use super::propose::Proposer;
use super::read::Barrier;
use crate::engine::{Engine, Family, keys};
use crate::raft::{Group, GroupOptions, LogStore, Staging};
use crate::rpc::Pool;
use crate::types::config::Timers;
use crate::types::{
    Command, Consistency, Error, GroupId, Kind, Limits, NodeId, Outcome, PartitionId, ReplicaId,
    Result, Revision, Seam,
};
use crate::wal::Tag;

/// What a replica is started with.
pub struct ReplicaOptions {
    /// The partition.
    pub partition: PartitionId,
    /// The replica's own id.
    pub replica: ReplicaId,
    /// Its log.
    pub log: LogStore,
    /// Where its state is kept.
    pub engine: Arc<dyn Engine>,
    /// How the other replicas are reached.
    pub pool: Pool,
    /// Where snapshots stand between two replicas.
    pub staging: Staging,
    /// Heartbeats and elections.
    pub timers: Timers,
    /// Limits.
    pub limits: Limits,
    /// Time and chance.
    pub seam: Seam,
}

/// A running replica of one partition. Usable from any task.
pub struct Replica {
    partition: PartitionId,
    group: Group,
    proposer: Proposer,
    barrier: Barrier,
    lease: Lease,
    engine: Arc<dyn Engine>,
    stopped: AtomicBool,
}

impl Replica {
    /// Starts the replica on what its log and the engine hold.
    ///
    /// # Errors
    /// As [`Group::start`].
    pub async fn start(options: ReplicaOptions) -> Result<Replica> {
        let partition = options.partition;
        let engine = options.engine;
        let apply =
            Partition::new(partition, engine.clone(), options.limits.sessions_per_partition);
        let group = Group::start(GroupOptions {
            tag: Tag { group: GroupId::Partition(partition), replica: options.replica },
            log: options.log,
            engine: engine.clone(),
            apply: Box::new(apply),
            pool: options.pool,
            staging: options.staging,
            timers: options.timers,
        })
        .await?;
        let lease = Lease::new(group.clone(), options.seam.clone());
        let proposer = Proposer::start(group.clone(), options.seam);
        let barrier = Barrier::new(group.clone());
        let stopped = AtomicBool::new(false);
        Ok(Replica { partition, group, proposer, barrier, lease, engine, stopped })
    }

    /// The partition.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The replica's own id.
    pub fn id(&self) -> ReplicaId {
        self.group.tag().replica
    }

    /// Its membership in the partition's group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Makes this the only replica of a new partition, on that node.
    ///
    /// # Errors
    /// As [`Group::found`].
    pub async fn found(&self, node: NodeId) -> Result<()> {
        self.group.found(node).await
    }

    /// Applies a command exactly once, if this replica leads. `held` is dropped when the command takes
    /// up no room here any more: later than the call, if the caller gives up with it under way.
    ///
    /// # Errors
    /// `Unavailable` if it does not lead, `Overloaded`, `SessionExpired`, `Timeout`, `Internal`.
    pub async fn write(&self, command: Command, held: Box<dyn Send>) -> Result<Outcome> {
        self.proposer.propose(command, held).await
    }

    /// The value of a key as of now, and its revision, if this replica leads.
    ///
    /// # Errors
    /// `Unavailable` if it does not lead, `Overloaded`, `Internal`; `Corruption` if what is stored is
    /// damaged, which ends the replica.
    pub async fn read(
        &self,
        key: &[u8],
        consistency: Consistency,
    ) -> Result<Option<(Bytes, Revision)>> {
        if consistency == Consistency::Lease && self.lease.holds().await {
            let stored = self.stored(key)?;
            // It held when the value was read only if it holds still: the process may have been paused.
            if self.lease.holds().await {
                return Ok(stored);
            }
        }
        self.barrier.pass().await?;
        self.stored(key)
    }

    fn stored(&self, key: &[u8]) -> Result<Option<(Bytes, Revision)>> {
        let key = keys::data(GroupId::Partition(self.partition), key);
        let stored = self
            .engine
            .get(Family::Data, &key)
            .and_then(|stored| stored.as_ref().map(parse_stored).transpose());
        let stored = stored.inspect_err(|error| self.group.found_damaged(error))?;
        // A replica that leaves is erased after it stopped: what was read since is not to be trusted.
        if self.stopped.load(Ordering::Acquire) {
            return Err(Error::new(Kind::Unavailable, "the replica has left this node")
                .with("partition", self.partition));
        }
        Ok(stored)
    }

    /// Stops the replica.
    pub async fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.group.stop().await;
    }
}
