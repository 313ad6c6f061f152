//! Which node should lead which partition.

use super::level::{Exchange, level};
use super::load::Loads;
use super::ring::{Place, Weighted};
use super::share::leader_shares;

/// The node that should lead each partition, one of `nodes`; None where there are none. As many of
/// the leaders in `preferred` as can do so stay. `orders` has the ring order of each partition.
pub(super) fn choose(
    preferred: impl Iterator<Item = Option<Place>>,
    nodes: &[Vec<Place>],
    members: &[&Weighted],
    orders: &[Vec<Place>],
) -> Vec<Option<Place>> {
    let mut loads = Loads::new(leader_shares(members, nodes.len() as u64).into_values());
    let mut chosen = Vec::with_capacity(nodes.len());
    for (nodes, leader) in nodes.iter().zip(preferred.chain(std::iter::repeat(None))) {
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
    chosen: Vec<Option<Place>>,
    /// The nodes that hold each partition.
    nodes: &'a [Vec<Place>],
    /// For each partition, all members in its ring order.
    orders: &'a [Vec<Place>],
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
    fn offer(&self, taker: Place, donor: Place, taken: &[usize]) -> Option<usize> {
        let partitions = self.chosen.iter().zip(self.nodes).enumerate();
        let offered = partitions.filter(|(partition, (leader, nodes))| {
            **leader == Some(donor) && nodes.contains(&taker) && !taken.contains(partition)
        });
        offered.map(|(partition, _)| partition).min_by_key(|partition| {
            self.orders.get(*partition)?.iter().position(|node| *node == taker)
        })
    }

    fn exchange(&mut self, partition: usize, taker: Place, _: Place) {
        if let Some(leader) = self.chosen.get_mut(partition) {
            *leader = Some(taker);
        }
    }
}
