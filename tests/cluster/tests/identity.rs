//! A node is its directory: neither its address nor its flags make it another one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use cluster::{Cluster, Seat, Stage, distkv, eventually, unused_address};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn another_address_is_the_same_node() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &["--partitions=16"]);
    put(&cluster.seats[0], "before", "move");
    let before = cluster.seats[2].ready().clone();
    let old_address = cluster.seats[2].address.clone();

    cluster.seats[2].kill();
    cluster.seats[2].address = unused_address();
    let new_address = cluster.seats[2].address.clone();
    let after = cluster.seats[2].start();

    assert_eq!((after.node, after.cluster), (before.node.clone(), before.cluster));
    for seat in &cluster.seats {
        eventually(PATIENCE, "everyone to know the new address", || {
            let members = seat.members()?;
            let known = members.iter().find(|member| member.id == before.node);
            let right = members.len() == 3
                && known.is_some_and(|member| member.address == new_address)
                && members.iter().all(|member| member.address != old_address);
            if right { Ok(()) } else { Err(format!("{}: {members:?}", seat.label)) }
        });
    }
    cluster.wait_settled();
    assert_eq!(get(&cluster.seats[2], "before"), "move");
    put(&cluster.seats[2], "after", "move");
    assert_eq!(get(&cluster.seats[0], "after"), "move");
}

#[test]
fn a_node_without_join_resumes_and_never_founds_a_second_cluster() {
    let stage = Stage::new();
    let mut alone = stage.seat("alone");
    let founded = alone.start();
    put(&alone, "here", "before");
    assert_eq!(alone.ask_to_end("TERM").status.code(), Some(0));
    assert_eq!(alone.start(), founded);
    assert_eq!(get(&alone, "here"), "before");
}

#[test]
fn a_member_without_join_finds_its_cluster_again() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &["--partitions=16"]);
    let before: Vec<_> = cluster.seats.iter().map(|seat| seat.ready().clone()).collect();
    cluster.kill_all();
    for seat in &mut cluster.seats {
        seat.set(&[]);
    }
    cluster.start_all();
    let after: Vec<_> = cluster.seats.iter().map(|seat| seat.ready().clone()).collect();
    assert_eq!(after, before);
    cluster.wait_settled();
}

#[test]
fn a_wiped_node_takes_the_place_of_the_one_that_was_at_its_address() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &["--partitions=16"]);
    put(&cluster.seats[0], "kept", "by two");
    let before = cluster.seats[2].ready().clone();
    cluster.seats[2].kill();
    std::fs::remove_dir_all(&cluster.seats[2].data_dir).unwrap();
    let after = cluster.seats[2].start();
    assert_ne!(after.node, before.node, "a wiped node is a new node");
    assert_eq!(after.cluster, before.cluster);
    eventually(PATIENCE, "the wiped member to be gone", || {
        let members = cluster.seats[0].members()?;
        let gone = members.len() == 3 && members.iter().all(|member| member.id != before.node);
        if gone { Ok(()) } else { Err(format!("{members:?}")) }
    });
    cluster.wait_settled();
    assert_eq!(get(&cluster.seats[2], "kept"), "by two");
}

#[track_caller]
fn put(seat: &Seat, key: &str, value: &str) {
    distkv(&["put", key, value, "--endpoints", &seat.address, "--timeout=10"]).ok();
}

#[track_caller]
fn get(seat: &Seat, key: &str) -> String {
    let got = distkv(&["get", key, "--endpoints", &seat.address, "--timeout=10"]).ok();
    got.trim_end_matches('\n').to_owned()
}
