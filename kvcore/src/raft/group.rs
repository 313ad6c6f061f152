//! One replica's membership in one Raft group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError};
use openraft::{ChangeMembers, Config, ReadPolicy, SnapshotPolicy};

use super::inbox::Inbox;
use super::log_store::LogStore;
use super::network::Network;
use super::state_machine::{Apply, Ended, StateMachine};
use super::types::{Consensus, Home, Payload, Reply};
use crate::engine::Engine;
use crate::rpc::message::request;
use crate::rpc::{Answer, Pool};
use crate::types::config::Timers;
use crate::types::{Error, Kind, NodeId, ReplicaId, Result};
use crate::wal::Tag;

pub(super) type Raft = openraft::Raft<Consensus, StateMachine>;

/// How many entries a replica may be behind and still be said to follow closely.
const LAG: u64 = 100;
/// How long ago such a replica has answered at most.
const ANSWERED: Duration = Duration::from_secs(2);
/// How long stopping waits for what was agreed on to be applied.
const DRAIN: Duration = Duration::from_secs(10);

/// What a group is started with.
pub struct GroupOptions {
    /// Whose membership this is.
    pub tag: Tag,
    /// The log.
    pub log: LogStore,
    /// Where the state is kept.
    pub engine: Arc<dyn Engine>,
    /// What entries do.
    pub apply: Box<dyn Apply>,
    /// How the others are reached.
    pub pool: Pool,
    /// Heartbeats and elections.
    pub timers: Timers,
    /// How long the log becomes.
    pub trim: Trim,
}

/// When a group's log is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// Entries between two moments at which the log may be trimmed. Default: 20,000.
    pub every: u64,
    /// Entries kept behind a trim, so that a replica a little behind still catches up by log.
    /// Default: 5,000.
    pub keep: u64,
}

impl Default for Trim {
    fn default() -> Self {
        Trim { every: 20_000, keep: 5_000 }
    }
}

/// A running replica's membership in its group. Cheap to clone, usable from any task.
#[derive(Clone)]
pub struct Group {
    tag: Tag,
    raft: Raft,
    inbox: Arc<Inbox>,
    log: LogStore,
    ended: Ended,
}

/// Who is in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters {
    /// The replicas whose votes count. While a change is under way, those of before and after.
    pub voters: BTreeSet<ReplicaId>,
    /// The replicas that only listen.
    pub learners: BTreeSet<ReplicaId>,
    /// Whether a change is under way, so that majorities of two sets are needed.
    pub joint: bool,
}

/// How a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether it runs: a failed disk or a defect stops a replica for good.
    pub running: bool,
    /// Whether it has applied all that it knows to be committed.
    pub caught_up: bool,
}

impl Group {
    /// Starts the replica on what its log and its state hold.
    ///
    /// # Errors
    /// `Corruption`, `StorageFull` or `Internal` from log and engine.
    pub async fn start(options: GroupOptions) -> Result<Group> {
        let GroupOptions { tag, log, engine, apply, pool, timers, trim } = options;
        let (machine, ended) = StateMachine::open(tag, engine, apply)?;
        let network = Network { pool, group: tag.group };
        let config = config(tag, &timers, trim)?;
        let raft = Raft::new(tag.replica.0, config, network, log.clone(), machine).await.map_err(
            |error| {
                Error::new(Kind::Corruption, "replica cannot be started from what is stored")
                    .with("group", tag.group)
                    .with("replica", tag.replica)
                    .because(error)
            },
        )?;
        let inbox = Arc::new(Inbox::new(raft.clone()));
        let group = Group { tag, raft, inbox, log, ended };
        // Nobody else can be leading: no need to wait for a timer to say so.
        if group.voters().voters == BTreeSet::from([tag.replica]) {
            group.raft.trigger().elect(false).await.map_err(|fatal| group.stopped(fatal))?;
        }
        Ok(group)
    }

