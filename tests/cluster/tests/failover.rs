//! A cluster of three goes on when any one of its nodes dies.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use cluster::{Cluster, Stage, connect, distkv, eventually};
use kvcore::api::{CallOptions, Client};

/// How long reads and writes may pause when a node dies.
const PAUSE: Duration = Duration::from_secs(5);

#[test]
fn what_is_put_at_one_node_is_got_at_another() {
    let stage = Stage::new();
    let cluster = Cluster::of(&stage, 3, &[]);
    let at = |nth: usize| format!("--endpoints={}", cluster.seats[nth].address);

    let revision = distkv(&["put", "fruit", "apple", &at(0)]).ok();
    assert!(revision.trim().parse::<u64>().unwrap() > 0, "{revision}");
    assert_eq!(distkv(&["get", "fruit", &at(1)]).ok(), "apple\n");
    assert_eq!(distkv(&["get", "fruit", &at(2)]).ok(), "apple\n");

    assert_eq!(distkv(&["put", "fruit", "pear", &at(2)]).code, Some(0));
    assert_eq!(distkv(&["get", "fruit", &at(0)]).ok(), "pear\n");

    assert_eq!(distkv(&["delete", "fruit", &at(1)]).ok(), "deleted\n");
    assert_eq!(distkv(&["delete", "fruit", &at(0)]).ok(), "absent\n");
    let gone = distkv(&["get", "fruit", &at(2)]);
    assert_eq!((gone.code, gone.stdout.as_str()), (Some(1), ""));
}

#[test]
fn any_one_node_may_be_killed() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &[]);
    put_round(&connect(&cluster.endpoints()).unwrap(), 0).unwrap();

    for victim in 0..3 {
        let round = victim + 1;
        cluster.seats[victim].kill();
        let killed = Instant::now();
        // One client is new, as in a process that starts now. It finds its way without the dead node.
        let endpoints = cluster.live_endpoints();
        eventually(PAUSE, &format!("reads and writes without node-{victim}"), || {
            let client = connect(&endpoints).map_err(|error| format!("{error:?}"))?;
            check_round(&client, round - 1)?;
            put_round(&client, round)?;
            check_round(&client, round)
        });
        let pause = killed.elapsed();
        assert!(pause <= PAUSE, "reads and writes took {pause:?} to go on without node-{victim}");

        cluster.seats[victim].start();
        cluster.wait_settled();
    }
}

#[test]
fn a_client_that_was_connected_before_goes_on() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &[]);
    let client = connect(&cluster.endpoints()).unwrap();
    put_round(&client, 0).unwrap();
    cluster.seats[1].kill();
    let killed = Instant::now();
    eventually(PAUSE, "reads and writes of a client that knew the dead node", || {
        put_round(&client, 1)?;
        check_round(&client, 1)
    });
    let pause = killed.elapsed();
    assert!(pause <= PAUSE, "it took {pause:?}");
}

/// Enough keys that nearly every one of 64 partitions has some.
fn keys() -> impl Iterator<Item = String> {
    (0..200).map(|nth| format!("key-{nth}"))
}

fn put_round(client: &Client, round: usize) -> Result<(), String> {
    let puts: Vec<_> = keys()
        .map(|key| client.put(key.into(), round.to_string().into(), CallOptions::default()))
        .collect();
    puts.into_iter()
        .try_for_each(|put| put.wait().map(|_| ()))
        .map_err(|error| format!("put: {error:?}"))
}

fn check_round(client: &Client, round: usize) -> Result<(), String> {
    let gets: Vec<_> =
        keys().map(|key| (key.clone(), client.get(key.into(), CallOptions::default()))).collect();
    for (key, get) in gets {
        let entry = get.wait().map_err(|error| format!("get: {error:?}"))?;
        let value = entry.map(|entry| entry.value);
        // A round that failed half way and is tried again has written some keys already.
        let next = round.saturating_add(1).to_string();
        let right = [round.to_string(), next];
        if !value.as_ref().is_some_and(|value| right.iter().any(|right| right.as_bytes() == value))
        {
            return Err(format!("{key} has {value:?} in round {round}"));
        }
    }
    Ok(())
}
