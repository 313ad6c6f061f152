//! Where the metadata group is led: what should be, and the next few steps towards it.
//!
//! The ring proposes a target from the members and the placement in force; the difference becomes
//! moves, a bounded few at a time; each is decided here and carried out where its partition is led.
//! The metadata group's own membership is kept in step with the members as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::core::Core;
use crate::metadata::{Change, State};
use crate::placement::{plan, target};
use crate::types::{Epoch, NodeId, PartitionId, ReplicaId, Result};

/// How often the rebalancer looks when nothing changes.
const PERIOD: Duration = Duration::from_millis(500);
/// How long one decision may take.
const DECIDE: Duration = Duration::from_secs(5);
/// Moves under way at once in the cluster.
const MOVES: usize = 8;
/// How long the node that a move leads to may be gone before the move is given up.
const ABORT: Duration = Duration::from_secs(10);

/// Runs until it is dropped.
pub(super) async fn run(core: Arc<Core>) {
    let mut watch = core.metadata.watch();
    let mut balanced = None;
    let mut gone = BTreeMap::new();
    loop {
        if core.metadata.group().leads() {
            if let Err(error) = tend_members(&core).await {
                tracing::debug!(%error, "metadata membership waits");
            }
            if let Err(error) = abort_hopeless(&core, &mut gone).await {
                tracing::debug!(%error, "a move cannot be given up");
            }
            match balance(&core, balanced).await {
                Ok(epoch) => balanced = epoch,
                Err(error) => tracing::debug!(%error, "rebalancing waits"),
            }
        }
        drop(tokio::time::timeout(PERIOD, watch.changed()).await);
    }
}

/// How many members vote on metadata: all of up to three, five from five on.
fn voter_count(members: usize) -> usize {
    match members {
        0..=3 => members,
        4 => 3,
        _ => 5,
    }
}

/// The metadata replicas that should vote: those that do and still are members, then the oldest
/// others.
fn choose_voters(state: &State, voting: &BTreeSet<ReplicaId>) -> BTreeSet<ReplicaId> {
    let mut replicas: Vec<ReplicaId> =
        state.members.values().map(|member| member.metadata).collect();
    replicas.sort_by_key(|replica| (!voting.contains(replica), *replica));
    replicas.into_iter().take(voter_count(state.members.len())).collect()
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
    let voters = choose_voters(&state, &now.voters);
    let mut arriving = voters.difference(&now.voters);
    if (now.joint || voters != now.voters) && arriving.all(|id| group.follows_closely(*id)) {
        return group.change_voters(&voters).await;
    }
    let members: BTreeSet<ReplicaId> = state.members.values().map(|m| m.metadata).collect();
    let strangers: BTreeSet<ReplicaId> = now.learners.difference(&members).copied().collect();
    if !strangers.is_empty() {
        return group.remove_learners(&strangers).await;
    }
    Ok(())
}

/// Gives up the moves to nodes that have been gone for long: others wait for their turn.
async fn abort_hopeless(core: &Core, gone: &mut BTreeMap<NodeId, Instant>) -> Result<()> {
    let (state, reachable) = (core.state(), core.reachable());
    gone.retain(|node, _| !reachable.contains(node));
    for (partition, step) in &state.moves {
        let away = |node| !reachable.contains(&node) && !step.replaces();
        let Some(coming) = step.add.filter(|coming| away(coming.node)) else { continue };
        let since = *gone.entry(coming.node).or_insert_with(Instant::now);
        if since.elapsed() > ABORT {
            let change = Change::AbortMove { partition: *partition, step: *step };
            core.decide(&change, DECIDE).await?;
            tracing::warn!(%partition, node = %coming.node, "gave up a move to a node that is gone");
        }
    }
    Ok(())
}

/// Decides the next moves and preferences. The epoch at which nothing was left to do, if so.
async fn balance(core: &Core, balanced: Option<Epoch>) -> Result<Option<Epoch>> {
    let state = core.state();
    if !state.founded() || balanced == Some(state.epoch()) {
        return Ok(balanced);
    }
    let partitions: Vec<PartitionId> = state.table.iter().map(|(partition, _)| partition).collect();
    let current: Vec<Vec<NodeId>> = partitions
        .iter()
        .map(|partition| state.destined(*partition).iter().map(|replica| replica.node).collect())
        .collect();
    let preferred: Vec<Option<NodeId>> =
        state.table.iter().map(|(_, assignment)| assignment.preferred).collect();
    let config = &state.config;
    let goal =
        target(&current, &preferred, &state.weighted(), config.replication_factor, config.vnodes);
    let steps = plan(&current, &goal);
    let reachable = core.reachable();
    let mut room = MOVES.saturating_sub(state.moves.len());
    let mut waiting = !state.moves.is_empty();
    for step in &steps {
        let blocked = state.moves.contains_key(&step.partition)
            || step.add.is_some_and(|node| !reachable.contains(&node));
        if blocked || room == 0 {
            waiting = true;
            continue;
        }
        let assignment = state.table.assignment(step.partition);
        let leaving = step.remove.and_then(|node| assignment?.replica_on(node));
        let change = Change::BeginMove {
            partition: step.partition,
            add: step.add,
            remove: leaving.map(|replica| replica.id),
        };
        core.decide(&change, DECIDE).await?;
        waiting = true;
        room -= 1;
    }
    for ((partition, assignment), goal) in state.table.iter().zip(&goal.partitions) {
        let Some(node) = goal.preferred else { continue };
        let held = assignment.replica_on(node).is_some();
        if held && assignment.preferred != Some(node) && !state.moves.contains_key(&partition) {
            core.decide(&Change::Prefer { partition, node }, DECIDE).await?;
            waiting = true;
        }
    }
    Ok((!waiting).then(|| state.epoch()))
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
