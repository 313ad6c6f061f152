//! Which node should lead which partition.

use super::level::{Exchange, level};
use super::load::Loads;
use super::ring::Weighted;
use super::share::leader_shares;
use crate::types::{NodeId, PartitionId};

/// The node that should lead each partition, one of `nodes`; None where there are none. As many of
/// the leaders in `preferred` as can do so stay. `orders` has the ring order of each partition.
pub(super) fn choose(
    preferred: &[Option<NodeId>],
    nodes: &[Vec<NodeId>],
    members: &[&Weighted],
    orders: &[Vec<NodeId>],
) -> Vec<Option<NodeId>> {
    let mut loads = Loads::new(leader_shares(members, nodes.len() as u64));
    let mut chosen = Vec::with_capacity(nodes.len());
    let preferred = preferred.iter().copied().chain(std::iter::repeat(None));
    for (nodes, leader) in nodes.iter().zip(preferred) {
        let leader = leader.filter(|leader| nodes.contains(leader));
        leader.into_iter().for_each(|leader| loads.add(leader));
        chosen.push(leader);
    }
    let mut leaders = Leaders { chosen, nodes, orders };
    leaders.fill_gaps(&mut loads);
    level(&mut loads, &mut leaders);
    leaders.chosen
}

struct Leaders<'a> {
    chosen: Vec<Option<NodeId>>,
    /// The nodes that hold each partition.
    nodes: &'a [Vec<NodeId>],
    /// For each partition, all members in its ring order.
    orders: &'a [Vec<NodeId>],
}

impl Leaders<'_> {
    /// Gives every partition a leader: of its nodes, the first with room in its ring order.
    fn fill_gaps(&mut self, loads: &mut Loads) {
        for ((leader, nodes), order) in self.chosen.iter_mut().zip(self.nodes).zip(self.orders) {
            if leader.is_some() {
                continue;
            }
            let mut held = order.iter().copied().filter(|node| nodes.contains(node));
            *leader = held
                .find(|node| loads.has_room(*node))
                .or_else(|| loads.lightest(nodes.iter().copied()));
            leader.iter().for_each(|leader| loads.add(*leader));
        }
    }
}

impl Exchange for Leaders<'_> {
    fn offer(&self, taker: NodeId, donor: NodeId, taken: &[PartitionId]) -> Option<PartitionId> {
        let partitions = self.chosen.iter().zip(self.nodes).zip(self.orders);
        (0..=u16::MAX)
            .map(PartitionId)
            .zip(partitions)
            .filter(|(partition, ((leader, nodes), _))| {
                **leader == Some(donor) && nodes.contains(&taker) && !taken.contains(partition)
            })
            .min_by_key(|(_, (_, order))| order.iter().position(|node| *node == taker))
            .map(|(partition, _)| partition)
    }

    fn exchange(&mut self, partition: PartitionId, taker: NodeId, _: NodeId) {
        if let Some(leader) = self.chosen.get_mut(usize::from(partition.0)) {
            *leader = Some(taker);
        }
    }
}
