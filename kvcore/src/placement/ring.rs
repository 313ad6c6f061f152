//! The ring: every node's virtual nodes, placed on the token space.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::types::{NodeId, Token};

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

/// A node by its place among all members in order of their ids. The order is the same as that of the
/// ids, and what is known of a node is found at once: a target asks millions of times.
pub(super) type Place = usize;

/// Consistent hashing with virtual nodes (Karger and others, 1997). The order in which a partition
/// meets the nodes depends on few of them, so it changes little when one comes or goes.
#[derive(Clone, Debug)]
pub struct Ring {
    /// For each partition, where virtual nodes lie in it and whose they are, in clockwise order.
    arcs: Vec<Vec<(Token, Place)>>,
    /// The nodes, by id.
    nodes: Vec<NodeId>,
}

impl Ring {
    /// Places `vnodes` virtual nodes for each member of weight 1, in proportion for others and at
    /// least one for each, among `partitions` (a power of two). The order of the members does not
    /// matter.
    pub fn new(members: &[Weighted], vnodes: u32, partitions: u16) -> Ring {
        let mut nodes: Vec<NodeId> = members.iter().map(|member| member.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let mut arcs = vec![Vec::new(); usize::from(partitions)];
        for member in members {
            let Ok(place) = nodes.binary_search(&member.node) else { continue };
            let count = u64::from(vnodes) * u64::from(member.weight_milli);
            let count = u32::try_from(count.saturating_add(500) / 1000).unwrap_or(u32::MAX);
            for vnode in 0..count.max(1) {
                let token = position(member.node, vnode);
                if let Some(arc) = arcs.get_mut(usize::from(token.partition(partitions).0)) {
                    arc.push((token, place));
                }
            }
        }
        for arc in &mut arcs {
            // One number compares sooner than two.
            arc.sort_unstable_by_key(|(token, place)| (u128::from(token.0) << 64) | *place as u128);
        }
        Ring { arcs, nodes }
    }

    /// For each partition every node once, in the order in which they are met walking clockwise from
    /// its start.
    pub fn orders(&self) -> Vec<Vec<NodeId>> {
        let node = |place: &Place| self.nodes.get(*place).copied();
        self.places().iter().map(|order| order.iter().filter_map(node).collect()).collect()
    }

    /// The same, as places.
    pub(super) fn places(&self) -> Vec<Vec<Place>> {
        // Counter-clockwise, since a partition's order is that of the next one, but for the nodes met
        // on the way there: they come first.
        let mut order = self.distinct(self.arcs.iter().flatten().map(|(_, place)| *place));
        let mut orders = Vec::with_capacity(self.arcs.len());
        for arc in self.arcs.iter().rev() {
            order = self.distinct(arc.iter().map(|(_, place)| *place).chain(order));
            orders.push(order.clone());
        }
        orders.reverse();
        orders
    }

    /// Each of `places` where it is met first.
    fn distinct(&self, places: impl Iterator<Item = Place>) -> Vec<Place> {
        let mut missing = vec![true; self.nodes.len()];
        let mut met = Vec::with_capacity(self.nodes.len());
        for place in places {
            if let Some(missing @ true) = missing.get_mut(place) {
                *missing = false;
                met.push(place);
            }
        }
        met
    }
}

/// Where virtual node `vnode` of `node` is: XXH3-64 of both numbers, little-endian.
fn position(node: NodeId, vnode: u32) -> Token {
    let both = (u128::from(vnode) << 64) | u128::from(node.0);
    let bytes = both.to_le_bytes();
    Token(xxh3_64(bytes.first_chunk::<12>().unwrap_or(&[0; 12])))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::types::PartitionId;

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
        let ring = Ring::new(&members(5), 8, 16);
        assert_eq!(ring.arcs.iter().flatten().count(), 40);
        let orders = ring.orders();
        assert_eq!(orders.len(), 16);
        for (partition, order) in (0..16).map(PartitionId).zip(orders) {
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
        let before = Ring::new(&members(6), 16, 16).orders();
        let mut after = Ring::new(&members(7), 16, 16).orders();
        for order in &mut after {
            order.retain(|node| *node != NodeId(7));
        }
        assert_eq!(after, before);
    }

    #[test]
    fn weight_gives_virtual_nodes() {
        for (weight_milli, count) in [(0, 1), (10, 1), (500, 32), (1000, 64), (2500, 160)] {
            let member = Weighted { node: NodeId(1), weight_milli, zone: None };
            let ring = Ring::new(&[member], 64, 4);
            assert_eq!(ring.arcs.iter().flatten().count(), count, "weight {weight_milli}");
        }
    }

    #[test]
    fn an_empty_ring_has_no_order() {
        assert_eq!(Ring::new(&[], 64, 2).orders(), [[], []]);
    }
}
