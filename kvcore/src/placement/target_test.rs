use std::collections::{BTreeMap, BTreeSet};

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
        self.check_placed();
        let again = self.target();
        assert_eq!(plan(&self.nodes, &again), [], "the target of a target is itself");
        let preferred: Vec<_> = again.partitions.iter().map(|goal| goal.preferred).collect();
        assert_eq!(preferred, self.preferred, "the target of a target is itself");
    }

    /// The same, but for its being final.
    fn check_placed(&self) {
        let copies = self.members.len().min(usize::from(self.replication_factor));
        let zone_of: BTreeMap<_, _> = self.members.iter().map(|m| (m.node, m.zone())).collect();
        let zones = zone_of.values().collect::<BTreeSet<_>>().len();
        for (nodes, leader) in self.nodes.iter().zip(&self.preferred) {
            assert_eq!(nodes.len(), copies);
            assert!(nodes.is_sorted_by(|left, right| left < right), "{nodes:?}");
            assert_eq!(leader.is_some(), copies > 0);
            assert!(leader.is_none_or(|leader| nodes.contains(&leader)));
            let met: BTreeSet<_> = nodes.iter().map(|node| zone_of[node]).collect();
            assert_eq!(met.len(), zones.min(copies), "a zone repeats, another is free");
        }
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

/// What a random history came to: joins and leaves, with 3 to 20 members of 64 partitions. A death is a
/// leave, since a target knows only who is a member.
struct History {
    /// The replicas moved at each change, over the least possible: the newcomer's share, or what the
    /// leaver held.
    ratios: Vec<f64>,
    /// The heaviest load met, over the node's share, and by how many replicas it was over 1.10 times
    /// that.
    load: f64,
    excess: f64,
    /// The most leaderships met, over the share.
    leaders: f64,
}

impl History {
    const CHANGES: usize = 25;

    /// The histories with these seeds, on two threads. `newcomer` makes members, `shares` says what
    /// each member of a cluster should hold and lead, `check` looks at the cluster after each change.
    fn all(
        seeds: std::ops::Range<u64>,
        newcomer: fn(&mut SplitMix) -> Weighted,
        shares: fn(&Cluster) -> Vec<(f64, f64)>,
        check: fn(&Cluster),
    ) -> Vec<History> {
        let part = |odd| {
            let seeds = seeds.clone().filter(move |seed| seed % 2 == odd);
            seeds.map(|seed| History::of(seed, newcomer, shares, check)).collect::<Vec<_>>()
        };
        std::thread::scope(|scope| {
            let odd = scope.spawn(|| part(1));
            let mut histories = part(0);
            histories.extend(odd.join().unwrap());
            histories
        })
    }

    fn of(
        seed: u64,
        newcomer: fn(&mut SplitMix) -> Weighted,
        shares: fn(&Cluster) -> Vec<(f64, f64)>,
        check: fn(&Cluster),
    ) -> History {
        let mut chance = SplitMix(seed);
        let members = (0..3 + chance.below(18)).map(|_| newcomer(&mut chance)).collect();
        let mut cluster = Cluster::founded(members, 64, 3);
        let mut history = History { ratios: Vec::new(), load: 0.0, excess: f64::MIN, leaders: 0.0 };
        history.see(seed, &cluster, &shares(&cluster));
        for _ in 0..History::CHANGES {
            let count = cluster.members.len();
            let joins = count == 3 || (count < 20 && chance.below(2) == 0);
            let (moves, least, shares) = if joins {
                let moves = cluster.join(newcomer(&mut chance));
                let shares = shares(&cluster);
                (moves, shares[count].0, shares)
            } else {
                let leaver = chance.below(count);
                let held = cluster.held_by(cluster.members[leaver].node);
                (cluster.leave(leaver), held as f64, shares(&cluster))
            };
            let ratio = moves as f64 / least;
            history.ratios.push(ratio);
            history.see(seed, &cluster, &shares);
            check(&cluster);
        }
        cluster.check();
        history
    }

    /// Nobody holds more than 1.10 times its share plus one, or leads more than 1.05 times, rounded up.
    fn see(&mut self, seed: u64, cluster: &Cluster, shares: &[(f64, f64)]) {
        let loads = cluster.held().into_iter().zip(cluster.led());
        for ((held, led), (share, leads)) in loads.zip(shares) {
            let (excess, held, led) = (held as f64 - 1.10 * share, held as f64, led as f64);
            assert!(excess <= 1.0, "seed {seed}: {held} replicas, {share} are its share");
            assert!(
                led <= (1.05 * leads).ceil(),
                "seed {seed}: leads {led}, {leads} are its share"
            );
            self.load = self.load.max(held / share);
            self.excess = self.excess.max(excess);
            self.leaders = self.leaders.max(led / leads);
        }
    }
}

/// How much moved in all these histories: on average, at the 99th percentile, and at worst.
fn moved(what: &str, histories: &[History]) -> (f64, f64, f64) {
    let mut ratios: Vec<f64> =
        histories.iter().flat_map(|history| history.ratios.iter().copied()).collect();
    ratios.sort_by(f64::total_cmp);
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    let (high, worst) = (ratios[(ratios.len() - 1) * 99 / 100], ratios[ratios.len() - 1]);
    let most = |figure: fn(&History) -> f64| histories.iter().map(figure).fold(f64::MIN, f64::max);
    println!(
        "{what}: {} changes, moves/least mean {mean:.3} p99 {high:.3} worst {worst:.3}; load/share \
         worst {:.3}, over 1.10 x share by {:.2} replicas; leaders/share worst {:.3}",
        ratios.len(),
        most(|history| history.load),
        most(|history| history.excess),
        most(|history| history.leaders),
    );
    (mean, high, worst)
}

#[test]
fn little_moves_and_no_node_is_overloaded() {
    let shares = |cluster: &Cluster| {
        let count = cluster.members.len();
        vec![(64.0 * 3.0 / count as f64, 64.0 / count as f64); count]
    };
    let distinct = |cluster: &Cluster| {
        for nodes in &cluster.nodes {
            assert!(nodes.len() == 3 && nodes.is_sorted_by(|left, right| left < right));
        }
    };
    let histories =
        History::all(0..2400, |chance| member(chance.next(), 1000, ""), shares, distinct);
    let (mean, high, worst) = moved("equal nodes", &histories);
    assert!(mean <= 1.05, "mean {mean}");
    assert!(high <= 1.25, "99th percentile {high}");
    assert!(worst <= 2.0, "worst {worst}");
}

/// Replicas and leaderships that each member should have, by its weight and zone.
fn weighted_shares(cluster: &Cluster) -> Vec<(f64, f64)> {
    let members: Vec<&Weighted> = cluster.members.iter().collect();
    let copies = members.len().min(usize::from(cluster.replication_factor));
    let replicas = replica_shares(&members, cluster.nodes.len() as u64, copies);
    let leaders = leader_shares(&members, cluster.nodes.len() as u64);
    let whole = |share: u64| share as f64 / REPLICA as f64;
    let share = |member: &&Weighted| (whole(replicas[&member.node]), whole(leaders[&member.node]));
    members.iter().map(share).collect()
}

/// 0.25 to 4, as often below 1 as above.
fn any_weight(chance: &mut SplitMix) -> u32 {
    let exponent = chance.below(4001) as f64 / 1000.0 - 2.0;
    (1000.0 * exponent.exp2()).round() as u32
}

#[test]
fn nodes_of_any_weight_get_their_share() {
    let newcomer = |chance: &mut SplitMix| member(chance.next(), any_weight(chance), "");
    let histories = History::all(0..150, newcomer, weighted_shares, Cluster::check_placed);
    let (mean, _, worst) = moved("weights", &histories);
    // Small nodes hold a few replicas only, and one more or less is a large part of that.
    assert!(mean <= 1.05, "mean {mean}");
    assert!(worst <= 2.0, "worst {worst}");
}

#[test]
fn zones_never_share_a_partition_while_another_is_left() {
    let newcomer = |chance: &mut SplitMix| {
        let zone = ["", "a", "b", "c", "d", "e"][chance.below(6)];
        member(chance.next(), any_weight(chance), zone)
    };
    let histories = History::all(0..150, newcomer, weighted_shares, Cluster::check_placed);
    let (mean, ..) = moved("weights and zones", &histories);
    assert!(mean <= 1.05, "mean {mean}");
}

#[test]
fn one_node_of_ten_times_the_weight_is_no_trouble() {
    let three = || vec![member(1, 1000, ""), member(2, 1000, ""), member(3, 10_000, "")];
    for replication_factor in [1, 2, 3] {
        let mut cluster = Cluster::founded(three(), 64, replication_factor);
        cluster.check();
        cluster.check_loads();
        let mut chance = SplitMix(replication_factor.into());
        for _ in 0..60 {
            let count = cluster.members.len();
            if count == 3 || (count < 9 && chance.below(2) == 0) {
                // The strong one comes back, if it has gone; so there is one most of the time.
                let strong = cluster.members.iter().any(|member| member.weight_milli > 1000);
                let weight = if strong { 1000 } else { 10_000 };
                cluster.join(member(chance.next(), weight, ""));
            } else {
                cluster.leave(chance.below(count));
            }
            cluster.check();
            cluster.check_loads();
        }
    }
    // With three replicas on three nodes, weight has no say.
    assert_eq!(Cluster::founded(three(), 64, 3).held(), [64; 3]);
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
    let mut first = Ring::new(&members, VNODES, 64).orders().swap_remove(0);
    let cluster = Cluster::founded(members, 64, 3);
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
