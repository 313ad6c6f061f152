//! Where the metadata group is led: what should be, and the next few steps towards it.
//!
//! The ring proposes a target from the members and the placement in force; the difference becomes
//! moves, a bounded few at a time; each is decided here and carried out where its partition is led.
//! The metadata group's own membership is kept in step with the members as well, members that have been
//! silent for too long are taken for dead, and those that leave are removed once they hold nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::administration::sizes;
use super::core::Core;
use super::proposal::{Berths, Proposal, deaths, decides, propose};
use super::vitals;
use crate::metadata::{Change, Member, State};
use crate::types::{Epoch, NodeId, PartitionId, ReplicaId, Result};

/// How often the rebalancer looks when nothing changes.
const PERIOD: Duration = Duration::from_millis(500);
/// How long one decision may take.
const DECIDE: Duration = Duration::from_secs(5);
/// How long the node that a move leads to may be gone before the move is given up.
const ABORT: Duration = Duration::from_secs(10);
/// How long it is remembered how large the partitions are.
const SIZES: Duration = Duration::from_secs(5);

/// Runs until it is dropped.
pub(super) async fn run(core: Arc<Core>) {
    let mut watch = core.metadata.watch();
    let mut rebalancer = Rebalancer::default();
    loop {
        if core.metadata.group().leads() {
            rebalancer.look(&core).await;
        } else {
            // Whoever leads next begins anew: what was seen here before may be long ago by then.
            rebalancer = Rebalancer::default();
        }
        drop(tokio::time::timeout(PERIOD, watch.changed()).await);
    }
}

/// What the leader of the metadata group remembers from one look to the next.
#[derive(Default)]
struct Rebalancer {
    /// The epoch at which nothing was left to do.
    balanced: Option<Epoch>,
    /// Since when members have been out of reach.
    silent: BTreeMap<NodeId, Instant>,
    /// Whether it was told that too many went silent at once.
    spared: bool,
    sizes: Option<(Instant, BTreeMap<PartitionId, u64>)>,
}

impl Rebalancer {
    async fn look(&mut self, core: &Core) {
        let (state, reachable) = (core.state(), core.reachable());
        self.silent.retain(|node, _| state.members.contains_key(node) && !reachable.contains(node));
        for node in state.members.keys().filter(|node| !reachable.contains(node)) {
            self.silent.entry(*node).or_insert_with(Instant::now);
        }
        if let Err(error) = tend_members(core).await {
            tracing::debug!(%error, "metadata membership waits");
        }
        if let Err(error) = self.mark(core).await {
            tracing::debug!(%error, "a member cannot be marked");
        }
        if let Err(error) = self.abort_hopeless(core).await {
            tracing::debug!(%error, "a move cannot be given up");
        }
        if let Err(error) = remove_drained(core).await {
            tracing::debug!(%error, "a member that has left cannot be removed");
        }
        if let Err(error) = self.balance(core).await {
            tracing::debug!(%error, "rebalancing waits");
        }
    }

    /// Takes members for dead that have been silent for too long, and for alive that are back.
    async fn mark(&mut self, core: &Core) -> Result<()> {
        let (state, reachable) = (core.state(), core.reachable());
        for member in state.members.values() {
            if member.dead && reachable.contains(&member.node) {
                core.decide(&Change::Mark { node: member.node, dead: false }, DECIDE).await?;
                tracing::info!(node = %member.node, "a node that counted as dead is back");
            }
        }
        let timeout = state.tuning.dead_node_timeout();
        let overdue = self.silent.iter().filter(|(_, since)| since.elapsed() >= timeout);
        let overdue: BTreeSet<NodeId> = overdue.map(|(node, _)| *node).collect();
        let silent: BTreeSet<NodeId> = self.silent.keys().copied().collect();
        let (dying, spared) = deaths(&state, &silent, &overdue);
        if spared && !std::mem::replace(&mut self.spared, spared) {
            tracing::warn!(
                silent = silent.len(),
                members = state.members.len(),
                "too many nodes went silent at once: nothing is rebuilt until max_dead_fraction says so",
            );
        }
        self.spared = spared;
        for node in dying {
            core.decide(&Change::Mark { node, dead: true }, DECIDE).await?;
            tracing::warn!(%node, "the node counts as dead: others take over what it holds");
        }
        Ok(())
    }

    /// Gives up the moves to nodes that have been gone for long: others wait for their turn.
    async fn abort_hopeless(&self, core: &Core) -> Result<()> {
        let state = core.state();
        for (partition, step) in &state.moves {
            let Some(coming) = step.add.filter(|_| !step.lost) else { continue };
            let gone = self.silent.get(&coming.node).is_some_and(|since| since.elapsed() > ABORT);
            if gone {
                let change = Change::AbortMove { partition: *partition, step: *step };
                core.decide(&change, DECIDE).await?;
                tracing::warn!(%partition, node = %coming.node, "gave up a move to a node that is gone");
            }
        }
        Ok(())
    }

    /// Decides the next moves and preferences.
    async fn balance(&mut self, core: &Core) -> Result<()> {
        let state = core.state();
        if !state.founded() || self.balanced == Some(state.epoch()) {
            return Ok(());
        }
        let proposal = propose(state.clone()).await?;
        let mut waiting = !state.moves.is_empty();
        if !proposal.steps.is_empty() {
            waiting = true;
            if !state.tuning.paused {
                self.begin(core, &state, &proposal).await?;
            }
        }
        for ((partition, assignment), goal) in state.table.iter().zip(&proposal.goal.partitions) {
            let Some(node) = goal.preferred else { continue };
            let held = assignment.replica_on(node).is_some();
            let moving = state.moves.contains_key(&partition);
            if held && assignment.preferred != Some(node) && !moving {
                core.decide(&Change::Prefer { partition, node }, DECIDE).await?;
                waiting = true;
            }
        }
        self.balanced = (!waiting).then(|| state.epoch());
        Ok(())
    }

