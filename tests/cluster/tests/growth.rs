//! A cluster grows under load: every node that comes gets its share, and nothing is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use cluster::{Cluster, Load, Plan, Seat, Stage, connect, distkv, eventually};
use kvcore::api::{Client, ClientOptions, MemberStatus, Status};

/// How long the moves after a join may take, under load, in a debug build.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn replicas_follow_the_nodes_under_load() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 1, &[]);
    let founder = cluster.seats[0].address.clone();
    let client = Client::connect(&founder, ClientOptions::default()).wait().unwrap();
    let load = Load::start(client, Plan::endless("growth"));
    wait_for_shares(&cluster, &[64..=64]);

    let join = format!("--join={founder}");
    for (nth, shares) in [
        vec![64..=64, 64..=64],
        vec![64..=64, 64..=64, 64..=64],
        // 48 is the fair share of 192 replicas on 4 nodes; nobody holds more than 1.1 times that and
        // one more, so that the newcomer has at least what the others leave.
        vec![33..=53, 33..=53, 33..=53, 33..=53],
    ]
    .into_iter()
    .enumerate()
    {
        load.wait_for_more(50, PATIENCE);
        let mut seat = stage.seat(&format!("node-{}", nth + 1)).with(&[&join]);
        seat.start();
        cluster.seats.push(seat);
        wait_for_shares(&cluster, &shares);
    }
    load.wait_for_more(50, PATIENCE);
    let ledger = load.stop();
    for seat in &cluster.seats {
        ledger.check(&connect(&seat.address).unwrap()).unwrap();
    }
}

#[test]
fn what_a_newcomer_holds_is_there_when_the_others_are_fewer() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 1, &["--partitions=16"]);
    let founder = cluster.seats[0].address.clone();
    let client = Client::connect(&founder, ClientOptions::default()).wait().unwrap();
    let plan = Plan { count: Some(500), ..Plan::endless("early") };
    let ledger = Load::start(client, plan).join();
    assert!(ledger.failed.is_empty(), "{:?}", ledger.failed);

    for nth in 1..3 {
        let mut seat = stage.seat(&format!("node-{nth}")).with(&["--join", &founder]);
        seat.start();
        cluster.seats.push(seat);
    }
    cluster.wait_settled();
    // The only node that ever had the writes in its own log goes: the newcomers have them too.
    cluster.seats[0].kill();
    eventually(Duration::from_secs(10), "the newcomers to have everything", || {
        let client = connect(&cluster.live_endpoints()).map_err(|error| format!("{error:?}"))?;
        ledger.check(&client)
    });
}

/// Waits until each member holds a number of replicas in its range, in any order, every node says the
/// same, no move is under way and no partition lacks a replica that it could have.
#[track_caller]
fn wait_for_shares(cluster: &Cluster, shares: &[std::ops::RangeInclusive<usize>]) {
    let what = format!("{} nodes to share the replicas", shares.len());
    eventually(PATIENCE, &what, || {
        for seat in &cluster.seats {
            let status: Status = told(seat, "status")?;
            let members: Vec<MemberStatus> = told(seat, "members")?;
            let replicas: Vec<_> = members.iter().map(|member| member.replicas).collect();
            let settled = status.under_replicated + status.moves + status.leaderless == 0;
            let shared = replicas.len() == shares.len()
                && replicas.iter().zip(shares).all(|(replicas, share)| share.contains(replicas));
            let total: usize = replicas.iter().sum();
            if !settled || !shared || total != 64 * shares.len().min(3) {
                return Err(format!("{}: {replicas:?}, {status:?}", seat.label));
            }
            let own = members.iter().find(|member| member.id == status.node);
            if own.is_none_or(|own| own.replicas != status.replicas) {
                return Err(format!("{} holds {}, not as placed", seat.label, status.replicas));
            }
        }
        Ok(())
    });
}

fn told<T: serde::de::DeserializeOwned>(seat: &Seat, verb: &str) -> Result<T, String> {
    let ran = distkv(&[verb, "--json", "--endpoints", &seat.address, "--timeout=2"]);
    serde_json::from_str(&ran.stdout).map_err(|error| format!("{verb}: {error}; {ran:?}"))
}