    /// Whose membership this is.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// Makes this replica the only member of a new group. Does nothing if the group exists.
    ///
    /// # Errors
    /// `Internal` if the replica has stopped.
    pub async fn found(&self, node: NodeId) -> Result<()> {
        if !self.log.is_empty() {
            return Ok(());
        }
        let members = BTreeMap::from([(self.tag.replica.0, Home { node })]);
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(_)) => Ok(()),
            Err(RaftError::Fatal(fatal)) => Err(self.stopped(fatal)),
        }
    }

    /// Gets a payload into the log of a majority and applied here.
    ///
    /// # Errors
    /// `Unavailable` if this replica does not lead: nothing was proposed. `Timeout` if it stopped
    /// leading meanwhile: the outcome is unknown. `Internal` if it stopped altogether: likewise.
    pub async fn propose(&self, payload: Bytes) -> Result<Reply> {
        match self.raft.client_write(Payload(payload)).await {
            Ok(written) => Ok(written.data),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                Err(self.not_leader())
            }
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => {
                Err(Error::new(Kind::Timeout, "the leader changed before the write was confirmed")
                    .with("group", self.tag.group))
            }
            Err(RaftError::APIError(error)) => {
                Err(Error::internal("proposal refused").because(error))
            }
            Err(RaftError::Fatal(fatal)) => Err(self.stopped(fatal)),
        }
    }

    /// Returns once everything that was committed when it was called is applied here, and a majority
    /// has confirmed meanwhile that this replica leads: what is read after that is linearizable
    /// (Ongaro's thesis, section 6.4).
    ///
    /// # Errors
    /// `Unavailable` if this replica does not lead or no majority answers.
    pub async fn read_index(&self) -> Result<()> {
        match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => {
                Err(self.not_leader())
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(Error::new(Kind::Unavailable, "no majority confirms the leader")
                    .with("group", self.tag.group))
            }
            Err(RaftError::Fatal(fatal)) => Err(self.stopped(fatal)),
        }
    }

    /// The leader that this replica knows of: its id, and its node.
    pub fn leader(&self) -> Option<(ReplicaId, NodeId)> {
        use openraft::async_runtime::watch::WatchReceiver;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        // One that has stopped hears no more of its group.
        metrics.running_state.as_ref().ok()?;
        let id = metrics.current_leader?;
        let home = metrics.membership_config.membership().get_node(&id)?;
        Some((ReplicaId(id), home.node))
    }

    /// Whether this replica leads, as far as it knows.
    pub fn leads(&self) -> bool {
        use openraft::async_runtime::watch::WatchReceiver;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.running_state.is_ok() && metrics.state.is_leader()
    }

    /// Who is in the group, as far as this replica knows.
    pub fn voters(&self) -> Voters {
        use openraft::async_runtime::watch::WatchReceiver;
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        Voters {
            voters: membership.voter_ids().map(ReplicaId).collect(),
            learners: membership.learner_ids().map(ReplicaId).collect(),
            joint: membership.get_joint_config().len() > 1,
        }
    }

    /// Whether exactly these replicas vote, and a majority has agreed on that: a membership that is
    /// only in the leader's log may still be lost with it.
    pub fn settled(&self, voters: &BTreeSet<ReplicaId>) -> bool {
        use openraft::async_runtime::watch::WatchReceiver;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let committed = &metrics.committed_membership_config;
        let voting: BTreeSet<ReplicaId> = committed.voter_ids().map(ReplicaId).collect();
        committed.log_id() == metrics.membership_config.log_id()
            && committed.get_joint_config().len() == 1
            && voting == *voters
    }

    /// How the replica is doing.
    pub fn health(&self) -> Health {
        use openraft::async_runtime::watch::WatchReceiver;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        Health {
            running: metrics.running_state.is_ok(),
            caught_up: metrics.last_applied >= metrics.local_committed
                && metrics.last_applied >= metrics.cluster_committed,
        }
    }

    /// Whether the leader here knows that replica to have nearly all of the log, and to have answered
    /// just now. One that has never answered does not follow, however short the log is: it may not
    /// even be running.
    pub fn follows_closely(&self, replica: ReplicaId) -> bool {
        use openraft::Instant;
        use openraft::async_runtime::watch::WatchReceiver;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(replication) = &metrics.replication else { return false };
        let Some(Some(matched)) = replication.get(&replica.0) else { return false };
        let answered = metrics.heartbeat.as_ref().and_then(|all| all.get(&replica.0)?.as_ref());
        answered.is_some_and(|answered| answered.elapsed() <= ANSWERED)
            && matched.index + LAG >= metrics.last_log_index.unwrap_or(0)
    }

    /// Lets a replica listen, so that it can catch up.
    ///
    /// # Errors
    /// `Unavailable` if this replica does not lead or another change is under way.
    pub async fn add_learner(&self, replica: ReplicaId, node: NodeId) -> Result<()> {
        let added = self.raft.add_learner(replica.0, Home { node }, false).await;
        added.map(drop).map_err(|error| self.not_changed(error))
    }

    /// Makes exactly these replicas the voters, through a joint configuration; whoever voted before
    /// and is not among them leaves the group. A change that was broken off is finished by asking for
    /// it again.
    ///
    /// # Errors
    /// `Unavailable` if this replica does not lead, another change is under way, or one of them was
    /// not let in before.
    pub async fn change_voters(&self, voters: &BTreeSet<ReplicaId>) -> Result<()> {
        let voters: BTreeSet<u64> = voters.iter().map(|replica| replica.0).collect();
        let changed = self.raft.change_membership(voters, false).await;
        changed.map(drop).map_err(|error| self.not_changed(error))
    }

    /// Lets go of replicas that only listen.
    ///
    /// # Errors
    /// `Unavailable` if this replica does not lead or another change is under way.
    pub async fn remove_learners(&self, learners: &BTreeSet<ReplicaId>) -> Result<()> {
        let gone: BTreeSet<u64> = learners.iter().map(|replica| replica.0).collect();
        let changed = self.raft.change_membership(ChangeMembers::RemoveNodes(gone), true).await;
        changed.map(drop).map_err(|error| self.not_changed(error))
    }

    /// Asks the leader here to hand over to another voter. Whether it did shows in
    /// [`leader`](Group::leader).
    ///
    /// # Errors
    /// `Internal` if the replica has stopped.
    pub async fn hand_over(&self, to: ReplicaId) -> Result<()> {
        self.raft.trigger().transfer_leader(to.0).await.map_err(|fatal| self.stopped(fatal))
    }

    /// Asks the others to elect this replica, if they do not hear from the leader either.
    ///
    /// # Errors
    /// `Internal` if the replica has stopped.
    pub async fn campaign(&self) -> Result<()> {
        self.raft.trigger().elect(true).await.map_err(|fatal| self.stopped(fatal))
    }

    /// Takes a message from another replica of the group; in order, as far as order matters.
    pub fn take(&self, request: request::Body) -> Answer {
        self.inbox.take(request)
    }

    /// Waits until something about the group's leadership or membership changes, or for that long.
    pub async fn changed(&self, patience: Duration) {
        use openraft::async_runtime::watch::WatchReceiver;
        let mut metrics = self.raft.server_metrics();
        // A group that stopped changes no more; the patience runs out then as well.
        drop(tokio::time::timeout(patience, metrics.changed()).await);
    }

    /// Stops the replica; when this returns it applies nothing more. What it acknowledged is in its log.
    pub async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(group = %self.tag.group, %error, "replica did not stop cleanly");
        }
        // The state machine has a task of its own, which outlives the group by what it has queued.
        // Whoever opens the same state next must find it at rest.
        let mut ended = self.ended.clone();
        if tokio::time::timeout(DRAIN, ended.wait()).await.is_err() {
            tracing::error!(group = %self.tag.group, "the state machine does not come to rest");
        }
    }

    fn not_leader(&self) -> Error {
        Error::new(Kind::Unavailable, "this replica does not lead").with("group", self.tag.group)
    }

    fn not_changed(&self, error: RaftError<Consensus, ClientWriteError<Consensus>>) -> Error {
        Error::new(Kind::Unavailable, "membership was not changed")
            .with("group", self.tag.group)
            .because(error)
    }

    fn stopped(&self, fatal: Fatal<Consensus>) -> Error {
        Error::internal("the replica has stopped")
            .with("group", self.tag.group)
            .with("replica", self.tag.replica)
            .because(fatal)
    }
}

fn config(tag: Tag, timers: &Timers, trim: Trim) -> Result<Arc<Config>> {
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: tag.group.to_string(),
        heartbeat_interval: milliseconds(timers.heartbeat),
        election_timeout_min: milliseconds(timers.election_min),
        election_timeout_max: milliseconds(timers.election_max),
        install_snapshot_timeout: 60_000,
        max_payload_entries: 1024,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(trim.every),
        max_in_snapshot_log_to_keep: trim.keep,
        replication_lag_threshold: trim.every.saturating_mul(2),
        api_channel_size: Some(4096),
        enable_pre_vote: Some(true),
        // A leader that restarts would otherwise go on leading on state that went back to what the
        // engine had flushed, and serve reads from it.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config
        .validate()
        .map(Arc::new)
        .map_err(|error| Error::new(Kind::InvalidArgument, "timers out of order").because(error))
}

#[cfg(test)]
#[path = "group_test.rs"]
mod tests;
