//! Nothing acknowledged is lost when all nodes die at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use cluster::{Cluster, Load, Plan, Stage, connect};
use kvcore::api::{Client, ClientOptions};

/// How long writes may take to go on after all nodes were killed and started again.
const PATIENCE: Duration = Duration::from_secs(20);

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
    ledger.check(&connect(&cluster.endpoints()).unwrap()).unwrap();
    // And each of them says so by itself.
    for seat in &cluster.seats {
        ledger.check(&connect(&seat.address).unwrap()).unwrap();
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
    ledger.check(&connect(&cluster.endpoints()).unwrap()).unwrap();
}
