use std::fs::File;
use std::path::Path;
use std::sync::Barrier;
use std::sync::mpsc;
use std::time::Instant;

use bytes::Bytes;

use super::*;
use crate::api::CallOptions;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
const KEY: Bytes = Bytes::from_static(b"key");

fn config(dir: &Path) -> NodeConfig {
    let mut config = NodeConfig {
        listen: "127.0.0.1:0".into(),
        data_dir: Some(dir.to_owned()),
        ..NodeConfig::default()
    };
    config.founding.partitions = Some(4);
    config
}

fn put(client: &Client, value: &str) -> Op<u64> {
    client.put(KEY, Bytes::from(value.to_owned()), CallOptions::default())
}

fn get(client: &Client) -> Option<Bytes> {
    client.get(KEY, CallOptions::default()).wait().unwrap().map(|entry| entry.value)
}

#[test]
fn a_closed_node_lets_go_of_its_directory_whoever_holds_clients() {
    let dir = tempfile::tempdir().unwrap();
    let mut held = Vec::new();
    for round in 0..5 {
        let node = Node::start(config(dir.path())).wait().unwrap();
        let client = node.client().unwrap();
        if round > 0 {
            assert_eq!(get(&client), Some(Bytes::from(format!("{}", round - 1))));
        }
        put(&client, &round.to_string()).wait().unwrap();
        // Calls under way when the node is closed hold on to it as well, until they end.
        let calls: Vec<Op<u64>> = (0..20).map(|_| put(&client, &round.to_string())).collect();
        node.close().unwrap();
        held.push((node, client, calls));
    }
}

#[test]
fn close_inside_a_callback_closes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path())).wait().unwrap();
    let client = node.client().unwrap();
    let (say, heard) = mpsc::channel();
    // On a thread of the node, or, for what is over already, on this one.
    for over in [false, true] {
        let op = put(&client, "1");
        while over && !op.is_ready() {
            std::thread::yield_now();
        }
        let (inner, say) = (node.clone(), say.clone());
        op.on_ready(move || say.send(inner.close()).unwrap());
        let closed = heard.recv_timeout(PATIENCE).unwrap();
        assert_eq!(closed.unwrap_err().kind(), Kind::WouldDeadlock);
        assert_eq!(get(&client), Some(Bytes::from_static(b"1")));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let closed = runtime.block_on(async { node.close() });
    assert_eq!(closed.unwrap_err().kind(), Kind::WouldDeadlock);
    assert_eq!(get(&client), Some(Bytes::from_static(b"1")));
    node.close().unwrap();
    node.close().unwrap();
}

#[test]
fn a_second_close_waits_for_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path())).wait().unwrap();
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                barrier.wait();
                node.close().unwrap();
                let lock = File::open(dir.path().join("LOCK")).unwrap();
                lock.try_lock_shared().unwrap();
            });
        }
    });
}

#[test]
fn the_last_handle_may_be_dropped_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(config(dir.path())).wait().unwrap();
    let op = put(&node.client().unwrap(), "1");
    let (say, heard) = mpsc::channel();
    op.on_ready(move || {
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(node)));
        say.send(dropped.is_ok()).unwrap();
    });
    assert!(heard.recv_timeout(PATIENCE).unwrap());
    // It ends by itself, within a moment.
    let deadline = Instant::now() + PATIENCE;
    let node = loop {
        match Node::start(config(dir.path())).wait() {
            Ok(node) => break node,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert_eq!(get(&node.client().unwrap()), Some(Bytes::from_static(b"1")));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { drop(node) });
}

#[test]
fn an_endless_timeout_is_a_long_one() {
    let dir = tempfile::tempdir().unwrap();
    let start = NodeConfig { start_timeout: Duration::MAX, ..config(dir.path()) };
    let node = Node::start(start).wait().unwrap();
    let client = node.client().unwrap();
    let options = CallOptions { timeout: Some(Duration::MAX), ..CallOptions::default() };
    client.put(KEY, Bytes::from_static(b"1"), options).wait().unwrap();
    node.close().unwrap();
}
