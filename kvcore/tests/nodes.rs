//! Three nodes in one process: the verbs, load, and a node that goes while others work.

// All of this is test code: whatever goes wrong here is a failed test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod cluster;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvcore::api::{CallOptions, Client, ClientOptions};
use kvcore::types::Kind;

use cluster::{Cluster, delete, eventually, get, put};

fn verbs(durable: bool) {
    let cluster = Cluster::start(3, 8, durable);
    for writer in 0..3 {
        for number in 0..16 {
            let (key, value) = (format!("{writer} {number}"), format!("value {number}"));
            assert_eq!(get(&cluster.client(writer), &key).unwrap(), None);
            assert!(put(&cluster.client(writer), &key, &value).unwrap() > 0);
            for reader in 0..3 {
                assert_eq!(get(&cluster.client(reader), &key).unwrap(), Some(value.clone()));
            }
            assert!(delete(&cluster.client((writer + 1) % 3), &key).unwrap());
            assert!(!delete(&cluster.client((writer + 2) % 3), &key).unwrap());
            assert_eq!(get(&cluster.client(writer), &key).unwrap(), None);
        }
    }
    cluster.close();
}

#[test]
fn the_verbs_work_at_every_node_in_memory() {
    verbs(false);
}

#[test]
fn the_verbs_work_at_every_node_on_disk() {
    verbs(true);
}

#[test]
fn what_one_node_acknowledged_every_other_reads() {
    let cluster = Cluster::start(3, 8, false);
    std::thread::scope(|scope| {
        for thread in 0..12 {
            let (writer, reader) = (cluster.client(thread % 3), cluster.client((thread + 1) % 3));
            scope.spawn(move || {
                for round in 0..60 {
                    let (key, value) = (format!("{thread} {}", round % 3), round.to_string());
                    put(&writer, &key, &value).unwrap();
                    assert_eq!(get(&reader, &key).unwrap(), Some(value));
                }
            });
        }
    });
    cluster.close();
}

#[test]
fn a_hundred_clients_at_once() {
    let cluster = Cluster::start(3, 8, true);
    let endpoints = cluster.endpoints();
    let clients: Vec<Client> = (0..100)
        .map(|number| match number % 4 {
            3 => Client::connect(&endpoints, ClientOptions::default()).wait().unwrap(),
            node => cluster.client(node),
        })
        .collect();
    let began = Instant::now();
    for round in 0..20 {
        let value = Bytes::from(round.to_string());
        let key = |number: usize| Bytes::from(format!("client {number}"));
        let puts: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(number, client)| client.put(key(number), value.clone(), CallOptions::default()))
            .collect();
        for put in puts {
            put.wait().unwrap();
        }
        let gets: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(number, client)| client.get(key(99 - number), CallOptions::default()))
            .collect();
        for get in gets {
            assert_eq!(get.wait().unwrap().unwrap().value, value);
        }
    }
    println!("4,000 operations of 100 clients: {:?}", began.elapsed());
    drop(clients);
    cluster.close();
}

#[test]
fn nobody_notices_a_node_that_is_closed() {
    let mut cluster = Cluster::start(3, 8, true);
    let done = AtomicBool::new(false);
    let endpoints = cluster.endpoints();
    let thin = || Client::connect(&endpoints, ClientOptions::default()).wait().unwrap();
    let clients: Vec<Client> =
        (0..9).map(|n| if n % 3 == 2 { thin() } else { cluster.client(n % 3) }).collect();
    let rounds: Vec<AtomicU64> = clients.iter().map(|_| AtomicU64::new(0)).collect();
    // Each client gets some rounds further.
    let go_on = |what: &str| {
        let now = || rounds.iter().map(|made| made.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let before = now();
        eventually(what, || now().iter().zip(&before).all(|(now, before)| *now >= before + 20));
    };
    let acknowledged = std::thread::scope(|scope| {
        let writers: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(number, client)| {
                let (done, made) = (&done, &rounds[number]);
                scope.spawn(move || {
                    let mut last = 0_u64;
                    while !done.load(Ordering::Relaxed) {
                        for key in 0..8 {
                            let value = (last + 1).to_string();
                            put(client, &format!("{number} {key}"), &value).unwrap();
                        }
                        last += 1;
                        made.store(last, Ordering::Relaxed);
                    }
                    last
                })
            })
            .collect();
        go_on("the load begins");
        cluster.stop(2);
        go_on("the load goes on without the node");
        done.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<u64>>()
    });
    for (number, last) in acknowledged.into_iter().enumerate() {
        assert!(last > 0);
        for key in 0..8 {
            let found = get(&cluster.client(0), &format!("{number} {key}")).unwrap();
            assert_eq!(found, Some(last.to_string()));
        }
    }
    // It comes back and has everything.
    cluster.restart(2);
    cluster.settle();
    assert!(get(&cluster.client(2), "0 0").unwrap().is_some());
    drop(clients);
    cluster.close();
}

#[test]
fn closed_handles_say_so() {
    let cluster = Cluster::start(1, 4, false);
    let node = cluster.node(0).clone();
    let (first, second) = (cluster.client(0), cluster.client(0));
    let thin = Client::connect(&node.address(), ClientOptions::default()).wait().unwrap();
    put(&thin, "key", "value").unwrap();
    first.close();
    first.close();
    assert_eq!(put(&first, "key", "other").unwrap_err().kind(), Kind::Closed);
    assert_eq!(get(&second, "key").unwrap(), Some("value".into()));
    node.close().unwrap();
    node.close().unwrap();
    assert_eq!(get(&second, "key").unwrap_err().kind(), Kind::Closed);
    assert_eq!(node.client().err().unwrap().kind(), Kind::Closed);
    assert_eq!(node.status().wait().unwrap_err().kind(), Kind::Closed);
    // A thin client finds nobody any more, within its timeout.
    let options =
        CallOptions { timeout: Some(Duration::from_millis(300)), ..CallOptions::default() };
    let error = thin.get(Bytes::from_static(b"key"), options).wait().unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    thin.close();
    assert_eq!(get(&thin, "key").unwrap_err().kind(), Kind::Closed);
    cluster.close();
}
