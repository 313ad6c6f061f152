//! A node that is asked to end does so in order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use cluster::{Cluster, Load, Plan, Stage, connect, eventually, unused_address};
use kvcore::api::{Client, ClientOptions};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_node_ends_when_asked_and_has_everything_when_it_is_back() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 1, &["--partitions=16"]);
    let client = Client::connect(&cluster.endpoints(), ClientOptions::default()).wait().unwrap();
    let load = Load::start(client, Plan::endless("shutdown"));
    for signal in ["TERM", "INT"] {
        load.wait_for_more(200, PATIENCE);
        let before = cluster.seats[0].ready().clone();
        let exit = cluster.seats[0].ask_to_end(signal);
        assert_eq!(exit.status.code(), Some(0), "{exit:?}");
        assert!(exit.stdout.is_empty(), "stdout has the ready line and no more: {exit:?}");
        assert!(TcpListener::bind(&before.listen).is_ok(), "the port is free");
        assert_eq!(cluster.seats[0].start(), before);
    }
    let ledger = load.stop();
    ledger.check(&connect(&cluster.endpoints()).unwrap()).unwrap();
}

#[test]
fn nodes_restarted_one_after_the_other_lose_nothing() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &["--partitions=16"]);
    let client = Client::connect(&cluster.endpoints(), ClientOptions::default()).wait().unwrap();
    let load = Load::start(client, Plan::endless("rolling"));
    for nth in 0..3 {
        load.wait_for_more(100, PATIENCE);
        let exit = cluster.seats[nth].ask_to_end("TERM");
        assert_eq!(exit.status.code(), Some(0), "{exit:?}");
        cluster.seats[nth].start();
        cluster.wait_settled();
    }
    let ledger = load.stop();
    ledger.check(&connect(&cluster.endpoints()).unwrap()).unwrap();
}

#[test]
fn no_call_fails_when_the_nodes_are_asked_to_end_one_after_the_other() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &[]);
    // By far less than it takes to find out that a leader is gone, and to elect another one.
    let timeout = Duration::from_millis(700);
    let options = ClientOptions { timeout, ..ClientOptions::default() };
    let client = Client::connect(&cluster.endpoints(), options).wait().unwrap();
    let load = Load::start(client, Plan { writers: 16, ..Plan::endless("unnoticed") });
    for nth in 0..3 {
        load.wait_for_more(200, PATIENCE);
        eventually(PATIENCE, "it to lead", || match cluster.seats[nth].status()?.leaders {
            0 => Err("it does not".to_owned()),
            _ => Ok(()),
        });
        let exit = cluster.seats[nth].ask_to_end("TERM");
        assert_eq!(exit.status.code(), Some(0), "{exit:?}");
        load.wait_for_more(200, PATIENCE);
        cluster.seats[nth].start();
        cluster.wait_settled();
    }
    let ledger = load.stop();
    assert!(ledger.failed.is_empty(), "{:?}", ledger.failed);
    ledger.check(&connect(&cluster.endpoints()).unwrap()).unwrap();
}

#[test]
fn a_node_ends_when_asked_although_clients_and_strangers_hold_connections() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 1, &["--partitions=4"]);
    let address = cluster.seats[0].address.clone();
    let client = connect(&address).unwrap();
    let idle: Vec<_> = (0..20).map(|_| TcpStream::connect(&address).unwrap()).collect();
    assert_eq!(cluster.seats[0].ask_to_end("TERM").status.code(), Some(0));
    drop((client, idle));
}

#[test]
fn a_node_that_still_looks_for_members_ends_when_asked() {
    let stage = Stage::new();
    let mut seat = stage.seat("seeker").with(&["--join", &unused_address()]);
    seat.begin();
    // It has begun when it has made its directory; before that, a signal may find no handler yet.
    eventually(PATIENCE, "the node to look for members", || {
        if seat.data_dir.exists() { Ok(()) } else { Err("no directory yet") }
    });
    let exit = seat.ask_to_end("TERM");
    assert_eq!(exit.status.code(), Some(0), "{exit:?}");
    assert!(exit.stdout.is_empty(), "it never was ready: {exit:?}");
    assert!(TcpListener::bind(&seat.address).is_ok(), "the port is free");
}
