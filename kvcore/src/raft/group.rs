//! One replica's membership in one Raft group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError};
use openraft::{ChangeMembers, LinearizerOption, ReadPolicy};
use tokio::sync::watch;
use tokio::time::Instant;

use super::config::config;
use super::fault::Fault;
use super::inbox::{Inbox, Quiet};
use super::log_store::{LogStore, Weight};
use super::network::{Network, Progress};
use super::snapshot::Pins;
use super::staging::{Ended, Staging, blocking};
use super::state_machine::{self, Apply, Parts, StateMachine};
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
/// How long stopping waits for what was agreed on to be applied, and for the disk.
const DRAIN: Duration = Duration::from_secs(10);
/// The part of the time for which followers do not vote for others that a leader's lease lasts.
const LEASE: f64 = 0.7;
/// How long starting waits for what was agreed on to be applied again.
const REPLAY: Duration = Duration::from_secs(30);

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
    /// Where snapshots stand between two replicas.
    pub staging: Staging,
    /// Heartbeats and elections.
    pub timers: Timers,
}

/// A running replica's membership in its group. Cheap to clone, usable from any task.
#[derive(Clone)]
pub struct Group {
    tag: Tag,
    raft: Raft,
    inbox: Arc<Inbox>,
    log: LogStore,
    engine: Arc<dyn Engine>,
    pins: Pins,
    fault: Fault,
    stop: Arc<watch::Sender<bool>>,
    ended: Ended,
    lease: Duration,
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
    /// `Unavailable` while the replica that was here before is still at work; `Corruption`, `StorageFull`
    /// or `Internal` from log and engine.
    pub async fn start(options: GroupOptions) -> Result<Group> {
        let GroupOptions { tag, log, engine, apply, pool, staging, timers } = options;
        let (stop, stopped) = watch::channel(false);
        let (fault, pins, progress) = (log.fault(), Pins::default(), Progress::default());
        let parts = Parts {
            tag,
            engine: engine.clone(),
            staging: staging.clone(),
            apply,
            fault: fault.clone(),
            stop: stopped,
        };
        // An installation that was interrupted is finished here, which takes its time.
        let (machine, ended) = blocking(move || StateMachine::open(parts)).await?;
        check_continues(&log, &machine)?;
        if machine.position().map(|at| at.index) > log.state().last.map(|at| at.index) {
            // What the others agreed on was applied before it was in the log here, and the log failed. It
            // is told to go on behind the state, which must not fall back then.
            let engine = engine.clone();
            blocking(move || engine.flush()).await?;
        }
        let network = Network {
            pool,
            group: tag.group,
            log: log.clone(),
            progress: progress.clone(),
            engine: engine.clone(),
            staging: staging.clone(),
            pins: pins.clone(),
            fault: fault.clone(),
        };
        let config = config(tag, &timers)?;
        let other = |leader| leader != tag.replica.0;
        let promised = log.vote()?.filter(|vote| vote.committed && other(vote.leader_id.voted_for));
        let mut starting =
            std::pin::pin!(Raft::new(tag.replica.0, config, network, log.clone(), machine));
        let started = match tokio::time::timeout(REPLAY, &mut starting).await {
            Ok(started) => started,
            // The state takes nothing now, a full disk perhaps. Others are to be started meanwhile.
            Err(_) => {
                stop.send_replace(true);
                starting.await
            }
        };
        let raft = started.map_err(|error| {
            let kind = fault.damage().map_or(Kind::Internal, |damage| damage.kind());
            Error::new(kind, "replica cannot be started from what is stored")
                .with("group", tag.group)
                .with("replica", tag.replica)
                .because(error)
        })?;
        progress.of(raft.metrics());
        let quiet = Quiet { vote: promised, until: Instant::now() + timers.election_max };
        let inbox = Arc::new(Inbox::new(tag, raft.clone(), staging, quiet));
        let (stop, lease) = (Arc::new(stop), timers.election_max.mul_f64(LEASE));
        let group = Group { tag, raft, inbox, log, engine, pins, fault, stop, ended, lease };
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
    /// leading meanwhile, or stopped altogether, as when its disk fails: the outcome is unknown.
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
            Err(RaftError::Fatal(fatal)) => Err(self.stopped(fatal).into_kind(Kind::Timeout)),
        }
    }

    /// Returns once everything that was committed when it was called is applied here, and a majority
    /// has confirmed meanwhile that this replica leads: what is read after that is linearizable
    /// (Ongaro's thesis, section 6.4).
    ///
    /// # Errors
    /// `Unavailable` if this replica does not lead, has stopped, or no majority answers.
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
            Err(RaftError::Fatal(fatal)) => Err(self.stopped(fatal).into_kind(Kind::Unavailable)),
        }
    }

    /// Whether this replica leads, as a quorum has confirmed within the [lease](Group::lease), and has applied
    /// all that was committed when it was asked. Waits for nobody else.
    pub async fn leads_by_lease(&self) -> bool {
        let lease = LinearizerOption::new(Some(self.lease), false);
        let lease = lease.with_wait_timeout(Duration::ZERO);
        self.raft.ensure_linearizable(lease).await.is_ok()
    }

    /// How long a leader may take it that it leads after a quorum has last confirmed it.
    pub fn lease(&self) -> Duration {
        self.lease
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
    /// and is not among them leaves the group, or goes on listening if `keep` is set. A change that was
    /// broken off is finished by asking for it again.
    ///
    /// # Errors
    /// `Unavailable` if this replica does not lead, another change is under way, or one of them was
    /// not let in before.
    pub async fn change_voters(&self, voters: &BTreeSet<ReplicaId>, keep: bool) -> Result<()> {
        let voters: BTreeSet<u64> = voters.iter().map(|replica| replica.0).collect();
        let changed = self.raft.change_membership(voters, keep).await;
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

    /// What the replica's log takes.
    pub fn weight(&self) -> Weight {
        self.log.weight()
    }

    /// Has the log forget its oldest entries, so that those that stay weigh about that many bytes: only
    /// such as the engine has on disk, and none that a snapshot under way will need next. What openraft
    /// has to be told of first is forgotten the next time; what it sends to other replicas just now, when
    /// they have it. Cheap if there is nothing to do.
    ///
    /// # Errors
    /// `Corruption`, or the engine's; `Internal` if the replica has stopped.
    pub async fn trim(&self, keep_bytes: u64) -> Result<()> {
        use openraft::async_runtime::watch::WatchReceiver;
        let Some(mut upto) = self.log.purgeable(keep_bytes) else { return Ok(()) };
        if let Some(pinned) = self.pins.lowest() {
            upto = upto.min(pinned);
        }
        let persisted = state_machine::persisted(self.engine.as_ref(), self.tag.group);
        let persisted = persisted.inspect_err(|error| self.fault.note(error))?;
        let Some(persisted) = persisted else { return Ok(()) };
        upto = upto.min(persisted.index);
        let (known, purged) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.snapshot.map(|id| id.index), metrics.purged.map(|id| id.index))
        };
        if purged.is_some_and(|purged| purged >= upto) {
            return Ok(());
        }
        let trigger = self.raft.trigger();
        if known.is_none_or(|known| known < upto) {
            trigger.snapshot().await.map_err(|fatal| self.stopped(fatal))?;
        }
        match known.map(|known| known.min(upto)).filter(|upto| Some(*upto) > purged) {
            Some(upto) => trigger.purge_log(upto).await.map_err(|fatal| self.stopped(fatal)),
            None => Ok(()),
        }
    }

    /// The damage that the replica has come upon in its log or its state, if any. Such a replica must
    /// not be started again: it has forgotten what it promised.
    pub fn damage(&self) -> Option<Error> {
        self.fault.damage()
    }

    /// What the disk refused to read back of its log or its state, if it did. Such a replica should not go
    /// on leading; started again, it may find that it was for once only.
    pub fn unreadable(&self) -> Option<Error> {
        self.fault.unreadable()
    }

    /// Notes damage, or a refusal of the disk, that somebody else came upon who read the replica's state.
    pub fn found_damaged(&self, error: &Error) {
        self.fault.note(error);
    }

    /// Stops the replica, and waits until it applies nothing more, though not for ever: a disk may hang. What
    /// it acknowledged is in its log. As long as anything of it is at work nobody else gets hold of its
    /// state: see [`Staging::hold`].
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut ended = self.ended.clone();
        let stopped = async {
            if let Err(error) = self.raft.shutdown().await {
                tracing::warn!(group = %self.tag.group, %error, "replica did not stop cleanly");
            }
            // The state machine has a task of its own, which outlives the group by what it has queued.
            ended.wait().await;
        };
        if tokio::time::timeout(DRAIN, stopped).await.is_err() {
            tracing::error!(group = %self.tag.group, "the replica does not come to rest");
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

/// What the log has forgotten must be in the state, and where there is a state there was a vote: a replica
/// that lacks the one or the other has lost what it promised.
fn check_continues(log: &LogStore, machine: &StateMachine) -> Result<()> {
    let (purged, applied) = (log.state().purged, machine.position());
    if applied.is_some() && log.is_empty() && purged.is_none() {
        return Err(Error::new(
            Kind::Corruption,
            "the log of a replica has been lost, its state has not",
        ));
    }
    if purged > applied {
        return Err(Error::new(Kind::Corruption, "the state has lost what the log has forgotten")
            .with("purged", purged.map_or(0, |position| position.index))
            .with("applied", applied.map_or(0, |position| position.index)));
    }
    Ok(())
}

#[cfg(test)]
#[path = "group_test.rs"]
mod tests;
