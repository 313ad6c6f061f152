//! Who founds a cluster, who joins one, and who is turned away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use cluster::{Cluster, Seat, Stage, distkv, unused_address};

#[test]
fn a_node_with_addresses_to_join_never_founds() {
    let stage = Stage::new();
    let nobody = unused_address();
    let mut lonely = stage.seat("lonely").with(&["--join", &nobody, "--start-timeout=2"]);
    let begun = Instant::now();
    lonely.refuse().assert_refused("Unavailable", &[&nobody]);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(7), "a start timeout of 2 s took {took:?}");
    assert!(TcpStream::connect(&lonely.address).is_err(), "nobody listens after the refusal");

    // Its directory was not made a cluster's: any cluster takes it in.
    let mut founder = stage.seat("founder");
    let cluster = founder.start().cluster;
    lonely.set(&["--join", &founder.address]);
    assert_eq!(lonely.start().cluster, cluster);
}

#[test]
fn a_node_that_waits_for_members_finds_them_when_they_come() {
    let stage = Stage::new();
    let mut founder = stage.seat("founder");
    let mut early = stage.seat("early").with(&["--join", &founder.address]);
    early.begin();
    let cluster = founder.start().cluster;
    assert_eq!(early.finish().cluster, cluster);
}

#[test]
fn bootstrap_founds_where_nobody_answers() {
    let stage = Stage::new();
    let (one, other) = (stage.seat("one"), stage.seat("other"));
    let everyone = format!("--join={},{}", one.address, other.address);
    let (mut one, mut other) = (one.with(&[&everyone, "--bootstrap"]), other.with(&[&everyone]));
    let cluster = one.start().cluster;
    assert_eq!(other.start().cluster, cluster);
}

#[test]
fn bootstrap_joins_where_there_is_a_cluster() {
    let stage = Stage::new();
    let mut founder = stage.seat("founder");
    let cluster = founder.start().cluster;
    let mut second = stage.seat("second").with(&["--join", &founder.address, "--bootstrap"]);
    assert_eq!(second.start().cluster, cluster);
}

#[test]
fn a_node_of_one_cluster_is_turned_away_by_another() {
    let stage = Stage::new();
    let (mut ours, mut theirs) = (stage.seat("ours"), stage.seat("theirs"));
    let cluster = ours.start().cluster;
    let foreign = theirs.start().cluster;
    assert_ne!(cluster, foreign, "two foundings are two clusters");
    distkv(&["put", "whose", "ours", "--endpoints", &ours.address]).ok();

    assert_eq!(ours.ask_to_end("TERM").status.code(), Some(0));
    ours.set(&["--join", &theirs.address, "--start-timeout=10"]);
    ours.refuse().assert_refused("WrongCluster", &[&cluster, &foreign]);
    assert_eq!(theirs.members().unwrap().len(), 1, "the other cluster has nobody new");

    // It is still what it was.
    ours.set(&[]);
    assert_eq!(ours.start().cluster, cluster);
    assert_eq!(distkv(&["get", "whose", "--endpoints", &ours.address]).ok(), "ours\n");
}

#[test]
fn what_was_fixed_at_the_founding_cannot_be_asked_otherwise() {
    let stage = Stage::new();
    let cluster = Cluster::of(&stage, 1, &["--partitions=16", "--replication-factor=3"]);
    let founder = &cluster.seats[0];
    let join = format!("--join={}", founder.address);
    let refused = |label: &str, flag: &str, words: &[&str]| {
        let mut seat = stage.seat(label).with(&[&join, flag, "--start-timeout=10"]);
        seat.refuse().assert_refused("InvalidArgument", words);
        assert_free(&seat);
        seat
    };
    let mut other = refused("partitions", "--partitions=128", &["partitions", "`128`", "`16`"]);
    refused("factor", "--replication-factor=5", &["replication_factor", "`5`", "`3`"]);
    refused("vnodes", "--vnodes=8", &["vnodes", "`8`", "`64`"]);
    refused("memory", "--in-memory", &["durable", "`false`", "`true`"]);
    assert_eq!(founder.members().unwrap().len(), 1, "nobody was let in");

    // Whoever says nothing, or the same, is welcome, and the refusal left no mark.
    other.set(&[&join, "--partitions=16"]);
    assert_eq!(other.start().cluster, founder.ready().cluster);
}

#[test]
fn what_was_fixed_at_the_founding_holds_for_a_restart() {
    let stage = Stage::new();
    let mut alone = stage.seat("alone").with(&["--partitions=16"]);
    let founded = alone.start();
    alone.kill();
    alone.set(&["--partitions=32"]);
    alone.refuse().assert_refused("InvalidArgument", &["partitions", "`32`", "`16`"]);
    alone.set(&[]);
    assert_eq!(alone.start(), founded);
}

#[test]
fn an_in_memory_cluster_takes_in_memory_nodes() {
    let stage = Stage::new();
    let cluster = Cluster::of(&stage, 3, &["--in-memory", "--partitions=16"]);
    distkv(&["put", "fleeting", "yes", "--endpoints", &cluster.seats[0].address]).ok();
    let got = distkv(&["get", "fleeting", "--endpoints", &cluster.seats[2].address]).ok();
    assert_eq!(got, "yes\n");
    assert!(cluster.seats.iter().all(|seat| !seat.data_dir.exists()), "nothing is on disk");
}

#[track_caller]
fn assert_free(seat: &Seat) {
    let bound = TcpListener::bind(&seat.address);
    assert!(bound.is_ok(), "the port of {} is free again: {bound:?}", seat.label);
}
