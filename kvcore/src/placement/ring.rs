//! The ring: every node's virtual nodes, placed on the token space.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::types::{NodeId, PartitionId, Token};

/// A member of the cluster, as the ring sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Weighted {
    /// The member.
    pub node: NodeId,
    /// Its share of the data against others', in thousandths: 1000 is the normal node. 0 counts
    /// as 1.
    pub weight_milli: u32,
    /// Its failure zone. A node without one fails alone, as if it were a zone of its own.
    pub zone: Option<String>,
}

/// Consistent hashing with virtual nodes (Karger and others, 1997). The order in which a partition
/// meets the nodes depends on few of them, so it changes little when one comes or goes.
#[derive(Clone, Debug)]
pub struct Ring {
    /// Where each virtual node is and whose it is, in clockwise order.
    points: Vec<(Token, NodeId)>,
    nodes: usize,
}

impl Ring {
    /// Places `vnodes` virtual nodes for each member of weight 1, in proportion for others and at
    /// least one for each. The order of the members does not matter.
    pub fn new(members: &[Weighted], vnodes: u32) -> Ring {
        let mut points = Vec::new();
        for member in members {
            let count = u64::from(vnodes) * u64::from(member.weight_milli);
            let count = u32::try_from(count.saturating_add(500) / 1000).unwrap_or(u32::MAX);
            for vnode in 0..count.max(1) {
                points.push((position(member.node, vnode), member.node));
            }
        }
        points.sort_unstable();
        points.dedup();
        let nodes = members.iter().map(|member| member.node).collect::<BTreeSet<_>>().len();
        Ring { points, nodes }
    }

    /// Every node once, in the order in which they are met walking clockwise from the start of
    /// `partition`, one of `partitions` (a power of two).
    pub fn order(&self, partition: PartitionId, partitions: u16) -> Vec<NodeId> {
        let start = Token::start(partition, partitions);
        let first = self.points.partition_point(|(token, _)| *token < start);
        let (before, after) = self.points.split_at_checked(first).unwrap_or((&self.points, &[]));
        let mut met = BTreeSet::new();
        let mut order = Vec::with_capacity(self.nodes);
        for (_, node) in after.iter().chain(before) {
            if met.insert(*node) {
                order.push(*node);
            }
            if order.len() == self.nodes {
                break;
            }
        }
        order
    }
}

/// Where virtual node `vnode` of `node` is: XXH3-64 of both numbers, little-endian.
fn position(node: NodeId, vnode: u32) -> Token {
    let mut bytes = [0; 12];
    for (to, from) in
        bytes.iter_mut().zip(node.0.to_le_bytes().into_iter().chain(vnode.to_le_bytes()))
    {
        *to = from;
    }
    Token(xxh3_64(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u64) -> Vec<Weighted> {
        (1..=count)
            .map(|node| Weighted { node: NodeId(node), weight_milli: 1000, zone: None })
            .collect()
    }

    #[test]
    fn the_place_of_a_virtual_node_is_fixed_for_ever() {
        assert_eq!(
            position(NodeId(0x0102_0304_0506_0708), 9),
            Token::of(&[8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0])
        );
    }

    #[test]
    fn a_partition_meets_every_node_once_in_clockwise_order() {
        let ring = Ring::new(&members(5), 8);
        assert_eq!(ring.points.len(), 40);
        for partition in (0..16).map(PartitionId) {
            let order = ring.order(partition, 16);
            assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 5);
            assert_eq!(order.len(), 5);
            let start = Token::start(partition, 16).0;
            let nearest = |node: NodeId| {
                (0..8).map(|vnode| position(node, vnode).0.wrapping_sub(start)).min().unwrap()
            };
            assert!(order.is_sorted_by_key(|node| nearest(*node)));
        }
    }

    #[test]
    fn a_newcomer_does_not_change_the_order_of_the_others() {
        let (before, after) = (Ring::new(&members(6), 16), Ring::new(&members(7), 16));
        for partition in (0..16).map(PartitionId) {
            let mut order = after.order(partition, 16);
            order.retain(|node| *node != NodeId(7));
            assert_eq!(order, before.order(partition, 16));
        }
    }

    #[test]
    fn weight_gives_virtual_nodes() {
        for (weight_milli, count) in [(0, 1), (10, 1), (500, 32), (1000, 64), (2500, 160)] {
            let member = Weighted { node: NodeId(1), weight_milli, zone: None };
            assert_eq!(Ring::new(&[member], 64).points.len(), count, "weight {weight_milli}");
        }
    }

    #[test]
    fn an_empty_ring_has_no_order() {
        assert_eq!(Ring::new(&[], 64).order(PartitionId(0), 64), []);
    }
}
