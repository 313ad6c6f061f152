use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::placement::plan;
use crate::placement::share::{REPLICA, leader_shares, replica_shares};

const VNODES: u32 = 64;

/// Chance with a fixed seed (Steele, Lea, Flood 2014), so that every run sees the same histories.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn member(node: u64, weight_milli: u32, zone: &str) -> Weighted {
    Weighted {
        node: NodeId(node),
        weight_milli,
        zone: (!zone.is_empty()).then(|| zone.to_string()),
    }
}

/// Members of weight 1 without zones.
fn equal(count: u64) -> Vec<Weighted> {
    let mut chance = SplitMix(count);
    (0..count).map(|_| member(chance.next(), 1000, "")).collect()
}

/// A cluster that always has what its last target said.
#[derive(Clone, Debug)]
struct Cluster {
    members: Vec<Weighted>,
    nodes: Vec<Vec<NodeId>>,
    preferred: Vec<Option<NodeId>>,
    replication_factor: u8,
}

impl Cluster {
    fn founded(members: Vec<Weighted>, partitions: usize, replication_factor: u8) -> Cluster {
        let mut cluster = Cluster {
            members,
            nodes: vec![Vec::new(); partitions],
            preferred: vec![None; partitions],
            replication_factor,
        };
        cluster.settle();
        cluster
    }

    fn target(&self) -> Target {
        target(&self.nodes, &self.preferred, &self.members, self.replication_factor, VNODES)
    }

    /// Goes to the target; answers how many replicas that adds.
    fn settle(&mut self) -> usize {
        let target = self.target();
        let mut moves = 0;
        for (held, goal) in self.nodes.iter_mut().zip(&target.partitions) {
            moves += goal.nodes.iter().filter(|node| !held.contains(node)).count();
            held.clone_from(&goal.nodes);
        }
        self.preferred = target.partitions.iter().map(|goal| goal.preferred).collect();
        moves
    }

    fn join(&mut self, member: Weighted) -> usize {
        self.members.push(member);
        self.settle()
    }

    fn leave(&mut self, index: usize) -> usize {
        self.members.remove(index);
        self.settle()
    }

    fn held_by(&self, node: NodeId) -> usize {
        self.nodes.iter().filter(|nodes| nodes.contains(&node)).count()
    }

    fn held(&self) -> Vec<usize> {
        self.members.iter().map(|member| self.held_by(member.node)).collect()
    }

    fn led(&self) -> Vec<usize> {
        let led = |node| self.preferred.iter().filter(|leader| **leader == Some(node)).count();
        self.members.iter().map(|member| led(member.node)).collect()
    }

    fn zones(&self, partition: &[NodeId]) -> usize {
        let members = self.members.iter().filter(|member| partition.contains(&member.node));
        members.map(Weighted::zone).collect::<BTreeSet<_>>().len()
    }

    /// What holds for every target, whatever the members.
    fn check(&self) {
        let copies = self.members.len().min(usize::from(self.replication_factor));
        let zones = self.members.iter().map(Weighted::zone).collect::<BTreeSet<_>>().len();
        for (nodes, leader) in self.nodes.iter().zip(&self.preferred) {
            assert_eq!(nodes.len(), copies);
            assert!(nodes.is_sorted_by(|left, right| left < right), "{nodes:?}");
            assert!(nodes.iter().all(|node| self.members.iter().any(|m| m.node == *node)));
            assert_eq!(leader.is_some(), copies > 0);
            assert!(leader.is_none_or(|leader| nodes.contains(&leader)));
            assert_eq!(self.zones(nodes), zones.min(copies), "a zone repeats, another is free");
        }
        let again = self.target();
        assert_eq!(plan(&self.nodes, &again), [], "the target of a target is itself");
        let preferred: Vec<_> = again.partitions.iter().map(|goal| goal.preferred).collect();
        assert_eq!(preferred, self.preferred, "the target of a target is itself");
    }

