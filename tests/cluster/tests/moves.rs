//! Nodes come, leave and are emptied again and again, and in the middle of it whoever has a part in the moves
//! is killed: nothing is lost, and every partition ends up whole, on as many nodes as it should be.
//!
//! `make moves ROUNDS=50 SEED=n` runs it at length.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, Ledger, Load, Mix, MixPlan, Plan, Seat, Stage, eventually, patient};
use kvcore::api::MoveStatus;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// How long the cluster may take to get on with it, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(90);
/// How soon it is to be at rest, whole and even again when the nodes are back.
const EVEN: Duration = Duration::from_secs(60);
/// Slow enough that moves can be interrupted, with more to move than is in the logs.
const FLAGS: [&str; 4] =
    ["--partitions=16", "--log-budget=64MiB", "--memory-limit=64MiB", "--snapshot-rate=8MiB"];
const COPIES: usize = 3;
const VALUE: usize = 16 << 10;
/// Values that are there from the beginning: 48 MiB.
const HELD: u64 = 3072;
/// The most nodes at a time.
const MOST: usize = 5;
/// Acknowledged writes that each round waits for.
const PROGRESS: u64 = 20;
/// Rounds without `ROUNDS`.
const FEW: u64 = 3;

#[test]
fn kills_amid_moves_lose_nothing() {
    let number = |name: &str| {
        let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text} is no number")))
    };
    let rounds = number("ROUNDS").unwrap_or(FEW);
    let seed = number("SEED").unwrap_or_else(rand::random);
    println!("ROUNDS={rounds} SEED={seed}");

    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &FLAGS);
    let plan = Plan { writers: 16, value_bytes: VALUE, count: Some(HELD), ..Plan::endless("held") };
    let held = Load::start(patient(&cluster.endpoints()), plan).join();
    assert!(held.failed.is_empty(), "{:?}", held.failed);
    let mut mix = Mix::start(&cluster.endpoints(), MixPlan::seeded("mix", seed));
    let mut rounds = Rounds {
        stage: &stage,
        begun: Instant::now(),
        random: SmallRng::seed_from_u64(seed),
        rounds,
        done: 0,
        changes: BTreeMap::new(),
        kills: BTreeMap::new(),
        longest: Duration::ZERO,
        checked: 0,
    };
    let outcome = rounds.run(&mut cluster, &mut mix, &held);
    mix.stop();
    rounds.print(&mix);
    outcome.unwrap();
    assert!(rounds.amid() > 0, "nobody was killed while something moved");
    conclude(&mut cluster);
}

/// What a round does to the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// A node comes.
    Join(usize),
    /// A node leaves.
    Leave(usize),
    /// A node loses its directory, and comes back to its address as a new one.
    Replace(usize),
}

struct Rounds<'a> {
    stage: &'a Stage,
    begun: Instant,
    random: SmallRng,
    rounds: u64,
    done: u64,
    /// How often each kind of change was made.
    changes: BTreeMap<&'static str, u64>,
    /// How often each role was killed while something moved, and how often nothing did any more.
    kills: BTreeMap<&'static str, u64>,
    /// The longest time from the last restart of a round until the cluster was even.
    longest: Duration,
    checked: usize,
}

