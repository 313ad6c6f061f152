//! Optimistic concurrency control, through the door for programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cluster;

use bytes::Bytes;
use cluster::Cluster;
use kvcore::api::{CallOptions, Client, ClientOptions, Kind};

fn if_revision(revision: u64) -> CallOptions {
    CallOptions { if_revision: Some(revision), ..CallOptions::default() }
}

fn if_absent() -> CallOptions {
    CallOptions { if_absent: true, ..CallOptions::default() }
}

#[test]
fn a_condition_is_kept_at_every_node_and_says_what_holds() {
    let cluster = Cluster::start(3, 8, false);
    let thin = Client::connect(&cluster.endpoints(), ClientOptions::default()).wait().unwrap();
    let clients = [cluster.client(0), cluster.client(1), cluster.client(2), thin];
    let (key, value) = (Bytes::from_static(b"key"), Bytes::from_static(b"value"));
    for (number, client) in clients.iter().enumerate() {
        let other = &clients[(number + 1) % clients.len()];
        let put = |client: &Client, options| client.put(key.clone(), value.clone(), options).wait();
        let first = put(client, if_absent()).unwrap();
        let conflict = put(other, if_absent()).unwrap_err();
        assert_eq!((conflict.kind(), conflict.revision()), (Kind::Conflict, Some(first)));
        let second = put(other, if_revision(first)).unwrap();
        let conflict = put(client, if_revision(first)).unwrap_err();
        assert_eq!((conflict.kind(), conflict.revision()), (Kind::Conflict, Some(second)));
        assert!(conflict.to_string().contains(&format!("revision=`{second}`")), "{conflict}");
        let delete = |options| client.delete(key.clone(), options).wait();
        assert_eq!(delete(if_revision(first)).unwrap_err().kind(), Kind::Conflict);
        assert!(delete(if_revision(second)).unwrap());
        assert!(!delete(if_revision(0)).unwrap());
        let both = CallOptions { if_absent: true, ..if_revision(1) };
        assert_eq!(put(client, both).unwrap_err().kind(), Kind::InvalidArgument);
    }
    drop(clients);
    cluster.close();
}

#[test]
fn counters_are_exact_while_a_node_comes_and_goes() {
    const EACH: u64 = 100;
    const COUNTERS: u64 = 10;
    let mut cluster = Cluster::start(3, 8, true);
    let endpoints = cluster.endpoints();
    let thin = || Client::connect(&endpoints, ClientOptions::default()).wait().unwrap();
    let clients: Vec<Client> =
        (0..8).map(|n| if n % 3 == 2 { thin() } else { cluster.client(n % 3) }).collect();
    let counter = |number: u64| Bytes::from(format!("counter {}", number % COUNTERS));
    let number = |value: &[u8]| u64::from_le_bytes(value.try_into().unwrap());
    std::thread::scope(|scope| {
        let incrementing: Vec<_> = clients
            .iter()
            .map(|client| {
                scope.spawn(move || {
                    for made in 0..EACH {
                        let plus_one = move |found: Option<kvcore::api::Entry>| {
                            let before = found.map_or(0, |entry| number(&entry.value));
                            Some(Bytes::copy_from_slice(&(before + 1).to_le_bytes()))
                        };
                        let options = CallOptions {
                            timeout: Some(std::time::Duration::from_secs(60)),
                            ..CallOptions::default()
                        };
                        client.update(counter(made), plus_one, options).wait().unwrap().unwrap();
                    }
                })
            })
            .collect();
        cluster.stop(2);
        cluster.restart(2);
        incrementing.into_iter().for_each(|thread| thread.join().unwrap());
    });
    for made in 0..COUNTERS {
        let entry = clients[0].get(counter(made), CallOptions::default()).wait().unwrap().unwrap();
        assert_eq!(number(&entry.value), EACH / COUNTERS * clients.len() as u64);
    }
    drop(clients);
    cluster.close();
}