    /// That nobody holds or leads more than 1.05 times its share, rounded up.
    fn check_loads(&self) {
        let members: Vec<&Weighted> = self.members.iter().collect();
        let copies = members.len().min(usize::from(self.replication_factor));
        let partitions = self.nodes.len() as u64;
        let replicas = replica_shares(&members, partitions, copies);
        let leaders = leader_shares(&members, partitions);
        let cap = |share: u64| (share * 105).div_ceil(100 * REPLICA) as usize;
        for (member, (held, led)) in
            self.members.iter().zip(self.held().into_iter().zip(self.led()))
        {
            let (replicas, leaders) = (replicas[&member.node], leaders[&member.node]);
            assert!(held <= cap(replicas), "{held} replicas, share {replicas} millionths");
            assert!(led <= cap(leaders), "{led} leaderships, share {leaders} millionths");
        }
    }
}

/// Figures of many histories of joins and leaves.
#[derive(Default)]
struct Figures {
    /// The replicas moved at each change, over the least possible.
    ratios: Vec<f64>,
    /// The heaviest load met, over the average.
    load: f64,
    /// By how many replicas the heaviest load was over 1.10 times the average.
    excess: f64,
    /// The most leaderships met, over the average.
    leaders: f64,
}

impl Figures {
    fn of(histories: u64, partitions: usize) -> Figures {
        let mut figures = Figures { excess: f64::MIN, ..Figures::default() };
        for seed in 0..histories {
            let mut chance = SplitMix(seed);
            let members = (0..3 + chance.below(18)).map(|_| member(chance.next(), 1000, ""));
            let mut cluster = Cluster::founded(members.collect(), partitions, 3);
            figures.see(&cluster);
            for _ in 0..25 {
                let count = cluster.members.len();
                let joins = count == 3 || (count < 20 && chance.below(2) == 0);
                let (moves, least) = if joins {
                    let moves = cluster.join(member(chance.next(), 1000, ""));
                    (moves, (partitions * 3) as f64 / (count + 1) as f64)
                } else {
                    let leaver = chance.below(count);
                    let held = cluster.held()[leaver];
                    (cluster.leave(leaver), held as f64)
                };
                figures.ratios.push(moves as f64 / least);
                figures.see(&cluster);
            }
        }
        figures.ratios.sort_by(f64::total_cmp);
        figures
    }

    fn see(&mut self, cluster: &Cluster) {
        let count = cluster.members.len() as f64;
        let partitions = cluster.nodes.len() as f64;
        let average = partitions * 3.0 / count;
        let most = cluster.held().into_iter().max().unwrap() as f64;
        self.load = self.load.max(most / average);
        self.excess = self.excess.max(most - 1.10 * average);
        let most = cluster.led().into_iter().max().unwrap() as f64;
        assert!(most <= (1.05 * partitions / count).ceil(), "{most} leaders of {count} nodes");
        self.leaders = self.leaders.max(most / (partitions / count));
    }

    fn mean(&self) -> f64 {
        self.ratios.iter().sum::<f64>() / self.ratios.len() as f64
    }

    fn quantile(&self, part: f64) -> f64 {
        self.ratios[((self.ratios.len() - 1) as f64 * part).round() as usize]
    }
}

#[test]
fn little_moves_and_no_node_is_overloaded() {
    let figures = Figures::of(200, 64);
    let (mean, high) = (figures.mean(), figures.quantile(0.99));
    println!(
        "changes {} moves/least mean {mean:.3} p99 {high:.3} worst {:.3}; load/average worst {:.3}, \
         over 1.10 x average by {:.2} replicas; leaders/average worst {:.3}",
        figures.ratios.len(),
        figures.quantile(1.0),
        figures.load,
        figures.excess,
        figures.leaders,
    );
    assert!(mean <= 1.05, "mean {mean}");
    assert!(high <= 1.25, "99th percentile {high}");
    assert!(figures.excess <= 1.0, "load above 1.10 x average by {}", figures.excess);
}

#[test]
fn an_empty_cluster_holds_nothing() {
    assert_eq!(target(&[], &[], &equal(3), 3, VNODES), Target::default());
    let cluster = Cluster::founded(Vec::new(), 4, 3);
    assert_eq!(cluster.nodes, vec![Vec::new(); 4]);
    cluster.check();
}

