//! Nodes are killed at random moments of a mixed load, again and again, and nothing is lost.
//!
//! `make kill ROUNDS=200 SEED=n` runs it at length.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, Mix, MixPlan, Stage, patient};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// How long the cluster may take to get on with it after a kill, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(60);
/// Acknowledged writes that each round waits for before it kills.
const PROGRESS: u64 = 20;
/// In every so-manieth round all nodes are killed at once.
const ALL: u64 = 10;
/// In every so-manieth round all keys are checked.
const CHECK: u64 = 25;

/// Rounds without `ROUNDS`.
const FEW: u64 = 10;

#[test]
fn random_kills_lose_nothing() {
    let number = |name: &str| {
        let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text} is no number")))
    };
    let rounds = number("ROUNDS").unwrap_or(FEW);
    let seed = number("SEED").unwrap_or_else(rand::random);
    println!("ROUNDS={rounds} SEED={seed}");

    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &["--partitions=16"]);
    let identities: Vec<_> = cluster.seats.iter().map(|seat| seat.ready().clone()).collect();
    let mut mix = Mix::start(&cluster.endpoints(), MixPlan::seeded("kill", seed));
    let mut rounds = Rounds {
        begun: Instant::now(),
        random: SmallRng::seed_from_u64(seed),
        kills: 0,
        checked: 0,
        rounds,
    };
    let outcome = rounds.run(&mut cluster, &mut mix);
    mix.stop();
    rounds.print(&mix);
    outcome.unwrap();
    let now: Vec<_> = cluster.seats.iter().map(|seat| seat.ready().clone()).collect();
    assert_eq!(now, identities, "the same nodes of the same cluster");
}

struct Rounds {
    begun: Instant,
    random: SmallRng,
    rounds: u64,
    kills: u64,
    checked: usize,
}

impl Rounds {
    fn run(&mut self, cluster: &mut Cluster, mix: &mut Mix) -> Result<(), String> {
        for round in 1..=self.rounds {
            mix.wait_for_more(PROGRESS, PATIENCE);
            self.pass_time(1000);
            if round % ALL == 0 {
                self.kill_all(cluster);
            } else {
                self.kill_one(cluster);
            }
            if round % CHECK == 0 {
                let nth = self.random.random_range(0..cluster.seats.len());
                self.check(cluster, mix, nth)?;
                self.print(mix);
            }
            mix.figures().verdict()?;
        }
        mix.wait_for_more(PROGRESS, PATIENCE);
        cluster.wait_settled();
        mix.stop();
        (0..cluster.seats.len()).try_for_each(|nth| self.check(cluster, mix, nth))
    }

    fn kill_all(&mut self, cluster: &mut Cluster) {
        cluster.kill_all();
        self.kills += cluster.seats.len() as u64;
        cluster.start_all();
    }

    /// Kills one node, and sometimes once more while it is starting.
    fn kill_one(&mut self, cluster: &mut Cluster) {
        let victim = self.random.random_range(0..cluster.seats.len());
        cluster.seats[victim].kill();
        self.kills += 1;
        if self.random.random_bool(0.25) {
            cluster.seats[victim].begin();
            self.pass_time(300);
            cluster.seats[victim].kill();
            self.kills += 1;
        }
        cluster.seats[victim].start();
    }

    /// A random moment: the one thing here that is not waited for.
    fn pass_time(&mut self, most_ms: u64) {
        thread::sleep(Duration::from_millis(self.random.random_range(0..most_ms)));
    }

    /// Reads every key through one of the nodes.
    fn check(&mut self, cluster: &Cluster, mix: &Mix, nth: usize) -> Result<(), String> {
        let client = patient(&cluster.seats[nth].address);
        self.checked = mix.check(&client)?;
        client.close();
        Ok(())
    }

    fn print(&self, mix: &Mix) {
        let seconds = self.begun.elapsed().as_secs();
        println!("kills                  {} in {seconds} s", self.kills);
        println!("keys checked           {}\n{}\n", self.checked, mix.figures());
    }
}
