//! Nothing acknowledged is lost when all nodes die at once, or all lose power at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

use std::thread;
use std::time::Duration;

use cluster::{Cluster, Load, Mix, MixPlan, Plan, Stage, eventually, patient};
use kvcore::api::{Client, ClientOptions};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// How long writes may take to go on after all nodes were killed and started again.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn all_nodes_killed_in_the_middle_of_a_load_lose_nothing() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &["--partitions=16"]);
    let identities: Vec<_> = cluster.seats.iter().map(|seat| seat.ready().clone()).collect();
    let client = Client::connect(&cluster.endpoints(), ClientOptions::default()).wait().unwrap();
    let load = Load::start(client, Plan::endless("power"));

    for _ in 0..2 {
        load.wait_for_more(300, PATIENCE);
        cluster.kill_all();
        cluster.start_all();
    }
    load.wait_for_more(300, PATIENCE);
    let ledger = load.stop();

    let now: Vec<_> = cluster.seats.iter().map(|seat| seat.ready().clone()).collect();
    assert_eq!(now, identities, "the same nodes of the same cluster");
    ledger.check(&patient(&cluster.endpoints())).unwrap();
    // And each of them says so by itself.
    for seat in &cluster.seats {
        ledger.check(&patient(&seat.address)).unwrap();
    }
}

#[test]
fn a_single_node_killed_in_the_middle_of_a_load_loses_nothing() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 1, &["--partitions=16"]);
    let client = Client::connect(&cluster.endpoints(), ClientOptions::default()).wait().unwrap();
    let load = Load::start(client, Plan::endless("power"));
    for _ in 0..3 {
        load.wait_for_more(300, PATIENCE);
        cluster.kill_all();
        cluster.start_all();
    }
    let ledger = load.stop();
    ledger.check(&patient(&cluster.endpoints())).unwrap();
}

#[test]
fn all_nodes_that_lose_power_in_the_middle_of_a_load_lose_nothing() {
    let stage = Stage::new();
    let seats = (0..3).map(|nth| stage.seat(&format!("node-{nth}")).on_power());
    let mut cluster = Cluster::found(seats.collect(), &["--partitions=16"]);
    let identities: Vec<_> = cluster.seats.iter().map(|seat| seat.ready().clone()).collect();
    let mut mix = Mix::start(&cluster.endpoints(), MixPlan::seeded("power", 3));
    for _ in 0..4 {
        mix.wait_for_more(300, PATIENCE);
        cluster.lose_power();
        cluster.start_all();
    }
    mix.wait_for_more(300, PATIENCE);
    println!("{}", mix.stop());

    let now: Vec<_> = cluster.seats.iter().map(|seat| seat.ready().clone()).collect();
    assert_eq!(now, identities, "the same nodes of the same cluster");
    for seat in &cluster.seats {
        mix.check(&patient(&seat.address)).unwrap();
    }
}

/// A single node has nobody who could make up for what it forgot.
#[test]
fn a_single_node_that_loses_power_in_the_middle_of_a_load_loses_nothing() {
    let stage = Stage::new();
    let seat = stage.seat("alone").on_power();
    let mut cluster = Cluster::found(vec![seat], &["--partitions=16"]);
    let mut mix = Mix::start(&cluster.endpoints(), MixPlan::seeded("power", 1));
    for round in 0..8 {
        mix.wait_for_more(200, PATIENCE);
        match round % 4 {
            // Ended in order first, or killed and started again: then there is also what the process
            // before had written and not synced, and the next one read.
            1 => assert_eq!(cluster.seats[0].ask_to_end("TERM").status.code(), Some(0)),
            2 => {
                cluster.kill_all();
                cluster.start_all();
                mix.wait_for_more(20, PATIENCE);
            }
            _ => {}
        }
        cluster.seats[0].lose_power();
        cluster.start_all();
    }
    mix.wait_for_more(200, PATIENCE);
    println!("{}", mix.stop());
    mix.check(&patient(&cluster.endpoints())).unwrap();
}

/// A disk may have written some of what it was not asked to sync, in any order. `SEED=n` does the same again.
#[test]
fn a_single_node_whose_writes_are_torn_by_a_power_failure_loses_nothing() {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let stage = Stage::new();
    let seat = stage.seat("alone").on_power();
    let mut cluster = Cluster::found(vec![seat], &["--partitions=4"]);
    let mut mix = Mix::start(&cluster.endpoints(), MixPlan::seeded("torn", seed));
    for round in 0..12 {
        mix.wait_for_more(50, PATIENCE);
        let alone = &mut cluster.seats[0];
        match round % 4 {
            // What is written on the way down, and on the way up, is of interest as well.
            1 => assert_eq!(alone.ask_to_end("TERM").status.code(), Some(0)),
            2 => {
                alone.tear(random.random());
                alone.begin();
                eventually(PATIENCE, "it to begin", || {
                    if alone.power().in_use() { Ok(()) } else { Err("it has not") }
                });
                thread::sleep(Duration::from_millis(random.random_range(0..100)));
            }
            _ => {}
        }
        alone.tear(random.random());
        cluster.start_all();
    }
    mix.wait_for_more(50, PATIENCE);
    println!("{}", mix.stop());
    mix.check(&patient(&cluster.endpoints())).unwrap();
}

#[test]
fn a_directory_that_the_node_made_is_there_after_a_power_failure() {
    let stage = Stage::new();
    let mut seat = stage.seat("alone").on_power();
    std::fs::remove_dir(&seat.data_dir).unwrap();
    let before = seat.start();
    seat.lose_power();
    assert_eq!(seat.start(), before, "it began as another node");
}
