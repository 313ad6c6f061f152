//! A replica that has missed more than the others' logs still have gets its partition as a snapshot, while
//! the load goes on, and whenever it is interrupted in it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use cluster::{Cluster, Load, Plan, Seat, Stage, eventually, patient};

const PATIENCE: Duration = Duration::from_secs(90);
const MIB: u64 = 1 << 20;
/// The least that a log can be given.
const BUDGET: u64 = 64 * MIB;
/// Slow enough that a snapshot can be interrupted.
const FLAGS: [&str; 4] =
    ["--partitions=4", "--log-budget=64MiB", "--memory-limit=64MiB", "--snapshot-rate=16MiB"];

/// Three nodes, of which the last is down and has missed more than the others still have in their logs.
#[track_caller]
fn lagging(stage: &Stage, prefix: &str) -> (Cluster, Load) {
    let mut cluster = Cluster::of(stage, 3, &FLAGS);
    let plan = Plan { writers: 2, value_bytes: 64 << 10, ..Plan::endless(prefix) };
    let load = Load::start(patient(&cluster.endpoints()), plan);
    load.wait_for_more(100, PATIENCE);
    cluster.seats[2].kill();
    // Twice the budget.
    load.wait_for_more((2 * BUDGET / (64 << 10)) as usize, PATIENCE);
    (cluster, load)
}

/// The names of the snapshots that are arriving at a node.
fn arriving(seat: &Seat) -> Vec<String> {
    let names = fs::read_dir(seat.data_dir.join("snapshots")).into_iter().flatten();
    names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// The bytes of the files in a directory; what is being removed has none.
fn bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    files.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum()
}

/// Checks that the last of the three has everything: one of the others goes.
#[track_caller]
fn conclude(mut cluster: Cluster, load: Load) {
    eventually(PATIENCE, "the third to be whole", || cluster.seats[2].whole());
    cluster.seats[0].kill();
    load.wait_for_more(200, PATIENCE);
    let ledger = load.stop();
    ledger.check(&patient(&cluster.live_endpoints())).unwrap();
}

#[test]
fn who_missed_more_than_a_log_keeps_catches_up_by_snapshots_while_the_load_goes_on() {
    let stage = Stage::new();
    let (mut cluster, load) = lagging(&stage, "missed");
    for seat in &cluster.seats[..2] {
        let log = bytes(&seat.data_dir.join("log"));
        println!("{}: the log takes {} MiB", seat.label, log / MIB);
        assert!(log <= BUDGET, "{log} bytes");
    }
    cluster.seats[2].start();
    let mut arrived = BTreeSet::new();
    eventually(PATIENCE, "the third to be whole", || {
        arrived.extend(arriving(&cluster.seats[2]));
        cluster.seats[2].whole()
    });
    println!("{} snapshots", arrived.len());
    assert!(!arrived.is_empty(), "nothing came as a snapshot");
    load.wait_for_more(100, PATIENCE);
    conclude(cluster, load);
}

#[test]
fn a_snapshot_that_is_interrupted_again_and_again_is_never_half_there() {
    let stage = Stage::new();
    let (mut cluster, load) = lagging(&stage, "halved");
    for round in 0..5 {
        cluster.seats[2].start();
        eventually(PATIENCE, "a snapshot to arrive", || match arriving(&cluster.seats[2]).len() {
            0 => Err("there is none"),
            _ => Ok(()),
        });
        // A little further on every time: in the first chunk, between files, while they are taken over.
        let some = load.acknowledged() + round * 40;
        eventually(PATIENCE, "some more writes", || match load.acknowledged() {
            acknowledged if acknowledged >= some => Ok(()),
            acknowledged => Err(acknowledged),
        });
        cluster.seats[2].kill();
    }
    cluster.seats[2].start();
    conclude(cluster, load);
}

#[test]
fn who_sends_a_snapshot_may_go() {
    let stage = Stage::new();
    let (mut cluster, load) = lagging(&stage, "sender");
    cluster.seats[2].start();
    for round in 0..4 {
        eventually(PATIENCE, "a snapshot to arrive", || {
            if !arriving(&cluster.seats[2]).is_empty() || cluster.seats[2].whole().is_ok() {
                return Ok(());
            }
            Err("there is none")
        });
        let sender = &mut cluster.seats[round % 2];
        sender.kill();
        sender.start();
        load.wait_for_more(20, PATIENCE);
    }
    conclude(cluster, load);
}
