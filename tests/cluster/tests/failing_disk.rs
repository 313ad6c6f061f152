//! A disk that fails to sync stops what needs it, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

use std::thread;
use std::time::Duration;

use cluster::{Cluster, Mix, MixPlan, Seat, Stage, connect, eventually, patient, unused_address};
use kvcore::api::CallOptions;

const PATIENCE: Duration = Duration::from_secs(60);

/// Every sync of the log fails, as on a disk with bad sectors.
const BROKEN_LOG: &str = "eio sync */log/*.log";

/// Three nodes, the first of which has a disk that can be made to fail.
#[track_caller]
fn three(stage: &Stage) -> Cluster {
    let seats = vec![stage.seat("broken").on_power(), stage.seat("sound-1"), stage.seat("sound-2")];
    Cluster::found(seats, &["--partitions=16"])
}

#[track_caller]
fn wait_until_met(seat: &Seat) {
    eventually(PATIENCE, "the disk to fail", || match seat.power().met() {
        0 => Err("it has not yet"),
        _ => Ok(()),
    });
}

#[track_caller]
fn wait_until_whole(seat: &Seat) {
    eventually(PATIENCE, &format!("{} to be whole again", seat.label), || seat.whole());
}

#[test]
fn one_of_three_lives_on_with_a_log_that_cannot_be_synced_and_nothing_is_lost() {
    let stage = Stage::new();
    let mut cluster = three(&stage);
    let mut mix = Mix::start(&cluster.endpoints(), MixPlan::seeded("eio", 1));
    mix.wait_for_more(200, PATIENCE);
    cluster.seats[0].power().rule(&[BROKEN_LOG]);
    wait_until_met(&cluster.seats[0]);
    mix.wait_for_more(500, PATIENCE);
    assert!(cluster.seats[0].is_running(), "the process lives on");
    mix.check(&patient(&cluster.endpoints())).unwrap();

    // What the failed sync was to write is gone with the power; the others have it.
    cluster.seats[0].lose_power();
    cluster.seats[0].power().rule(&[]);
    cluster.seats[0].start();
    cluster.wait_settled();
    wait_until_whole(&cluster.seats[0]);
    // Now it is needed for a majority, and must have everything.
    cluster.seats[1].kill();
    mix.wait_for_more(200, PATIENCE);
    println!("{}", mix.stop());
    mix.check(&patient(&cluster.live_endpoints())).unwrap();
}

#[test]
fn one_of_three_is_whole_again_without_a_restart_once_its_log_can_be_synced() {
    let stage = Stage::new();
    let mut cluster = three(&stage);
    let mut mix = Mix::start(&cluster.endpoints(), MixPlan::seeded("eio", 2));
    for _ in 0..2 {
        mix.wait_for_more(200, PATIENCE);
        cluster.seats[0].power().rule(&[BROKEN_LOG]);
        wait_until_met(&cluster.seats[0]);
        mix.wait_for_more(200, PATIENCE);
        cluster.seats[0].power().rule(&[]);
        wait_until_whole(&cluster.seats[0]);
    }
    assert!(cluster.seats[0].is_running());
    // It is needed for a majority from here on.
    cluster.seats[1].kill();
    mix.wait_for_more(200, PATIENCE);
    println!("{}", mix.stop());
    mix.check(&patient(&cluster.live_endpoints())).unwrap();

    // What it was told is durable is so, although a sync before had failed.
    cluster.seats[1].start();
    cluster.seats[0].lose_power();
    cluster.seats[0].start();
    cluster.wait_settled();
    cluster.seats[2].kill();
    eventually(PATIENCE, "the two others to have everything", || {
        mix.check(&connect(&cluster.live_endpoints()).map_err(|error| error.to_string())?)
    });
}

