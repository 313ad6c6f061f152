use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::placement::plan;

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
