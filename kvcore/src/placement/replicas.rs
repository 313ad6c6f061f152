//! Which nodes should hold which partition.

use super::level::{Exchange, level};
use super::load::Loads;
use super::ring::{Place, Weighted};
use super::share::replica_shares;

/// The nodes that should hold each partition, in order: `copies` of `members` each, and as many of
/// those in `held` as can stay. `orders` has the ring order of each partition.
pub(super) fn settle(
    mut held: Vec<Vec<Place>>,
    members: &[&Weighted],
    orders: &[Vec<Place>],
    copies: usize,
) -> Vec<Vec<Place>> {
    let mut loads = Loads::new(replica_shares(members, held.len() as u64, copies).into_values());
    for nodes in &mut held {
        nodes.sort_unstable();
        nodes.dedup();
        nodes.iter().for_each(|node| loads.add(*node));
    }
    let mut replicas = Replicas { nodes: held, orders, zones: Zones::of(members) };
    replicas.drop_excess(&mut loads, copies);
    replicas.fill_gaps(&mut loads, copies);
    replicas.spread_zones(&mut loads);
    level(&mut loads, &mut replicas);
    for nodes in &mut replicas.nodes {
        nodes.sort_unstable();
    }
    replicas.nodes
}

struct Replicas<'a> {
    /// The nodes that hold each partition.
    nodes: Vec<Vec<Place>>,
    /// For each partition, all members in its ring order.
    orders: &'a [Vec<Place>],
    zones: Zones,
}

impl Replicas<'_> {
    /// Takes from partitions that have more than `copies` replicas, from the heaviest nodes first
    /// but so that no zone is lost.
    fn drop_excess(&mut self, loads: &mut Loads, copies: usize) {
        for nodes in &mut self.nodes {
            while nodes.len() > copies {
                let doubled = self.zones.doubled(nodes);
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
                let others = order.iter().copied().filter(|node| !nodes.contains(node));
                let fresh = first_with_room(loads, self.zones.fresh(nodes, order));
                let Some(node) = fresh.or_else(|| first_with_room(loads, others)) else { break };
                nodes.push(node);
                loads.add(node);
            }
        }
    }

    /// Moves replicas out of zones that hold several of one partition into zones that hold none.
    /// That is needed only after zones have come or changed: gaps are filled by the same rule.
    fn spread_zones(&mut self, loads: &mut Loads) {
        for (nodes, order) in self.nodes.iter_mut().zip(self.orders) {
            while let Some(donor) = loads.heaviest(self.zones.doubled(nodes)) {
                let fresh = first_with_room(loads, self.zones.fresh(nodes, order));
                let Some(taker) = fresh else { break };
                replace(nodes, taker, donor);
                loads.add(taker);
                loads.remove(donor);
            }
        }
    }

    /// Whether `taker` may take the place of `donor` among `nodes`: it is not there yet, and no
    /// zone is lost by it.
    fn may_take(&self, nodes: &[Place], taker: Place, donor: Place) -> bool {
        if !nodes.contains(&donor) || nodes.contains(&taker) {
            return false;
        }
        let (to, from) = (self.zones.of_node(taker), self.zones.of_node(donor));
        let held = |zone| {
            let mut others = nodes.iter().filter(|node| **node != donor);
            others.any(|node| self.zones.of_node(*node) == zone)
        };
        to == from || !held(to) || held(from)
    }
}

impl Exchange for Replicas<'_> {
    fn offer(&self, taker: Place, donor: Place, taken: &[usize]) -> Option<usize> {
        let partitions = self.nodes.iter().enumerate().filter(|(partition, nodes)| {
            self.may_take(nodes, taker, donor) && !taken.contains(partition)
        });
        partitions.map(|(partition, _)| partition).min_by_key(|partition| {
            self.orders.get(*partition)?.iter().position(|node| *node == taker)
        })
    }

    fn exchange(&mut self, partition: usize, taker: Place, donor: Place) {
        if let Some(nodes) = self.nodes.get_mut(partition) {
            replace(nodes, taker, donor);
        }
    }
}

fn replace(nodes: &mut [Place], taker: Place, donor: Place) {
    nodes.iter_mut().filter(|node| **node == donor).for_each(|node| *node = taker);
}

/// The first that may hold one more; if none may, the one to which one more matters least.
fn first_with_room(loads: &Loads, nodes: impl Iterator<Item = Place> + Clone) -> Option<Place> {
    let first = nodes.clone().find(|node| loads.has_room(*node));
    first.or_else(|| loads.lightest(nodes))
}

/// The zone of every member, as a number.
struct Zones(Vec<usize>);

impl Zones {
    fn of(members: &[&Weighted]) -> Zones {
        let mut known: Vec<_> = members.iter().map(|member| member.zone()).collect();
        known.sort_unstable();
        let zone = |member: &&Weighted| known.partition_point(|zone| *zone < member.zone());
        Zones(members.iter().map(zone).collect())
    }

    fn of_node(&self, node: Place) -> Option<usize> {
        self.0.get(node).copied()
    }

    /// Those of `nodes` whose zone has another of them.
    fn doubled(&self, nodes: &[Place]) -> Vec<Place> {
        let same = |left, right| self.of_node(left) == self.of_node(right);
        let several = |node: &Place| nodes.iter().any(|other| other != node && same(*other, *node));
        nodes.iter().copied().filter(several).collect()
    }

    /// Those of `order` whose zone has none of `nodes`, in the same order.
    fn fresh<'a>(
        &'a self,
        nodes: &'a [Place],
        order: &'a [Place],
    ) -> impl Iterator<Item = Place> + Clone + 'a {
        let met = |zone| nodes.iter().any(|node| self.of_node(*node) == zone);
        order.iter().copied().filter(move |node| !met(self.of_node(*node)))
    }
}