#[test]
fn there_are_as_many_replicas_as_nodes_until_there_are_enough() {
    let mut cluster = Cluster::founded(equal(1), 64, 3);
    assert_eq!(cluster.held(), [64]);
    for (node, moves) in [(2, 64), (3, 64)] {
        assert_eq!(cluster.join(member(node, 1000, "")), moves);
        cluster.check();
        assert!(cluster.held().iter().all(|held| *held == 64));
    }
    assert_eq!(cluster.join(member(4, 1000, "")), 45, "0.95 x 48");
    assert_eq!(cluster.leave(3), 45, "what the leaver held");
    assert_eq!(cluster.leave(0), 0, "two nodes hold everything already");
    cluster.check();
    assert_eq!(cluster.held(), [64, 64]);
}

#[test]
fn the_heaviest_gives_up_what_is_too_much() {
    let mut cluster = Cluster::founded(equal(6), 64, 5);
    let before = cluster.nodes.clone();
    cluster.replication_factor = 3;
    assert_eq!(cluster.settle(), 0);
    cluster.check();
    for (now, before) in cluster.nodes.iter().zip(&before) {
        assert!(now.iter().all(|node| before.contains(node)));
    }
    let held = cluster.held();
    assert!(held.iter().all(|held| (30..=34).contains(held)), "{held:?}");
}

#[test]
fn a_founding_follows_the_ring_while_there_is_room() {
    let members = equal(8);
    let ring = Ring::new(&members, VNODES);
    let cluster = Cluster::founded(members, 64, 3);
    let mut first = ring.order(PartitionId(0), 64);
    assert!(cluster.preferred[0] == first.first().copied());
    first.truncate(3);
    first.sort_unstable();
    assert_eq!(cluster.nodes[0], first);
}

#[test]
fn the_order_and_repetition_of_members_do_not_matter() {
    let mut cluster = Cluster::founded(equal(9), 64, 3);
    cluster.members.remove(4);
    cluster.members.push(member(7, 1500, "a"));
    let expected = cluster.target();
    let mut chance = SplitMix(7);
    for _ in 0..20 {
        let (left, right) = (chance.below(9), chance.below(9));
        cluster.members.swap(left, right);
        for nodes in &mut cluster.nodes {
            nodes.rotate_left(1);
        }
        assert_eq!(cluster.target(), expected);
    }
    let repeated = Weighted { weight_milli: 9000, ..cluster.members[0].clone() };
    cluster.members.push(repeated);
    assert_eq!(cluster.target(), expected, "the first entry of a node counts");
}

#[test]
fn a_node_of_twice_the_weight_gets_twice_as_much() {
    let mut members = equal(9);
    members.push(member(7, 2000, ""));
    let at_once = Cluster::founded(members, 64, 3);
    let mut later = Cluster::founded(equal(9), 64, 3);
    later.join(member(7, 2000, ""));
    for cluster in [at_once, later] {
        cluster.check();
        // The share of the others is 64 x 3 / 11 = 17.5 replicas and 64 / 11 = 5.8 leaderships.
        let (held, led) = (cluster.held(), cluster.led());
        assert!((33..=37).contains(&held[9]), "{held:?}");
        assert!(held[..9].iter().all(|held| (16..=19).contains(held)), "{held:?}");
        assert!((11..=13).contains(&led[9]), "{led:?}");
        assert!(led[..9].iter().all(|led| (5..=7).contains(led)), "{led:?}");
    }
}

#[test]
fn a_node_too_strong_for_the_others_gets_every_partition_once() {
    let members = vec![member(1, 1000, ""), member(2, 1000, ""), member(3, 1000, "")];
    let mut cluster = Cluster::founded(members, 64, 2);
    cluster.join(member(4, 100_000, ""));
    cluster.check();
    let held = cluster.held();
    assert!(held[3] >= 60, "{held:?}");
    assert!(held[..3].iter().all(|held| (20..=23).contains(held)), "{held:?}");
}

