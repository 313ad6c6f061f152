//! When a node is given up, and when it is not: one that is back soon has everything still, one that is back
//! late starts over, half of the nodes are never given up at once, and one that was removed is never let in again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::{Cluster, Load, Plan, Stage, connect, eventually, patient, throughout};
use kvcore::api::{CallOptions, Kind, Retune};

const EVEN: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: &str = "--partitions=16";
const COPIES: usize = 3;

/// That many nodes that joined one after the other, so that the last ones do not vote on metadata: of four
/// nodes the first three do, of six the first five.
#[track_caller]
fn nodes(stage: &Stage, count: usize, partitions: &str) -> Cluster {
    let mut cluster = Cluster::of(stage, 1, &[partitions]);
    for nth in 1..count {
        cluster.add(stage.seat(&format!("node-{nth}")), &[partitions]);
    }
    cluster.wait_even(EVEN);
    cluster
}

fn dead_after(milliseconds: u64) -> Retune {
    Retune { dead_node_timeout_ms: Some(milliseconds), ..Retune::default() }
}

fn load(cluster: &Cluster, prefix: &str) -> Load {
    Load::start(patient(&cluster.endpoints()), Plan::endless(prefix))
}

/// How the members there are, by their states.
fn states(cluster: &Cluster) -> Result<BTreeMap<String, usize>, String> {
    let mut states = BTreeMap::new();
    for node in cluster.ring()?.nodes {
        *states.entry(node.state).or_default() += 1;
    }
    Ok(states)
}

/// The replicas of partitions on a stopped node.
#[track_caller]
fn partitions(cluster: &Cluster, seat: usize) -> BTreeMap<String, u64> {
    let mut replicas = cluster.seats[seat].replicas();
    assert!(replicas.remove("metadata").is_some(), "{replicas:?}");
    replicas
}

#[test]
fn who_is_back_soon_has_everything_still() {
    let stage = Stage::new();
    let mut cluster = nodes(&stage, 4, PARTITIONS);
    let load = load(&cluster, "soon");
    cluster.tune(dead_after(60_000));
    let epoch = cluster.ring().unwrap().epoch;
    let mut before = None;
    for _ in 0..3 {
        load.wait_for_more(50, PATIENCE);
        cluster.seats[3].kill();
        let held = partitions(&cluster, 3);
        assert_eq!(
            before.get_or_insert_with(|| held.clone()),
            &held,
            "the same under the same ids"
        );
        eventually(PATIENCE, "it to be missed", || match states(&cluster)? {
            states if states.get("down") == Some(&1) => Ok(()),
            states => Err(format!("{states:?}")),
        });
        throughout(Duration::from_secs(2), "nothing moves", || {
            let ring = cluster.ring()?;
            if ring.moves.is_empty() { Ok(()) } else { Err(format!("{:?}", ring.moves)) }
        });
        cluster.seats[3].start();
        cluster.wait_even(EVEN);
    }
    assert_eq!(cluster.ring().unwrap().epoch, epoch, "the map is as it was");
    let ledger = load.stop();
    ledger.check(&patient(&cluster.seats[3].address)).unwrap();
}

#[test]
fn who_is_back_late_gives_up_what_it_had_and_gets_a_new_share() {
    let stage = Stage::new();
    let mut cluster = nodes(&stage, 4, PARTITIONS);
    let load = load(&cluster, "late");
    load.wait_for_more(100, PATIENCE);
    cluster.tune(dead_after(2000));
    let member = cluster.seats[3].ready().clone();
    cluster.seats[3].kill();
    let before = partitions(&cluster, 3);
    eventually(PATIENCE, "it to be given up", || match states(&cluster)? {
        states if states.get("dead") == Some(&1) => Ok(()),
        states => Err(format!("{states:?}")),
    });
    let took = cluster.wait_even(EVEN);
    println!("what it held is elsewhere {took:.1?} after it was given up");
    load.wait_for_more(100, PATIENCE);

    assert_eq!(cluster.seats[3].start(), member, "it is the same member");
    let took = cluster.wait_even(EVEN);
    println!("it has its share again {took:.1?} after it is back");
    let placed = cluster.load_of(3).unwrap().unwrap().replicas;
    let ledger = load.stop();
    ledger.check(&patient(&cluster.seats[3].address)).unwrap();
    let exit = cluster.seats[3].ask_to_end("TERM");
    assert_eq!(exit.status.code(), Some(0), "{exit:?}");
    let after = partitions(&cluster, 3);
    assert_eq!(after.len(), placed, "nothing else is left on its disk: {after:?}");
    let ids = |replicas: BTreeMap<String, u64>| replicas.into_values().collect::<BTreeSet<_>>();
    let kept: Vec<_> = ids(before).intersection(&ids(after)).copied().collect();
    assert!(kept.is_empty(), "{kept:?} took no part in what was agreed on meanwhile");
}

