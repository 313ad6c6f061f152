//! Nodes are killed at random moments of a mixed load, again and again, and nothing is lost.
//!
//! `make kill ROUNDS=200 SEED=n` runs it at length; with `POWER=1` each kill is a power failure, in which any
//! part of what was not synced is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, Mix, MixPlan, Seat, Stage, eventually, patient};
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
    let power = number("POWER").is_some_and(|power| power > 0);
    println!("ROUNDS={rounds} SEED={seed} POWER={}", u8::from(power));

    let stage = Stage::new();
    let seat = |nth| {
        let seat = stage.seat(&format!("node-{nth}"));
        if power { seat.on_power() } else { seat }
    };
    let mut cluster = Cluster::found((0..3).map(seat).collect(), &["--partitions=16"]);
    let identities: Vec<_> = cluster.seats.iter().map(|seat| seat.ready().clone()).collect();
    let mut mix = Mix::start(&cluster.endpoints(), MixPlan::seeded("kill", seed));
    let mut rounds = Rounds {
        begun: Instant::now(),
        random: SmallRng::seed_from_u64(seed),
        rounds,
        power,
        done: 0,
        kills: 0,
        checked: 0,
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
    /// Whether the power fails, or else the process alone ends.
    power: bool,
    done: u64,
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
            self.done = round;
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
        cluster.seats.iter_mut().for_each(|seat| self.count(seat));
        cluster.start_all();
    }

    /// Kills one node, and sometimes once more while it is starting.
    fn kill_one(&mut self, cluster: &mut Cluster) {
        let nth = self.random.random_range(0..cluster.seats.len());
        let victim = &mut cluster.seats[nth];
        victim.kill();
        self.count(victim);
        if self.random.random_bool(0.25) {
            victim.begin();
            if self.power {
                eventually(PATIENCE, "it to begin", || {
                    if victim.power().in_use() { Ok(()) } else { Err("it has not") }
                });
            }
            self.pass_time(300);
            victim.kill();
            self.count(victim);
        }
        victim.start();
    }

    /// Counts a kill, and makes a power failure of it.
    fn count(&mut self, seat: &mut Seat) {
        self.kills += 1;
        if self.power {
            seat.tear(self.random.random());
        }
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
        println!("rounds                 {} of {} in {seconds} s", self.done, self.rounds);
        println!("kills                  {}", self.kills);
        println!("keys checked           {}\n{}\n", self.checked, mix.figures());
    }
}
