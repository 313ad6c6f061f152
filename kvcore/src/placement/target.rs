//! The placement to strive for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ring::{Place, Ring, Weighted};
use super::{leaders, replicas};
use crate::types::NodeId;

/// Which nodes should hold which partition.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Target {
    /// One goal for each partition, in their order.
    pub partitions: Vec<Goal>,
}

/// Which nodes should hold one partition.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Goal {
    /// The nodes, by id.
    pub nodes: Vec<NodeId>,
    /// Which of them should lead; None only if there are none.
    pub preferred: Option<NodeId>,
}

/// The target for a cluster of these members, in which as little moves as is needed.
///
/// - `current`: for each partition the nodes that hold it, with the moves that have begun counted
///   as done. Its length, a power of two up to 4096, is the number of partitions.
/// - `preferred`: for each partition its preferred leader now, if it has one. What is missing at
///   the end counts as none.
/// - `members`: every member that has not been removed, whether alive or not, in any order. Of
///   several entries for one node the first counts.
/// - `replication_factor`: replicas of each partition; with fewer members, one on each.
/// - `vnodes`: virtual nodes of a member of weight 1.
///
/// The target of a target is itself. The method is that of consistent hashing with bounded loads
/// (Mirrokni, Thorup, Zadimoghaddam, 2016), changed so that it begins with what is in place.
pub fn target(
    current: &[Vec<NodeId>],
    preferred: &[Option<NodeId>],
    members: &[Weighted],
    replication_factor: u8,
    vnodes: u32,
) -> Target {
    let mut by_node = BTreeMap::new();
    for member in members {
        by_node.entry(member.node).or_insert(member);
    }
    let members: Vec<&Weighted> = by_node.into_values().collect();
    let copies = usize::from(replication_factor).min(members.len());
    let place = |node: &NodeId| members.binary_search_by_key(node, |member| member.node).ok();
    let node = |place: Place| members.get(place).map(|member| member.node);

    let ring: Vec<Weighted> = members.iter().copied().cloned().collect();
    let orders =
        Ring::new(&ring, vnodes, u16::try_from(current.len()).unwrap_or(u16::MAX)).places();
    let held = current.iter().map(|nodes| nodes.iter().filter_map(place).collect()).collect();
    let nodes = replicas::settle(held, &members, &orders, copies);
    let led = preferred.iter().map(|leader| leader.as_ref().and_then(place));
    let leaders = leaders::choose(led, &nodes, &members, &orders);
    let goals = nodes.into_iter().zip(leaders).map(|(nodes, leader)| Goal {
        nodes: nodes.into_iter().filter_map(node).collect(),
        preferred: leader.and_then(node),
    });
    Target { partitions: goals.collect() }
}

#[cfg(test)]
#[path = "target_test.rs"]
mod tests;