#[test]
fn half_of_the_nodes_are_not_given_up_unless_that_is_asked_for() {
    let stage = Stage::new();
    // Enough of them that those that cannot be made whole would take all the places of those that can.
    let mut cluster = nodes(&stage, 6, "--partitions=64");
    let load = load(&cluster, "half");
    load.wait_for_more(100, PATIENCE);
    let ledger = load.stop();
    cluster.tune(dead_after(2000));
    // Of the five that vote on metadata three stay.
    let gone = [3, 4, 5];
    gone.iter().for_each(|nth| cluster.seats[*nth].kill());
    // In how many of the directories that are gone each partition is.
    let mut lost = BTreeMap::<String, usize>::new();
    for nth in gone {
        partitions(&cluster, nth).into_keys().for_each(|one| *lost.entry(one).or_default() += 1);
    }
    let counts = [1, 2, 3].map(|count| lost.values().filter(|lost| **lost == count).count());
    println!("partitions that have lost one, two and three replicas: {counts:?}");
    eventually(PATIENCE, "them to be missed", || match states(&cluster)? {
        states if states.get("down") == Some(&3) => Ok(()),
        states => Err(format!("{states:?}")),
    });
    throughout(Duration::from_secs(6), "nothing is given up", || {
        let (ring, states) = (cluster.ring()?, states(&cluster)?);
        let still = ring.moves.is_empty() && !states.contains_key("dead");
        if still { Ok(()) } else { Err(format!("{states:?}, {:?}", ring.moves)) }
    });

    cluster.tune(Retune { max_dead_milli: Some(1001), ..Retune::default() });
    // Where a majority is left a third replica comes to the one node that has none; elsewhere nobody can tell
    // what was agreed on, and what is gone must come back.
    let hopeless: Vec<_> = lost.values().filter(|lost| **lost * 2 > COPIES).collect();
    let stuck: usize = hopeless.iter().copied().sum();
    eventually(PATIENCE, "all that can be to be made anew", || {
        let states = states(&cluster)?;
        let nodes = cluster.ring()?.nodes;
        let dead = nodes.iter().filter(|node| node.state == "dead");
        let there: usize = dead.map(|node| node.replicas).sum();
        let lacking = cluster.seats[0].status()?.under_replicated;
        let done = states.get("dead") == Some(&3) && there == stuck && lacking == hopeless.len();
        if done {
            Ok(())
        } else {
            Err(format!("{states:?}, {there} for {stuck}, {lacking} lacking"))
        }
    });

    cluster.seats[3..].iter_mut().for_each(cluster::Seat::begin);
    cluster.seats[3..].iter_mut().for_each(|seat| drop(seat.finish()));
    cluster.wait_even(EVEN);
    for seat in &cluster.seats {
        ledger.check(&patient(&seat.address)).unwrap();
    }
}

#[test]
fn only_who_is_gone_can_be_removed_and_no_majority_with_it() {
    let stage = Stage::new();
    let mut cluster = nodes(&stage, 4, PARTITIONS);
    let load = load(&cluster, "removed");
    load.wait_for_more(100, PATIENCE);
    let error = cluster.remove(3, false).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument, "it is up: {error}");
    cluster.seats[3].kill();
    cluster.seats[2].kill();
    // The two of them hold two of three replicas of some partitions.
    eventually(PATIENCE, "both to be missed", || match states(&cluster)? {
        states if states.get("down") == Some(&2) => Ok(()),
        states => Err(format!("{states:?}")),
    });
    let error = cluster.remove(3, false).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument, "too much would be lost: {error}");
    assert!(cluster.load_of(3).unwrap().is_some(), "nothing was done");
    cluster.seats[2].start();
    eventually(PATIENCE, "the third to be back", || match states(&cluster)? {
        states if states.get("up") == Some(&3) => Ok(()),
        states => Err(format!("{states:?}")),
    });
    cluster.remove(3, false).unwrap();
    cluster.remove(3, false).expect("asked again, it is so already");
    cluster.wait_even(EVEN);
    assert!(cluster.load_of(3).unwrap().is_none());
    load.wait_for_more(50, PATIENCE);
    let ledger = load.stop();
    ledger.check(&patient(&cluster.live_endpoints())).unwrap();

    // On its old directory it is told so.
    cluster.seats[3].refuse().assert_refused("InvalidArgument", &["removed"]);
    // Nor does it make up a majority with one that remembers it: two of the old four nodes, or one of three.
    cluster.kill_all();
    cluster.seats[0].begin();
    cluster.seats[3].begin();
    throughout(Duration::from_secs(8), "nothing can be read", || {
        let Ok(client) = connect(&cluster.seats[0].address) else { return Ok(()) };
        let key = ledger.acknowledged[0].clone();
        let found = client.get(key.into(), CallOptions::default()).wait();
        client.close();
        if found.is_err() { Ok(()) } else { Err(format!("{found:?}")) }
    });
    for seat in &mut cluster.seats[1..3] {
        seat.begin();
    }
    for seat in &mut cluster.seats[..3] {
        seat.finish();
    }
    let exit = cluster.seats[3].wait_exit(PATIENCE);
    exit.assert_refused("InvalidArgument", &["removed"]);
    cluster.wait_even(EVEN);
    for seat in cluster.live() {
        ledger.check(&patient(&seat.address)).unwrap();
    }

    // With an empty directory it is a new node, as any other.
    std::fs::remove_dir_all(&cluster.seats[3].data_dir).unwrap();
    cluster.seats[3].start();
    cluster.wait_even(EVEN);
    ledger.check(&patient(&cluster.seats[3].address)).unwrap();
}