impl Rounds<'_> {
    fn run(&mut self, cluster: &mut Cluster, mix: &mut Mix, held: &Ledger) -> Result<(), String> {
        for round in 1..=self.rounds {
            mix.wait_for_more(PROGRESS, PATIENCE);
            let change = self.begin(cluster);
            let mut killed = Vec::new();
            for _ in 0..self.random.random_range(1..=2) {
                killed.extend(self.kill_amid_moves(cluster, change));
            }
            finish(cluster, change, &killed);
            self.longest = self.longest.max(cluster.wait_even(EVEN));
            self.check(cluster, mix, held)?;
            self.done = round;
            if round % 10 == 0 {
                self.print(mix);
            }
        }
        mix.wait_for_more(PROGRESS, PATIENCE);
        mix.stop();
        for nth in sitting(cluster) {
            let client = patient(&cluster.seats[nth].address);
            held.check(&client)?;
            self.checked = mix.check(&client)?;
        }
        Ok(())
    }

    /// Begins to change who is a member.
    fn begin(&mut self, cluster: &mut Cluster) -> Change {
        let sitting = sitting(cluster);
        let one = *sitting.choose(&mut self.random).unwrap();
        let change = match self.random.random_range(0..5) {
            0 => Change::Replace(one),
            _ if sitting.len() <= COPIES => Change::Join(empty(self.stage, cluster)),
            _ if sitting.len() >= MOST => Change::Leave(one),
            1 | 2 => Change::Leave(one),
            _ => Change::Join(empty(self.stage, cluster)),
        };
        if let Change::Replace(nth) = change {
            cluster.seats[nth].kill();
            fs::remove_dir_all(&cluster.seats[nth].data_dir).unwrap();
        }
        let what = match change {
            Change::Join(nth) | Change::Replace(nth) => {
                let join = format!("--join={}", cluster.live_endpoints());
                cluster.seats[nth].set(&[&FLAGS[..], &[join.as_str()]].concat());
                cluster.seats[nth].begin();
                if change == Change::Join(nth) { "joins" } else { "replacements" }
            }
            Change::Leave(nth) => {
                cluster.leave(nth).unwrap();
                "leaves"
            }
        };
        *self.changes.entry(what).or_default() += 1;
        change
    }

    /// Kills, as soon as something moves and a moment later, somebody who has a part in it, and starts him
    /// again; which seat that was. If all is moved already, nobody.
    fn kill_amid_moves(&mut self, cluster: &mut Cluster, change: Change) -> Option<usize> {
        let mut rest = 0;
        let moving = eventually(PATIENCE, "something to move, or all to be moved", || {
            let ring = cluster.ring()?;
            let arrived = match change {
                Change::Join(nth) | Change::Replace(nth) => {
                    let address = &cluster.seats[nth].address;
                    let node = ring.nodes.iter().find(|node| node.address == *address);
                    node.is_some_and(|node| node.replicas >= node.target && node.target > 0)
                }
                Change::Leave(nth) => {
                    ring.nodes.iter().all(|node| node.address != cluster.seats[nth].address)
                }
            };
            // Between two moves there may be none for a moment, and an old member may be seen still.
            rest = if ring.moves.is_empty() && arrived { rest + 1 } else { 0 };
            let moving = !ring.moves.is_empty();
            if moving || rest > 10 { Ok(moving) } else { Err(format!("{:?}", ring.nodes)) }
        });
        if moving {
            // A random moment: the one thing here that is not waited for.
            thread::sleep(Duration::from_millis(self.random.random_range(0..1000)));
        }
        let ring = cluster.ring().ok()?;
        let Some(step) = ring.moves.choose(&mut self.random) else {
            *self.kills.entry("nobody: all was moved").or_default() += 1;
            return None;
        };
        let (role, victim) = self.choose(cluster, step)?;
        let seat = &mut cluster.seats[victim];
        *self.kills.entry(role).or_default() += 1;
        seat.kill();
        seat.begin();
        Some(victim)
    }

    /// Somebody with a part in a move, if he is there.
    fn choose(&mut self, cluster: &Cluster, step: &MoveStatus) -> Option<(&'static str, usize)> {
        let ring = cluster.ring().ok()?;
        let at = |node: &Option<String>| {
            let load = ring.nodes.iter().find(|load| Some(&load.id) == node.as_ref())?;
            let at = |seat: &Seat| seat.address == load.address;
            sitting(cluster).into_iter().find(|nth| at(&cluster.seats[*nth]))
        };
        let victim = match self.random.random_range(0..5) {
            0 => ("source", at(&step.from)),
            1 => ("target", at(&step.to)),
            2 => ("leader of the partition", leader(cluster, step.partition)),
            3 => ("leader of metadata", at(&metadata_leader(cluster))),
            _ => ("anybody", sitting(cluster).choose(&mut self.random).copied()),
        };
        match victim {
            (role, Some(victim)) => Some((role, victim)),
            // A partition that gains a replica has no source: the leader is where it comes from.
            _ => leader(cluster, step.partition).map(|victim| ("leader of the partition", victim)),
        }
    }

    /// Reads every key through one of the nodes.
    fn check(&mut self, cluster: &Cluster, mix: &Mix, held: &Ledger) -> Result<(), String> {
        let nth = *sitting(cluster).choose(&mut self.random).unwrap();
        let client = patient(&cluster.seats[nth].address);
        held.check(&client)?;
        self.checked = mix.check(&client)?;
        client.close();
        Ok(())
    }

    /// How many were killed while something moved.
    fn amid(&self) -> u64 {
        let amid = self.kills.iter().filter(|(role, _)| !role.starts_with("nobody"));
        amid.map(|(_, kills)| kills).sum()
    }

    fn print(&self, mix: &Mix) {
        let seconds = self.begun.elapsed().as_secs();
        println!("rounds                 {} of {} in {seconds} s", self.done, self.rounds);
        println!("changes                {:?}", self.changes);
        println!("killed amid moves      {}: {:?}", self.amid(), self.kills);
        println!("even again             within {:.1?} at worst", self.longest);
        println!("keys checked           {}\n{}\n", HELD as usize + self.checked, mix.figures());
    }
}

