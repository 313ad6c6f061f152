//! Histories of reads and writes by several clients, while nodes come and go, are linearizable.

// All of this is test code: whatever goes wrong here is a failed test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod cluster;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvcore::api::{CallOptions, Client, ClientOptions};
use kvcore::types::Kind;

use cluster::{Cluster, eventually};

/// One operation on one key. Every written value is written once; 0 stands for nothing.
#[derive(Clone, Copy, Debug)]
struct Operation {
    write: bool,
    value: u64,
    invoked: Duration,
    /// The end of time for a write whose outcome is unknown.
    returned: Duration,
}

/// The operations that wrote or read one value.
#[derive(Debug)]
struct Held {
    written: Option<Duration>,
    first_return: Duration,
    last_invocation: Duration,
    first_read: Duration,
}

/// Whether one key's history is that of an atomic register; if not, why. Exact for histories in which
/// no value is written twice: P. Gibbons and E. Korach, *Testing Shared Memories*, 1997, section 4.
fn check(history: &[Operation]) -> Result<(), String> {
    let mut values: BTreeMap<u64, Held> = BTreeMap::new();
    // The key is absent before everything.
    let nothing =
        Operation { write: true, value: 0, invoked: Duration::ZERO, returned: Duration::ZERO };
    for operation in history.iter().chain([&nothing]) {
        let value = values.entry(operation.value).or_insert(Held {
            written: None,
            first_return: Duration::MAX,
            last_invocation: Duration::ZERO,
            first_read: Duration::MAX,
        });
        value.first_return = value.first_return.min(operation.returned);
        value.last_invocation = value.last_invocation.max(operation.invoked);
        match operation.write {
            true => value.written = Some(operation.invoked),
            false => value.first_read = value.first_read.min(operation.returned),
        }
    }
    // A write with an unknown outcome that nobody saw may never have happened.
    values.retain(|_, value| value.first_return < Duration::MAX);
    for (number, value) in &values {
        match value.written {
            None => return Err(format!("{number} was read and never written")),
            Some(written) if value.first_read < written => {
                return Err(format!("{number} was read before it was written"));
            }
            Some(_) => {}
        }
    }
    // From the first return to the last invocation the register held the value, and no other.
    let (held, brief): (Vec<_>, Vec<_>) =
        values.iter().partition(|(_, value)| value.first_return < value.last_invocation);
    let mut held = held;
    held.sort_by_key(|(_, value)| value.first_return);
    for pair in held.windows(2) {
        if pair[1].1.first_return < pair[0].1.last_invocation {
            return Err(format!("{:?} and {:?} were held at once", pair[0], pair[1]));
        }
    }
    for (number, value) in brief {
        let inside = held.iter().find(|(_, other)| {
            other.first_return < value.last_invocation && value.first_return < other.last_invocation
        });
        if let Some(other) = inside {
            return Err(format!("{number} {value:?} while {other:?} was held"));
        }
    }
    Ok(())
}

fn operation(write: bool, value: u64, invoked: u64, returned: u64) -> Operation {
    let at = Duration::from_millis;
    Operation { write, value, invoked: at(invoked), returned: at(returned) }
}

#[test]
fn the_checker_tells_right_from_wrong() {
    let (w, r) = (true, false);
    let right: [&[Operation]; 4] = [
        &[operation(r, 0, 1, 2), operation(w, 1, 3, 4), operation(r, 1, 5, 6)],
        // A read may see either side of a write that it overlaps.
        &[operation(w, 1, 1, 9), operation(r, 0, 2, 3), operation(r, 1, 4, 5)],
        &[
            operation(w, 1, 1, 9),
            operation(w, 2, 1, 9),
            operation(r, 2, 2, 3),
            operation(r, 1, 4, 5),
        ],
        // An unknown outcome may come true late.
        &[
            Operation { returned: Duration::MAX, ..operation(w, 1, 1, 1) },
            operation(w, 2, 2, 3),
            operation(r, 2, 4, 5),
            operation(r, 1, 6, 7),
        ],
    ];
    for history in right {
        check(history).unwrap();
    }
    let wrong: [&[Operation]; 6] = [
        // A stale read, a lost write, a value from nowhere, a value from the future.
        &[operation(w, 1, 1, 2), operation(w, 2, 3, 4), operation(r, 1, 5, 6)],
        &[operation(w, 1, 1, 2), operation(r, 0, 3, 4)],
        &[operation(r, 7, 1, 2)],
        &[operation(r, 1, 1, 2), operation(w, 1, 3, 4)],
        // Back to what had been overwritten.
        &[operation(w, 1, 1, 9), operation(r, 1, 2, 3), operation(r, 0, 4, 5)],
        &[
            operation(w, 1, 1, 9),
            operation(w, 2, 1, 9),
            operation(r, 2, 2, 3),
            operation(r, 1, 4, 5),
            operation(r, 2, 6, 7),
        ],
    ];
    for history in wrong {
        assert!(check(history).is_err(), "{history:?}");
    }
}

