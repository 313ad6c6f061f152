//! A file system that is full to the brim stops writes with a clear error, and nothing else; it heals by
//! itself when there is space again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cluster::{Cluster, Ledger, Load, Plan, Seat, Stage, Volume, eventually, patient};
use kvcore::api::{CallOptions, Client, ClientOptions, Kind};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long writes may take to go on once there is space.
const HEALING: Duration = Duration::from_secs(10);
/// The small file system.
const MIB: u64 = 512;

/// What a node on a small file system should be told: its log and its tables in small pieces.
fn flags(partitions: &str) -> [&str; 3] {
    [partitions, "--log-budget=128MiB", "--memory-limit=128MiB"]
}

/// A small file system; `None` where the machine lets nobody mount one.
fn volume(stage: &Stage, name: &str) -> Option<Volume> {
    match Volume::mount(&stage.path().join(name), MIB) {
        Ok(volume) => Some(volume),
        Err(reason) => {
            println!("skipped: no file system can be mounted here: {reason}");
            None
        }
    }
}

/// Values large enough to come to the end of what was allocated ahead.
fn heavy(cluster: &Cluster, prefix: &str) -> Load {
    let options = ClientOptions { timeout: Duration::from_secs(2), ..ClientOptions::default() };
    let client = Client::connect(&cluster.endpoints(), options).wait().unwrap();
    Load::start(client, Plan { value_bytes: 16 * 1024, ..Plan::endless(prefix) })
}

/// The kinds of the errors that clients saw; none of them may say that something is broken.
#[track_caller]
fn assert_clear(ledger: &Ledger) {
    let mut kinds = BTreeMap::new();
    for failed in &ledger.failed {
        *kinds.entry(failed.kind.to_string()).or_insert(0) += 1;
    }
    println!("acknowledged {}, failed {kinds:?}", ledger.acknowledged.len());
    let unclear = ledger.failed.iter().find(|failed| {
        !matches!(
            failed.kind,
            Kind::StorageFull | Kind::Unavailable | Kind::Timeout | Kind::Overloaded
        )
    });
    assert!(unclear.is_none(), "an unclear error: {unclear:?}; all: {kinds:?}");
}

/// Fills the disk, and again what the node gives back, until it has given up.
#[track_caller]
fn fill_until<T>(seat: &Seat, what: &str, mut given_up: impl FnMut() -> Result<T, String>) -> T {
    eventually(PATIENCE, what, || {
        seat.volume().fill();
        given_up()
    })
}

#[test]
fn a_single_node_reads_on_when_its_disk_is_full_and_writes_when_there_is_space() {
    let stage = Stage::new();
    let Some(volume) = volume(&stage, "small") else { return };
    let mut cluster =
        Cluster::found(vec![stage.seat("full").on_volume(volume)], &flags("--partitions=4"));
    let load = heavy(&cluster, "brim");
    load.wait_for_more(200, PATIENCE);
    let client = patient(&cluster.endpoints());
    let put = || client.put("probe".into(), vec![1; 4096].into(), CallOptions::default()).wait();
    fill_until(&cluster.seats[0], "writes to be refused", || match put() {
        Err(error) if error.kind() == Kind::StorageFull => Ok(()),
        // What is under way when it happens has an unknown outcome.
        other => Err(format!("{other:?}")),
    });
    assert!(cluster.seats[0].is_running(), "the process lives on");
    let read = client.get("brim/00000000".into(), CallOptions::default()).wait();
    assert!(read.unwrap().is_some(), "reads go on");

    cluster.seats[0].volume().drain();
    let space = Instant::now();
    load.wait_for_more(1, HEALING);
    println!("writes go on {:.1?} after there is space", space.elapsed());
    load.wait_for_more(200, PATIENCE);
    let ledger = load.stop();
    ledger.check(&client).unwrap();
    assert_clear(&ledger);
    // And all of it is on the disk.
    cluster.kill_all();
    cluster.start_all();
    ledger.check(&patient(&cluster.endpoints())).unwrap();
    // A full disk does not keep it from ending.
    let again = heavy(&cluster, "again");
    fill_until(&cluster.seats[0], "writes to be refused", || match put() {
        Err(error) if error.kind() == Kind::StorageFull => Ok(()),
        other => Err(format!("{other:?}")),
    });
    cluster.seats[0].ask_to_end("TERM");
    assert_clear(&again.stop());
    // One that has filled up meanwhile does not keep it from starting: there is what was held back.
    cluster.seats[0].volume().drain();
    cluster.seats[0].start();
    ledger.check(&patient(&cluster.endpoints())).unwrap();
    cluster.seats[0].ask_to_end("TERM");
    cluster.seats[0].volume().fill();
    cluster.seats[0].start();
    ledger.check(&patient(&cluster.endpoints())).unwrap();
}