/// The seats with a process.
fn sitting(cluster: &Cluster) -> Vec<usize> {
    (0..cluster.seats.len()).filter(|nth| cluster.seats[*nth].is_taken()).collect()
}

/// A seat on which nobody sits.
fn empty(stage: &Stage, cluster: &mut Cluster) -> usize {
    let taken = sitting(cluster);
    (0..cluster.seats.len()).find(|nth| !taken.contains(nth)).unwrap_or_else(|| {
        let nth = cluster.seats.len();
        cluster.seats.push(stage.seat(&format!("node-{nth}")));
        nth
    })
}

/// Who says that it leads a partition.
fn leader(cluster: &Cluster, partition: u16) -> Option<usize> {
    let leads = |nth: &usize| {
        let led = cluster.seats[*nth].led().unwrap_or_default();
        led.iter().any(|one| one.0 == partition)
    };
    sitting(cluster).into_iter().find(leads)
}

/// The id of the node that is said to lead the metadata group.
fn metadata_leader(cluster: &Cluster) -> Option<String> {
    cluster.live().find_map(|seat| seat.status().ok()?.metadata_leader)
}

/// Waits until everybody is where he should be: there, or gone.
#[track_caller]
fn finish(cluster: &mut Cluster, change: Change, killed: &[usize]) {
    match change {
        Change::Join(nth) | Change::Replace(nth) => drop(cluster.seats[nth].finish()),
        Change::Leave(nth) => {
            let exit = cluster.seats[nth].wait_exit(PATIENCE);
            // One that was killed may have been removed before it was started again.
            let refused = killed.contains(&nth) && exit.error().contains("removed");
            assert!(exit.status.code() == Some(0) || refused, "{exit:?}");
            fs::remove_dir_all(&cluster.seats[nth].data_dir).unwrap();
        }
    }
    let mut others = killed.to_vec();
    others.sort_unstable();
    others.dedup();
    others.retain(|nth| !matches!(change, Change::Join(one) | Change::Leave(one) | Change::Replace(one) if one == *nth));
    for nth in others {
        cluster.seats[nth].finish();
    }
}

/// Stops all nodes, and looks at what is on their disks: each partition, as often as it should be.
#[track_caller]
fn conclude(cluster: &mut Cluster) {
    eventually(PATIENCE, "every replica to have applied what is agreed on", || {
        cluster.live().try_for_each(|seat| match seat.status()? {
            status if status.lagging + status.moves + status.leaderless == 0 => Ok(()),
            status => Err(format!("{}: {status:?}", seat.label)),
        })
    });
    let mut copies = BTreeMap::<String, usize>::new();
    let sitting = sitting(cluster);
    for nth in &sitting {
        let exit = cluster.seats[*nth].ask_to_end_within("TERM", PATIENCE);
        assert_eq!(exit.status.code(), Some(0), "{exit:?}");
        let replicas = cluster.seats[*nth].replicas();
        replicas.into_keys().for_each(|group| *copies.entry(group).or_default() += 1);
    }
    assert_eq!(copies.remove("metadata"), Some(sitting.len()), "everybody knows the map");
    assert_eq!(copies.len(), 16, "{copies:?}");
    assert!(copies.values().all(|copies| *copies == COPIES), "{copies:?}");
}
