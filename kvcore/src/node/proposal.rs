//! What the ring makes of a map: the placement to strive for, and the steps to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::metadata::State;
use crate::placement::{Step, Target, Weighted, plan, target};
use crate::types::{Error, NodeId, PartitionId, Result};

/// A target, and the way to it.
pub(super) struct Proposal {
    /// The nodes that hold each partition, with the moves that have begun counted as done.
    pub(super) current: Vec<Vec<NodeId>>,
    /// Where they should be.
    pub(super) goal: Target,
    /// What is to be done, the most urgent first.
    pub(super) steps: Vec<Step>,
}

impl Proposal {
    /// What should be with the members there are.
    pub(super) fn of(state: &State) -> Proposal {
        Proposal::with(state, &state.weighted(), state.replication_factor())
    }

    /// What should be if these were the members that are to hold replicas. A group of `copies` or fewer is
    /// not made smaller: what a dead node holds is replaced, or kept.
    pub(super) fn with(state: &State, members: &[Weighted], copies: usize) -> Proposal {
        let partitions = state.table.iter().map(|(partition, _)| partition);
        let nodes = |partition: PartitionId| {
            state.destined(partition).iter().map(|replica| replica.node).collect()
        };
        let current: Vec<Vec<NodeId>> = partitions.map(nodes).collect();
        let preferred: Vec<Option<NodeId>> =
            state.table.iter().map(|(_, assignment)| assignment.preferred).collect();
        let config = &state.config;
        let goal = target(&current, &preferred, members, config.replication_factor, config.vnodes);
        let mut held: BTreeMap<PartitionId, usize> =
            (0..=u16::MAX).map(PartitionId).zip(current.iter().map(Vec::len)).collect();
        let mut steps = plan(&current, &goal);
        steps.retain(|step| {
            let Some(held) = held.get_mut(&step.partition) else { return false };
            match (step.add, step.remove) {
                (None, Some(_)) if *held <= copies => return false,
                (None, Some(_)) => *held -= 1,
                (Some(_), None) => *held += 1,
                _ => {}
            }
            true
        });
        Proposal { current, goal, steps }
    }

    /// How many replicas each node would hold once all steps are done.
    pub(super) fn then(&self) -> BTreeMap<NodeId, usize> {
        let mut held = self.now();
        for step in &self.steps {
            if let Some(node) = step.add {
                *held.entry(node).or_default() += 1;
            }
            if let Some(count) = step.remove.and_then(|node| held.get_mut(&node)) {
                *count = count.saturating_sub(1);
            }
        }
        held
    }

    /// How many replicas each node holds.
    pub(super) fn now(&self) -> BTreeMap<NodeId, usize> {
        let mut held = BTreeMap::new();
        for node in self.current.iter().flatten() {
            *held.entry(*node).or_default() += 1;
        }
        held
    }
}

/// [`Proposal::of`] on a thread of its own: with many nodes and partitions it takes a while.
pub(super) async fn propose(state: Arc<State>) -> Result<Proposal> {
    let proposed = tokio::task::spawn_blocking(move || Proposal::of(&state)).await;
    proposed.map_err(|error| Error::internal("the proposal was interrupted").because(error))
}

/// Whether a majority of a partition's replicas can be reached: without one its group decides nothing, and
/// no move of it can arrive.
pub(super) fn decides(state: &State, partition: PartitionId, reachable: &BTreeSet<NodeId>) -> bool {
    let placed = state.table.assignment(partition).map(|placed| placed.replicas.as_slice());
    let placed = placed.unwrap_or_default();
    let there = placed.iter().filter(|replica| reachable.contains(&replica.node)).count();
    there * 2 > placed.len()
}

/// Who may get how much more at once: by the moves under way, by who can be reached, and by the room on the
/// disks.
pub(super) struct Berths {
    left: BTreeMap<NodeId, Berth>,
    sizes: BTreeMap<PartitionId, u64>,
}

struct Berth {
    moves: usize,
    /// None: as much as there is.
    room: Option<u64>,
}

impl Berths {
    /// For nodes with so much room each, of which each takes `at_once` replicas at a time.
    pub(super) fn new(
        state: &State,
        reachable: &BTreeSet<NodeId>,
        rooms: &BTreeMap<NodeId, Option<u64>>,
        sizes: BTreeMap<PartitionId, u64>,
    ) -> Berths {
        let moves = state.tuning.moves_per_node as usize;
        let left = rooms.iter().map(|(node, room)| (*node, Berth { moves, room: *room }));
        let mut berths = Berths { left: left.collect(), sizes };
        for (partition, step) in &state.moves {
            // One that cannot arrive takes no place from those that can.
            if let Some(coming) = step.add.filter(|_| decides(state, *partition, reachable)) {
                berths.occupy(coming.node, *partition);
            }
        }
        berths
    }

    /// Whether a node may get a replica of a partition now; if so, it counts as coming.
    pub(super) fn take(&mut self, node: NodeId, partition: PartitionId) -> bool {
        let size = self.sizes.get(&partition).copied().unwrap_or(0);
        let fits = self
            .left
            .get(&node)
            .is_some_and(|berth| berth.moves > 0 && berth.room.is_none_or(|room| room > size));
        if fits {
            self.occupy(node, partition);
        }
        fits
    }

    fn occupy(&mut self, node: NodeId, partition: PartitionId) {
        let size = self.sizes.get(&partition).copied().unwrap_or(0);
        if let Some(berth) = self.left.get_mut(&node) {
            berth.moves = berth.moves.saturating_sub(1);
            berth.room = berth.room.map(|room| room.saturating_sub(size));
        }
    }
}

/// The members that are to count as dead from now on, and whether any were spared because too many went
/// silent at once. `silent` are those that have been for longer than the timeout or are still within it.
pub(super) fn deaths(
    state: &State,
    silent: &BTreeSet<NodeId>,
    overdue: &BTreeSet<NodeId>,
) -> (Vec<NodeId>, bool) {
    let alive = state.members.values().filter(|member| !member.dead);
    let alive: BTreeSet<NodeId> = alive.map(|member| member.node).collect();
    let dying: Vec<NodeId> = overdue.intersection(&alive).copied().collect();
    if dying.is_empty() {
        return (dying, false);
    }
    match state.tuning.believes(silent.intersection(&alive).count(), alive.len()) {
        true => (dying, false),
        false => (Vec::new(), true),
    }
}

#[cfg(test)]
#[path = "proposal_test.rs"]
mod tests;
