//! Which nodes should hold which partition.

use std::collections::BTreeMap;

use super::level::{Exchange, level};
use super::load::Loads;
use super::ring::Weighted;
use super::share::{Zone, replica_shares};
use crate::types::{NodeId, PartitionId};

/// The nodes that should hold each partition, by id: `copies` of `members` each, and as many of
/// those in `current` as can stay. `orders` has the ring order of each partition.
pub(super) fn settle(
    current: &[Vec<NodeId>],
    members: &[&Weighted],
    orders: &[Vec<NodeId>],
    copies: usize,
) -> Vec<Vec<NodeId>> {
    let mut loads = Loads::new(replica_shares(members, current.len() as u64, copies));
    let zones = members.iter().map(|member| (member.node, member.zone())).collect();
    let mut replicas = Replicas { nodes: keep(current, &mut loads), orders, zones };
    replicas.drop_excess(&mut loads, copies);
    replicas.fill_gaps(&mut loads, copies);
    replicas.spread_zones(&mut loads);
    level(&mut loads, &mut replicas);
    for nodes in &mut replicas.nodes {
        nodes.sort_unstable();
    }
    replicas.nodes
}

/// The replicas that are on members.
fn keep(current: &[Vec<NodeId>], loads: &mut Loads) -> Vec<Vec<NodeId>> {
    let mut kept = current.to_vec();
    for nodes in &mut kept {
        nodes.retain(|node| loads.is_member(*node));
        nodes.sort_unstable();
        nodes.dedup();
        nodes.iter().for_each(|node| loads.add(*node));
    }
    kept
}

struct Replicas<'a> {
    /// The nodes that hold each partition.
    nodes: Vec<Vec<NodeId>>,
    /// For each partition, all members in its ring order.
    orders: &'a [Vec<NodeId>],
    zones: BTreeMap<NodeId, Zone<'a>>,
}

impl Replicas<'_> {
    /// Takes from partitions that have more than `copies` replicas, from the heaviest nodes first
    /// but so that no zone is lost.
    fn drop_excess(&mut self, loads: &mut Loads, copies: usize) {
        for nodes in &mut self.nodes {
            while nodes.len() > copies {
                let doubled = doubled(&self.zones, nodes);
                let from = if doubled.is_empty() { nodes.clone() } else { doubled };
                let Some(node) = loads.heaviest(from) else { break };
                nodes.retain(|held| *held != node);
                loads.remove(node);
            }
        }
    }

    /// Gives every partition `copies` replicas, as far as there are members.
    fn fill_gaps(&mut self, loads: &mut Loads, copies: usize) {
        for (nodes, order) in self.nodes.iter_mut().zip(self.orders) {
            while nodes.len() < copies {
                let fresh = in_new_zones(&self.zones, nodes, order);
                let others = || order.iter().copied().filter(|node| !nodes.contains(node));
                let pool = if fresh.is_empty() { others().collect() } else { fresh };
                let Some(node) = first_with_room(loads, &pool) else { break };
                nodes.push(node);
                loads.add(node);
            }
        }
    }

    /// Moves replicas out of zones that hold several of one partition into zones that hold none.
    /// That is needed only after zones have come or changed: gaps are filled by the same rule.
    fn spread_zones(&mut self, loads: &mut Loads) {
        for (nodes, order) in self.nodes.iter_mut().zip(self.orders) {
            while let Some(donor) = loads.heaviest(doubled(&self.zones, nodes)) {
                let fresh = in_new_zones(&self.zones, nodes, order);
                let Some(taker) = first_with_room(loads, &fresh) else { break };
                replace(nodes, taker, donor);
                loads.add(taker);
                loads.remove(donor);
            }
        }
    }

    /// Whether `taker` may take the place of `donor` among `nodes`: it is not there yet, and no
    /// zone is lost by it.
    fn may_take(&self, nodes: &[NodeId], taker: NodeId, donor: NodeId) -> bool {
        if nodes.contains(&taker) || !nodes.contains(&donor) {
            return false;
        }
        let held = |zone| {
            let mut others = nodes.iter().filter(|node| **node != donor);
            others.any(|node| self.zones.get(node) == zone)
        };
        let (to, from) = (self.zones.get(&taker), self.zones.get(&donor));
        to == from || !held(to) || held(from)
    }
}

impl Exchange for Replicas<'_> {
    fn offer(&self, taker: NodeId, donor: NodeId, taken: &[PartitionId]) -> Option<PartitionId> {
        let partitions = (0..=u16::MAX).map(PartitionId).zip(self.nodes.iter().zip(self.orders));
        partitions
            .filter(|(partition, (nodes, _))| {
                self.may_take(nodes, taker, donor) && !taken.contains(partition)
            })
            .min_by_key(|(_, (_, order))| order.iter().position(|node| *node == taker))
            .map(|(partition, _)| partition)
    }

    fn exchange(&mut self, partition: PartitionId, taker: NodeId, donor: NodeId) {
        if let Some(nodes) = self.nodes.get_mut(usize::from(partition.0)) {
            replace(nodes, taker, donor);
        }
    }
}

fn replace(nodes: &mut [NodeId], taker: NodeId, donor: NodeId) {
    nodes.iter_mut().filter(|node| **node == donor).for_each(|node| *node = taker);
}

/// Those of `nodes` whose zone has another of them.
fn doubled(zones: &BTreeMap<NodeId, Zone>, nodes: &[NodeId]) -> Vec<NodeId> {
    let same = |left: &NodeId, right: &NodeId| zones.get(left) == zones.get(right);
    let several = |node: &NodeId| nodes.iter().filter(|other| same(node, other)).count() > 1;
    nodes.iter().copied().filter(several).collect()
}

/// Those of `order` whose zone has none of `nodes`, in the same order.
fn in_new_zones(zones: &BTreeMap<NodeId, Zone>, nodes: &[NodeId], order: &[NodeId]) -> Vec<NodeId> {
    let met: Vec<_> = nodes.iter().map(|node| zones.get(node)).collect();
    order.iter().copied().filter(|node| !met.contains(&zones.get(node))).collect()
}

/// The first that may hold one more; if none may, the one to which one more matters least.
fn first_with_room(loads: &Loads, nodes: &[NodeId]) -> Option<NodeId> {
    let first = nodes.iter().copied().find(|node| loads.has_room(*node));
    first.or_else(|| loads.lightest(nodes.iter().copied()))
}