#[test]
fn one_of_three_hands_over_when_its_disk_is_full_and_is_whole_when_there_is_space() {
    let stage = Stage::new();
    let Some(volume) = volume(&stage, "small") else { return };
    let small = stage.seat("full").on_volume(volume);
    let seats = vec![stage.seat("roomy-1"), small, stage.seat("roomy-2")];
    let mut cluster = Cluster::found(seats, &flags("--partitions=16"));
    let load = heavy(&cluster, "brim");
    load.wait_for_more(200, PATIENCE);
    fill_until(&cluster.seats[1], "it to lead nothing any more", || {
        let leads = cluster.seats[1].status()?.leaders;
        if leads == 0 { Ok(()) } else { Err(format!("it leads {leads}")) }
    });
    assert!(cluster.seats[1].is_running(), "the process lives on");
    load.wait_for_more(200, PATIENCE);
    // Asked directly it serves what it can, by passing it on.
    let client = patient(&cluster.seats[1].address);
    let read = client.get("brim/00000000".into(), CallOptions::default()).wait();
    assert!(read.unwrap().is_some(), "reads go on");

    cluster.seats[1].volume().drain();
    let space = Instant::now();
    eventually(HEALING, "its replicas to be whole again", || cluster.seats[1].whole());
    println!("it is whole {:.1?} after there is space", space.elapsed());
    // Now it is needed for a majority, and must have everything.
    cluster.seats[0].kill();
    load.wait_for_more(200, PATIENCE);
    let ledger = load.stop();
    ledger.check(&patient(&cluster.live_endpoints())).unwrap();
    assert_clear(&ledger);
}

#[test]
fn two_of_three_with_full_disks_follow_far_enough_for_reads() {
    let stage = Stage::new();
    let Some(first) = volume(&stage, "small-1") else { return };
    let Some(second) = volume(&stage, "small-2") else { return };
    let full = [stage.seat("full-1").on_volume(first), stage.seat("full-2").on_volume(second)];
    let mut seats = Vec::from(full);
    seats.push(stage.seat("roomy"));
    let cluster = Cluster::found(seats, &flags("--partitions=16"));
    let load = heavy(&cluster, "brim");
    load.wait_for_more(200, PATIENCE);
    // Nobody can write any more, as no majority can; the third leads everything, and was elected to it.
    eventually(PATIENCE, "them to lead nothing any more", || {
        cluster.seats[..2].iter().try_for_each(|seat| {
            seat.volume().fill();
            let leads = seat.status()?.leaders;
            if leads == 0 { Ok(()) } else { Err(format!("{} leads {leads}", seat.label)) }
        })
    });
    let client = patient(&cluster.seats[2].address);
    for key in 0..100 {
        let read = client.get(format!("brim/{key:08}").into(), CallOptions::default()).wait();
        assert!(read.unwrap().is_some(), "reads go on");
    }
    cluster.seats[..2].iter().for_each(|seat| seat.volume().drain());
    let space = Instant::now();
    load.wait_for_more(1, HEALING);
    println!("writes go on {:.1?} after there is space", space.elapsed());
    load.wait_for_more(200, PATIENCE);
    let ledger = load.stop();
    ledger.check(&patient(&cluster.endpoints())).unwrap();
    assert_clear(&ledger);
}