#[test]
fn what_was_applied_before_it_was_logged_is_on_disk_when_the_log_goes_on_behind_it() {
    let stage = Stage::new();
    let mut cluster = three(&stage);
    let before = cluster.replicas_of(0);
    let mut mix = Mix::start(&cluster.endpoints(), MixPlan::seeded("eio", 4));
    mix.wait_for_more(200, PATIENCE);
    // The others agree on entries, and it applies them, while none of them gets into its log.
    cluster.seats[0].power().rule(&["stall sync */log/*.log"]);
    wait_until_met(&cluster.seats[0]);
    mix.wait_for_more(500, PATIENCE);
    cluster.seats[0].power().rule(&[BROKEN_LOG]);
    wait_until_met(&cluster.seats[0]);
    cluster.seats[0].power().rule(&[]);
    wait_until_whole(&cluster.seats[0]);
    mix.wait_for_more(200, PATIENCE);
    // The log has forgotten what it never had; the state must have it.
    cluster.seats[0].lose_power();
    cluster.seats[0].start();
    wait_until_whole(&cluster.seats[0]);
    println!("{}", mix.stop());
    cluster.seats[1].kill();
    mix.check(&patient(&cluster.live_endpoints())).unwrap();
    cluster.seats[0].ask_to_end("TERM");
    assert_eq!(cluster.seats[0].replicas(), before, "none was found damaged, and replaced");
}

#[test]
fn a_disk_that_cannot_be_read_for_a_moment_costs_no_replica() {
    let stage = Stage::new();
    let seats = vec![stage.seat("broken").on_power(), stage.seat("sound-1"), stage.seat("sound-2")];
    let mut cluster = Cluster::found(seats, &["--partitions=16", "--memory-limit=16MiB"]);
    let mut mix = Mix::start(&cluster.endpoints(), MixPlan::seeded("eio", 5));
    mix.wait_for_more(500, PATIENCE);
    let before = cluster.replicas_of(0);
    cluster.seats[0].power().rule(&["eio read */state/*.sst@*", "eio read */log/*.log@*"]);
    eventually(PATIENCE, "the disk to refuse", || {
        mix.check(&patient(&cluster.seats[0].address))?;
        if cluster.seats[0].power().met() > 0 { Ok(()) } else { Err("it does not".to_owned()) }
    });
    mix.wait_for_more(200, PATIENCE);
    cluster.seats[0].power().rule(&[]);
    wait_until_whole(&cluster.seats[0]);
    assert!(cluster.seats[0].is_running(), "the process lives on");
    cluster.seats[1].kill();
    mix.wait_for_more(200, PATIENCE);
    println!("{}", mix.stop());
    mix.check(&patient(&cluster.live_endpoints())).unwrap();
    cluster.seats[0].ask_to_end("TERM");
    assert_eq!(cluster.seats[0].replicas(), before, "none was found damaged, and replaced");
}

#[test]
fn a_single_node_writes_again_without_a_restart_once_its_log_can_be_synced() {
    let stage = Stage::new();
    let mut cluster = Cluster::found(vec![stage.seat("alone").on_power()], &["--partitions=16"]);
    let mut mix = Mix::start(&cluster.endpoints(), MixPlan::seeded("eio", 3));
    for _ in 0..2 {
        mix.wait_for_more(200, PATIENCE);
        cluster.seats[0].power().rule(&[BROKEN_LOG]);
        wait_until_met(&cluster.seats[0]);
        let client = patient(&cluster.endpoints());
        eventually(PATIENCE, "a write to be refused", || {
            match client.put("probe".into(), "".into(), CallOptions::default()).wait() {
                Ok(_) => Err("it was not"),
                Err(_) => Ok(()),
            }
        });
        assert!(cluster.seats[0].is_running(), "the process lives on");
        cluster.seats[0].power().rule(&[]);
    }
    mix.wait_for_more(200, PATIENCE);
    // What it acknowledged since is durable, whatever the failed syncs left behind.
    cluster.lose_power();
    cluster.start_all();
    mix.wait_for_more(200, PATIENCE);
    println!("{}", mix.stop());
    mix.check(&patient(&cluster.endpoints())).unwrap();
}

#[test]
fn a_node_that_cannot_write_its_log_says_so_in_few_words() {
    const WINDOW: Duration = Duration::from_secs(2);
    let stage = Stage::new();
    let mut cluster = three(&stage);
    cluster.seats[0].power().rule(&[BROKEN_LOG]);
    // Another address is news for metadata, too.
    cluster.seats[1].kill();
    cluster.seats[1].address = unused_address();
    cluster.seats[1].start();
    wait_until_met(&cluster.seats[0]);
    // It may speak up about each of its replicas, for once; then it is measured for a while.
    thread::sleep(WINDOW);
    let before = cluster.seats[0].log_bytes();
    thread::sleep(WINDOW);
    let said = cluster.seats[0].log_bytes() - before;
    println!("{said} bytes in {WINDOW:?}");
    assert!(said < 100_000, "{said} bytes in {WINDOW:?}");
}