#[test]
fn histories_are_linearizable_while_nodes_come_and_go() {
    const KEYS: u64 = 6;
    let mut cluster = Cluster::start(3, 4, true);
    let endpoints = cluster.endpoints();
    // Node 1 stays; the clients of the others would end with them.
    let mut clients: Vec<Client> = (0..4).map(|_| cluster.client(1)).collect();
    clients.extend(
        (0..5).map(|_| Client::connect(&endpoints, ClientOptions::default()).wait().unwrap()),
    );
    let (done, next, start) = (AtomicBool::new(false), AtomicU64::new(1), Instant::now());
    let histories = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(number, client)| {
                let (done, next) = (&done, &next);
                scope.spawn(move || {
                    let mut history = Vec::new();
                    let mut turn = number as u64;
                    while !done.load(Ordering::Relaxed) {
                        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let key = (turn >> 33) % KEYS;
                        let write = (turn >> 40).is_multiple_of(2);
                        history.extend(
                            operate(
                                client,
                                key,
                                write.then(|| next.fetch_add(1, Ordering::Relaxed)),
                                start,
                            )
                            .map(|operation| (key, operation)),
                        );
                    }
                    history
                })
            })
            .collect();
        let go_on = |what: &str| {
            let until = next.load(Ordering::Relaxed) + 300;
            eventually(what, || next.load(Ordering::Relaxed) >= until);
        };
        go_on("writes begin");
        for number in [2, 0] {
            cluster.stop(number);
            go_on("writes go on without the node");
            cluster.restart(number);
            cluster.settle();
        }
        go_on("writes go on with all nodes");
        done.store(true, Ordering::Relaxed);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    println!("{} operations in {:?}", histories.len(), start.elapsed());
    let reads = histories.iter().filter(|(_, operation)| !operation.write).count();
    assert!(reads > 100 && histories.len() - reads > 100, "{reads} of {}", histories.len());
    for key in 0..KEYS {
        let history: Vec<Operation> = histories
            .iter()
            .filter(|(of, _)| *of == key)
            .map(|(_, operation)| *operation)
            .collect();
        check(&history).unwrap_or_else(|why| panic!("key {key}: {why}"));
    }
    drop(clients);
    cluster.close();
}

/// Writes that value, or reads; nothing for what certainly was not done.
fn operate(client: &Client, key: u64, write: Option<u64>, start: Instant) -> Option<Operation> {
    let key = Bytes::from(format!("key {key}"));
    let options = CallOptions { timeout: Some(Duration::from_secs(1)), ..CallOptions::default() };
    let invoked = start.elapsed();
    let done = match write {
        Some(value) => {
            client.put(key, Bytes::from(value.to_string()), options).wait().map(|_| value)
        }
        None => client.get(key, options).wait().map(|entry| {
            entry.map_or(0, |e| String::from_utf8(e.value.to_vec()).unwrap().parse().unwrap())
        }),
    };
    let returned = start.elapsed();
    match done {
        Ok(value) => Some(Operation { write: write.is_some(), value, invoked, returned }),
        Err(error) if error.kind() == Kind::Timeout => {
            write.map(|value| Operation { write: true, value, invoked, returned: Duration::MAX })
        }
        // "Not applied" is a promise, and is held to it: a read of the value would be found out.
        Err(error) => {
            assert_eq!(error.kind(), Kind::Unavailable, "{error}");
            None
        }
    }
}
