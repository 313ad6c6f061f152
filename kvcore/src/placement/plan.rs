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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::placement::{Goal, Weighted, target};

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn to(goals: &[&[u64]]) -> Target {
        let goal = |ids: &&[u64]| Goal { nodes: nodes(ids), preferred: None };
        Target { partitions: goals.iter().map(goal).collect() }
    }

    /// (partition, added node or 0, removed node or 0)
    fn planned(current: &[&[u64]], goals: &[&[u64]]) -> Vec<(u16, u64, u64)> {
        let current: Vec<Vec<NodeId>> = current.iter().map(|ids| nodes(ids)).collect();
        let number = |node: Option<NodeId>| node.map_or(0, |node| node.0);
        let steps = plan(&current, &to(goals));
        steps.iter().map(|step| (step.partition.0, number(step.add), number(step.remove))).collect()
    }

    #[test]
    fn adds_and_removes_of_a_partition_are_paired() {
        assert_eq!(planned(&[], &[]), []);
        assert_eq!(planned(&[&[1, 2, 3]], &[&[3, 2, 1]]), []);
        assert_eq!(
            planned(&[&[1, 2, 3], &[4, 5]], &[&[1, 4, 5], &[2, 3]]),
            [(0, 4, 2), (0, 5, 3), (1, 2, 4), (1, 3, 5)]
        );
        assert_eq!(planned(&[&[1]], &[&[2, 3]]), [(0, 3, 0), (0, 2, 1)]);
        assert_eq!(planned(&[&[1, 2, 3]], &[&[4]]), [(0, 4, 1), (0, 0, 2), (0, 0, 3)]);
    }

    #[test]
    fn the_least_replicated_grow_first() {
        let goals: [&[u64]; 4] = [&[1, 2, 3], &[1, 2, 3], &[1, 2, 3], &[1, 2, 3]];
        assert_eq!(
            planned(&[&[1, 2], &[1], &[1, 2, 3], &[]], &goals),
            [(3, 1, 0), (1, 2, 0), (3, 2, 0), (0, 3, 0), (1, 3, 0), (3, 3, 0),]
        );
    }

    #[test]
    fn leavers_are_replaced_before_the_rest_is_balanced() {
        // Node 9 leaves; node 4 has come.
        let current: [&[u64]; 4] = [&[1, 2], &[1, 2, 3], &[2, 9], &[1, 3]];
        let goals: [&[u64]; 4] = [&[1, 4], &[1, 2], &[2, 3], &[1, 2, 3]];
        assert_eq!(planned(&current, &goals), [(3, 2, 0), (2, 3, 9), (0, 4, 2), (1, 0, 3)]);
    }

    fn any_members() -> impl Strategy<Value = Vec<Weighted>> {
        let member = (0..14u64).prop_map(|node| Weighted {
            node: NodeId(node),
            weight_milli: 1000,
            zone: None,
        });
        prop::collection::vec(member, 1..10)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_plan_taken_step_by_step_reaches_the_target(
            before in any_members(),
            after in any_members(),
            factors in (1..5u8, 1..5u8),
        ) {
            let placed = target(&vec![Vec::new(); 32], &[], &before, factors.0, 16);
            let mut held: Vec<Vec<NodeId>> =
                placed.partitions.iter().map(|goal| goal.nodes.clone()).collect();
            let goal = target(&held, &[], &after, factors.1, 16);
            let steps = plan(&held, &goal);
            prop_assert_eq!(&steps, &plan(&held, &goal));
            for (taken, step) in steps.iter().enumerate() {
                // A new metadata leader that plans again midway goes on with the same steps.
                let mut rest = plan(&held, &goal);
                rest.sort();
                let mut expected = steps[taken..].to_vec();
                expected.sort();
                prop_assert_eq!(rest, expected);
                let nodes = &mut held[usize::from(step.partition.0)];
                if let Some(node) = step.add {
                    prop_assert!(!nodes.contains(&node));
                    nodes.push(node);
                }
                if let Some(node) = step.remove {
                    prop_assert!(nodes.contains(&node));
                    nodes.retain(|held| *held != node);
                    prop_assert!(!nodes.is_empty(), "nobody is left to copy from");
                }
            }
            prop_assert_eq!(plan(&held, &goal), []);
            for (nodes, goal) in held.iter_mut().zip(&goal.partitions) {
                nodes.sort();
                prop_assert_eq!(&*nodes, &goal.nodes);
            }
        }
    }
}