#[test]
fn every_partition_spans_three_zones() {
    let zones = ["a", "b", "c", "a", "b", "c", "a", "a"];
    let members = (1..).zip(zones).map(|(node, zone)| member(node, 1000, zone));
    let mut cluster = Cluster::founded(members.collect(), 64, 3);
    cluster.check();
    for nodes in &cluster.nodes {
        assert_eq!(cluster.zones(nodes), 3);
    }
    // Four nodes share the copy of zone a, and two each those of b and c.
    for (held, zone) in cluster.held().into_iter().zip(zones) {
        let share = if zone == "a" { 16 } else { 32 };
        assert!(held * 20 >= share * 18 && held * 20 <= share * 22, "{held} in zone {zone}");
    }
    // When zone c is lost, and only then, another zone has two copies.
    cluster.leave(5);
    cluster.leave(2);
    cluster.check();
    for nodes in &cluster.nodes {
        assert_eq!((nodes.len(), cluster.zones(nodes)), (3, 2));
    }
    // When it comes back as one node, that one gets a copy of everything, and no more moves.
    assert_eq!(cluster.join(member(9, 1000, "c")), 64);
    cluster.check();
}

#[test]
fn a_preferred_leader_stays_while_it_can() {
    let mut cluster = Cluster::founded(equal(6), 64, 3);
    let before = cluster.preferred.clone();
    cluster.leave(0);
    let gone = before
        .iter()
        .filter(|leader| !cluster.members.iter().any(|member| Some(member.node) == **leader));
    let changed = before.iter().zip(&cluster.preferred).filter(|(was, is)| was != is).count();
    assert!(changed <= gone.count() + 3, "{changed} changed");
    cluster.join(member(7, 1000, ""));
    let led = cluster.led();
    assert!(led.iter().all(|led| (10..=12).contains(led)), "{led:?}");
}

#[test]
fn leadership_is_shared_again_when_one_has_it_all() {
    let mut cluster = Cluster::founded(equal(3), 64, 3);
    let first = cluster.members[0].node;
    cluster.preferred = vec![Some(first); 64];
    assert_eq!(cluster.settle(), 0);
    cluster.check();
    assert!(cluster.led().iter().all(|led| (20..=23).contains(led)), "{:?}", cluster.led());
}

/// One change of a cluster.
#[derive(Clone, Debug)]
enum Change {
    Join(Weighted),
    Leave(usize),
}

fn any_member() -> impl Strategy<Value = Weighted> {
    let zone = prop::sample::select(vec!["", "a", "b", "c", "d"]);
    let weight = prop::sample::select(vec![250, 500, 1000, 1000, 1000, 2000, 4000]);
    (any::<u64>(), weight, zone).prop_map(|(node, weight, zone)| member(node, weight, zone))
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![any_member().prop_map(Change::Join), any::<usize>().prop_map(Change::Leave)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_the_members_a_target_is_sound_and_final(
        members in prop::collection::vec(any_member(), 0..12),
        changes in prop::collection::vec(any_change(), 1..8),
        bits in 0..7u32,
        replication_factor in 1..6u8,
    ) {
        let mut cluster = Cluster::founded(members, 1 << bits, replication_factor);
        cluster.check();
        for change in changes {
            match change {
                Change::Join(member) => { cluster.join(member); }
                Change::Leave(_) if cluster.members.is_empty() => continue,
                Change::Leave(index) => { cluster.leave(index % cluster.members.len()); }
            }
            cluster.check();
            cluster.check_loads();
        }
    }

    #[test]
    fn whatever_is_in_place_a_target_is_sound_and_final(
        members in prop::collection::vec(any_member(), 1..10),
        held in prop::collection::vec(prop::collection::vec(0..12usize, 0..6), 32),
        replication_factor in 1..6u8,
    ) {
        // Some of what is held is on strangers, and some twice.
        let node = |index: &usize| members.get(*index).map_or(NodeId(3), |member| member.node);
        let nodes: Vec<Vec<NodeId>> =
            held.iter().map(|held| held.iter().map(node).collect()).collect();
        let preferred = nodes.iter().map(|nodes| nodes.last().copied()).collect();
        let mut cluster = Cluster { members: members.clone(), nodes, preferred, replication_factor };
        cluster.settle();
        cluster.check();
    }
}
