//! The way from the placement in force to the target.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::target::Target;
use crate::types::{NodeId, PartitionId};

/// One replica move. Only `add`: the partition grows. Only `remove`: it shrinks. Both: the added
/// node takes the place of the removed one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Step {
    /// The partition that is changed.
    pub partition: PartitionId,
    /// The node that gets a replica.
    pub add: Option<NodeId>,
    /// The node that gives up its replica.
    pub remove: Option<NodeId>,
}

/// The steps from `current` (for each partition the nodes that hold it) to `target`, the most
/// urgent first:
///
/// 1. partitions grow, those with the fewest replicas first;
/// 2. nodes that are to hold nothing any more are replaced;
/// 3. the other replacements;
/// 4. partitions shrink.
///
/// Steps of different partitions do not depend on each other; those of one partition may be taken
/// one at a time in any order. Partitions that only one of the two knows are left alone.
pub fn plan(current: &[Vec<NodeId>], target: &Target) -> Vec<Step> {
    let staying: BTreeSet<NodeId> =
        target.partitions.iter().flat_map(|goal| goal.nodes.iter().copied()).collect();
    let mut steps = Vec::new();
    for (partition, (held, goal)) in
        (0..=u16::MAX).map(PartitionId).zip(current.iter().zip(&target.partitions))
    {
        let held: BTreeSet<NodeId> = held.iter().copied().collect();
        let goal: BTreeSet<NodeId> = goal.nodes.iter().copied().collect();
        let mut adds = goal.difference(&held).copied();
        // When there is less to add than to remove, those that leave are the ones replaced.
        let (stay, leave): (Vec<NodeId>, Vec<NodeId>) =
            held.difference(&goal).partition(|node| staying.contains(node));
        for remove in leave.into_iter().chain(stay) {
            let add = adds.next();
            let urgency = match add {
                Some(_) if !staying.contains(&remove) => Urgency::Leaver,
                Some(_) => Urgency::Balance,
                None => Urgency::Shrink,
            };
            steps.push((urgency, Step { partition, add, remove: Some(remove) }));
        }
        for (more, add) in adds.enumerate() {
            let urgency = Urgency::Growth { replicas: held.len() + more };
            steps.push((urgency, Step { partition, add: Some(add), remove: None }));
        }
    }
    // A stable sort: within one urgency the partitions keep their order.
    steps.sort_by_key(|(urgency, _)| *urgency);
    steps.into_iter().map(|(_, step)| step).collect()
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Growth { replicas: usize },
    Leaver,
    Balance,
    Shrink,
}
