//! What an administrator does to a cluster, and what there is to see of it.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use kvcore::api::{CallOptions, Client, Error, NodeLoad, Result, Retune, RingStatus, Tuning};

use crate::cluster::{Cluster, settled};
use crate::patience::eventually;
use crate::seat::{Seat, patient};

impl Cluster {
    /// Starts a node on one more seat, with these flags, that joins by way of those that are there. Waits
    /// until it can serve, not until it has its share.
    ///
    /// # Panics
    /// If that does not happen in time.
    #[track_caller]
    pub fn add(&mut self, seat: Seat, flags: &[&str]) {
        let join = format!("--join={}", self.live_endpoints());
        let mut seat = seat.with(&[flags, &[join.as_str()]].concat());
        seat.start();
        self.seats.push(seat);
    }

    /// Those with a process.
    pub fn live(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter().filter(|seat| seat.running().is_some())
    }

    /// Changes how the cluster is tuned; how it is then.
    ///
    /// # Panics
    /// If the cluster refuses, or does not answer.
    #[track_caller]
    pub fn tune(&self, change: Retune) -> Tuning {
        self.ask(|client| client.tune(change, CallOptions::default()).wait()).unwrap()
    }

    /// Asks the node that sits, or sat, there to leave. It goes on until the others have what it holds.
    ///
    /// # Errors
    /// Why it need not.
    pub fn leave(&self, seat: usize) -> Result<()> {
        let node = self.seats[seat].node();
        self.ask(|client| client.leave(node, CallOptions::default()).wait())
    }

    /// Removes the node that sits, or sat, there.
    ///
    /// # Errors
    /// Why it is not removed.
    pub fn remove(&self, seat: usize, force: bool) -> Result<()> {
        let node = self.seats[seat].node();
        self.ask(|client| client.remove(node, force, CallOptions::default()).wait())
    }

    /// The ring, as any of the nodes sees it.
    ///
    /// # Errors
    /// Why nobody says.
    pub fn ring(&self) -> std::result::Result<RingStatus, String> {
        let mut told = Err("nobody is there".to_owned());
        let mut live: Vec<_> = self.live().collect();
        // Who is still starting does not answer, and asking him takes a while.
        live.sort_by_key(|seat| seat.is_begun());
        for seat in live {
            told = seat.ring();
            if told.is_ok() {
                break;
            }
        }
        told
    }

    /// How the cluster sees the node that sits, or sat, there; None if it is no member.
    ///
    /// # Errors
    /// Why nobody says.
    pub fn load_of(&self, seat: usize) -> std::result::Result<Option<NodeLoad>, String> {
        let id = &self.seats[seat].ready().node;
        Ok(self.ring()?.nodes.into_iter().find(|node| node.id == *id))
    }

    /// Whether every running node sees the cluster at rest, with all running nodes up, every partition whole,
    /// and replicas and leaders spread evenly over them: within 5 % of an equal share, rounded away from it.
    /// Whoever is down has nothing any more.
    ///
    /// # Errors
    /// What is not so yet.
    pub fn even(&self) -> std::result::Result<(), String> {
        let nodes = self.live().count();
        self.live().try_for_each(|seat| {
            settled(seat, nodes)?;
            uneven(&seat.ring()?).map_or(Ok(()), |why| Err(format!("{}: {why}", seat.label)))
        })
    }

    /// Waits until that is so; how long it took.
    ///
    /// # Panics
    /// If it does not become so in time.
    #[track_caller]
    pub fn wait_even(&self, patience: Duration) -> Duration {
        let begun = Instant::now();
        eventually(patience, "replicas and leaders to be spread evenly", || self.even());
        begun.elapsed()
    }

    fn ask<T>(&self, ask: impl Fn(&Client) -> Result<T>) -> std::result::Result<T, Error> {
        let client = patient(&self.live_endpoints());
        let answer = ask(&client);
        client.close();
        answer
    }
}

/// What is not spread evenly over the nodes that are up, all of the same weight.
fn uneven(ring: &RingStatus) -> Option<String> {
    let up = ring.nodes.iter().filter(|node| node.state == "up").count();
    let (partitions, copies) = (usize::from(ring.partitions), usize::from(ring.replication_factor));
    let (replicas, leaders) = (fair(partitions * copies.min(up), up), fair(partitions, up));
    let odd = |node: &&NodeLoad| match node.state.as_str() {
        "up" => !replicas.contains(&node.replicas) || !leaders.contains(&node.leaders),
        _ => node.replicas + node.leaders > 0,
    };
    if !ring.moves.is_empty() {
        return Some(format!("{} moves are under way", ring.moves.len()));
    }
    ring.nodes.iter().find(odd).map(|node| {
        format!("replicas are to be {replicas:?}, leaders {leaders:?}, of each up; but {node:?}")
    })
}

/// How many of `all` each of `nodes` may have: 5 % less to 5 % more than an equal share, in whole ones.
fn fair(all: usize, nodes: usize) -> RangeInclusive<usize> {
    let nodes = nodes.max(1);
    all * 95 / (100 * nodes)..=(all * 105).div_ceil(100 * nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(state: &str, replicas: usize, leaders: usize) -> NodeLoad {
        NodeLoad { state: state.into(), replicas, leaders, ..NodeLoad::default() }
    }

    fn ring(nodes: Vec<NodeLoad>) -> RingStatus {
        RingStatus { partitions: 64, replication_factor: 3, nodes, ..RingStatus::default() }
    }

    #[test]
    fn five_in_a_hundred_are_even_and_more_are_not() {
        let four = |replicas, leaders| {
            let others = (0..3).map(|_| node("up", 48, 16));
            uneven(&ring(others.chain([node("up", replicas, leaders)]).collect()))
        };
        for (replicas, leaders) in [(48, 16), (45, 15), (51, 17)] {
            assert_eq!(four(replicas, leaders), None);
        }
        for (replicas, leaders) in [(44, 16), (52, 16), (48, 14), (48, 18), (0, 0)] {
            assert!(four(replicas, leaders).is_some(), "{replicas} and {leaders}");
        }
        assert_eq!(fair(64, 3), 20..=23);
        assert_eq!(uneven(&ring(vec![node("up", 64, 32), node("up", 64, 32)])), None);
    }

    #[test]
    fn who_is_gone_has_nothing() {
        let with = |gone| {
            let three = (0..3).map(|_| node("up", 64, 21));
            uneven(&ring(three.chain([gone]).collect()))
        };
        assert_eq!(with(node("dead", 0, 0)), None);
        assert!(with(node("dead", 1, 0)).is_some());
        assert!(with(node("leaving", 0, 1)).is_some());
    }
}