    async fn begin(&mut self, core: &Core, state: &State, proposal: &Proposal) -> Result<()> {
        let reachable = core.reachable();
        let sizes = self.sizes(core).await;
        let mut berths = Berths::new(state, &reachable, &rooms(core), sizes);
        let mut begun: BTreeSet<PartitionId> = state.moves.keys().copied().collect();
        for step in &proposal.steps {
            let partition = step.partition;
            let blocked = begun.contains(&partition)
                || !decides(state, partition, &reachable)
                || step.add.is_some_and(|node| !berths.take(node, partition));
            if blocked {
                continue;
            }
            let assignment = state.table.assignment(partition);
            let leaving = step.remove.and_then(|node| assignment?.replica_on(node));
            let remove = leaving.map(|replica| replica.id);
            core.decide(&Change::BeginMove { partition, add: step.add, remove }, DECIDE).await?;
            begun.insert(partition);
        }
        Ok(())
    }

    /// How large each partition is, as of not long ago.
    async fn sizes(&mut self, core: &Core) -> BTreeMap<PartitionId, u64> {
        match &self.sizes {
            Some((when, known)) if when.elapsed() < SIZES => known.clone(),
            _ => {
                let all = sizes(core).await;
                let known: BTreeMap<_, _> =
                    all.into_iter().map(|(partition, size)| (partition, size.bytes)).collect();
                self.sizes = Some((Instant::now(), known.clone()));
                known
            }
        }
    }
}

/// The members that can be reached and are not full, with the room on their disks.
fn rooms(core: &Core) -> BTreeMap<NodeId, Option<u64>> {
    let reachable = core.reachable();
    let mut vitals = core.vitals.lock().clone();
    vitals.insert(core.node, vitals::own(core));
    let roomy = vitals.iter().filter(|(node, vitals)| reachable.contains(node) && !vitals.full);
    roomy.map(|(node, vitals)| (*node, vitals.room)).collect()
}

/// Removes members that are on their way out and hold nothing any more.
async fn remove_drained(core: &Core) -> Result<()> {
    let state = core.state();
    let now = core.metadata.group().voters();
    for member in state.members.values().filter(|member| member.leaving) {
        let partitions = state.table.iter().map(|(partition, _)| partition);
        let holds = partitions.into_iter().any(|partition| {
            state.hosted(partition, member.node).is_some()
                || state.destined(partition).iter().any(|replica| replica.node == member.node)
        });
        let votes = now.joint || now.voters.contains(&member.metadata);
        if !holds && !votes {
            core.decide(&Change::Remove { node: member.node }, DECIDE).await?;
            tracing::info!(node = %member.node, "a node has left");
        }
    }
    Ok(())
}

/// How many members vote on metadata: all of up to three, five from five on.
fn voter_count(members: usize) -> usize {
    match members {
        0..=3 => members,
        4 => 3,
        _ => 5,
    }
}

/// The metadata replicas that should vote: of the members that stay those that do and then the oldest
/// others, and the dead only if there are too few.
fn choose_voters(state: &State, voting: &BTreeSet<ReplicaId>) -> BTreeSet<ReplicaId> {
    let mut members: Vec<&Member> =
        state.members.values().filter(|member| !member.leaving).collect();
    let count = voter_count(members.len());
    members
        .sort_by_key(|member| (member.dead, !voting.contains(&member.metadata), member.metadata));
    members.into_iter().take(count).map(|member| member.metadata).collect()
}

/// Takes one step towards a metadata group of the right members.
async fn tend_members(core: &Core) -> Result<()> {
    let state = core.state();
    let group = core.metadata.group();
    let now = group.voters();
    for member in state.members.values() {
        if !now.voters.contains(&member.metadata) && !now.learners.contains(&member.metadata) {
            return group.add_learner(member.metadata, member.node).await;
        }
    }
    let mut voters = choose_voters(&state, &now.voters);
    if !voters.contains(&group.tag().replica) {
        // Another one does the rest: a leader that changed its own part away could not finish.
        let mut heirs = voters.intersection(&now.voters);
        if let Some(heir) = heirs.find(|heir| group.follows_closely(**heir)) {
            return group.hand_over(*heir).await;
        }
        voters.insert(group.tag().replica);
    }
    let mut arriving = voters.difference(&now.voters);
    if (now.joint || voters != now.voters) && arriving.all(|id| group.follows_closely(*id)) {
        // Who votes no longer goes on listening, for as long as it is a member.
        return group.change_voters(&voters, true).await;
    }
    let members: BTreeSet<ReplicaId> = state.members.values().map(|m| m.metadata).collect();
    let strangers: BTreeSet<ReplicaId> = now.learners.difference(&members).copied().collect();
    if !strangers.is_empty() {
        return group.remove_learners(&strangers).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_five_vote() {
        let counts: Vec<usize> = (0..8).map(voter_count).collect();
        assert_eq!(counts, [0, 1, 2, 3, 3, 5, 5, 5]);
    }
}
