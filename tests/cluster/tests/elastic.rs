//! Nodes come, leave and die under load: the others take over what they should, no call fails, and nothing is
//! lost. How eagerly that happens can be tuned, down to not at all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cluster::{Cluster, Ledger, Load, Plan, Stage, eventually, patient, throughout};
use kvcore::api::{Client, ClientOptions, Retune};

/// How soon replicas and leaders are to be spread evenly after each step.
const EVEN: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;
const VALUE: usize = 16 << 10;
/// A log of which entries may take 16 MiB in the long run, so that more than that comes as snapshots.
const FLAGS: [&str; 2] = ["--log-budget=64MiB", "--memory-limit=64MiB"];

/// Puts that many MiB into a cluster.
#[track_caller]
fn fill(cluster: &Cluster, mib: u64) -> Ledger {
    let count = Some(mib * MIB / VALUE as u64);
    let plan = Plan { writers: 16, value_bytes: VALUE, count, ..Plan::endless("held") };
    let ledger = Load::start(patient(&cluster.endpoints()), plan).join();
    assert!(ledger.failed.is_empty(), "{:?}", ledger.failed);
    ledger
}

#[test]
fn nodes_come_leave_and_die_under_load() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &FLAGS);
    let held = fill(&cluster, 64);
    // As programs have it: nobody tries for longer than the 5 s that are the default.
    let client = Client::connect(&cluster.endpoints(), ClientOptions::default()).wait().unwrap();
    let load = Load::start(client, Plan::endless("live"));

    cluster.add(stage.seat("node-3"), &FLAGS);
    let took = cluster.wait_even(EVEN);
    let received = cluster.seats[3].status().unwrap().snapshot_bytes_received;
    println!("the fourth has its share after {took:.1?}: {} MiB by snapshots", received / MIB);
    // Its share is 48 MiB. The logs have the newest of it, but by far not all.
    assert!(received > 16 * MIB && received < 60 * MIB, "{received} bytes came as snapshots");
    held.check(&patient(&cluster.seats[3].address)).unwrap();
    load.wait_for_more(50, PATIENCE);

    let begun = Instant::now();
    cluster.leave(1).unwrap();
    let exit = cluster.seats[1].wait_exit(PATIENCE);
    println!("the second has left after {:.1?}", begun.elapsed());
    assert_eq!(exit.status.code(), Some(0), "{exit:?}");
    assert!(cluster.load_of(1).unwrap().is_none(), "it is a member no longer");
    cluster.wait_even(EVEN);
    held.check(&patient(&cluster.live_endpoints())).unwrap();
    load.wait_for_more(50, PATIENCE);

    // Three replicas need three nodes when one of them dies.
    cluster.add(stage.seat("node-4"), &FLAGS);
    cluster.wait_even(EVEN);
    cluster.tune(Retune { dead_node_timeout_ms: Some(3000), ..Retune::default() });
    let begun = Instant::now();
    cluster.seats[0].kill();
    eventually(PATIENCE, "the first to be given up", || match cluster.load_of(0)? {
        Some(node) if node.state == "dead" => Ok(()),
        node => Err(format!("{node:?}")),
    });
    let given_up = begun.elapsed();
    cluster.wait_even(EVEN);
    println!("given up after {given_up:.1?}, all replicas are there after {:.1?}", begun.elapsed());
    assert!(given_up >= Duration::from_secs(3), "too soon: {given_up:?}");
    load.wait_for_more(50, PATIENCE);

    let ledger = load.stop();
    assert!(ledger.failed.is_empty(), "{:?}", ledger.failed);
    held.check(&patient(&cluster.live_endpoints())).unwrap();
    for seat in cluster.live() {
        ledger.check(&patient(&seat.address)).unwrap();
    }
}

#[test]
fn while_moves_are_paused_none_begins_and_afterwards_all_are_made() {
    let stage = Stage::new();
    let flags = [&FLAGS[..], &["--partitions=16"]].concat();
    let mut cluster = Cluster::of(&stage, 3, &flags);
    let held = fill(&cluster, 8);
    assert!(cluster.tune(Retune { paused: Some(true), ..Retune::default() }).paused);
    cluster.add(stage.seat("node-3"), &flags);
    cluster.leave(0).unwrap();
    throughout(Duration::from_secs(5), "the cluster stands still", || {
        let ring = cluster.ring()?;
        let replicas: Vec<_> = cluster
            .seats
            .iter()
            .map(|seat| {
                let id = &seat.ready().node;
                ring.nodes.iter().find(|node| node.id == *id).map_or(0, |node| node.replicas)
            })
            .collect();
        let still = ring.moves.is_empty() && replicas == [16, 16, 16, 0];
        if still { Ok(()) } else { Err(format!("{replicas:?}, {:?}", ring.moves)) }
    });
    let ring = cluster.ring().unwrap();
    assert!(ring.tuning.paused, "{ring:?}");
    assert!(cluster.seats[0].is_running() && cluster.seats[0].status().unwrap().leaving);
    assert_eq!(cluster.load_of(0).unwrap().unwrap().state, "leaving");

    assert!(!cluster.tune(Retune { paused: Some(false), ..Retune::default() }).paused);
    let exit = cluster.seats[0].wait_exit(PATIENCE);
    assert_eq!(exit.status.code(), Some(0), "{exit:?}");
    cluster.wait_even(EVEN);
    held.check(&patient(&cluster.live_endpoints())).unwrap();
}

#[test]
fn no_more_replicas_are_on_their_way_to_a_node_than_the_cluster_is_tuned_to() {
    let stage = Stage::new();
    let flags = [&FLAGS[..], &["--partitions=16", "--snapshot-rate=8MiB"]].concat();
    let mut cluster = Cluster::of(&stage, 3, &flags);
    let held = fill(&cluster, 48);
    for (nth, most) in [(3, 1), (4, 3)] {
        let tuning = Retune { moves_per_node: Some(most as u32), ..Retune::default() };
        assert_eq!(cluster.tune(tuning).moves_per_node, most as u32);
        cluster.add(stage.seat(&format!("node-{nth}")), &flags);
        let mut seen = 0;
        eventually(EVEN, "replicas and leaders to be spread evenly", || {
            let ring = cluster.ring()?;
            let mut coming = BTreeMap::new();
            for to in ring.moves.iter().filter_map(|step| step.to.clone()) {
                *coming.entry(to).or_insert(0) += 1;
            }
            assert!(
                coming.values().all(|coming| *coming <= most),
                "{coming:?} with {most} allowed"
            );
            seen = coming.into_values().fold(seen, usize::max);
            cluster.even()
        });
        println!("{seen} at a time, {most} allowed");
        assert_eq!(seen, most, "what is allowed is made use of");
    }
    held.check(&patient(&cluster.live_endpoints())).unwrap();
}
