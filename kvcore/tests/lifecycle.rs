//! Nodes that are opened, closed and given up, again and again, in one process.

// All of this is test code: whatever goes wrong here is a failed test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod cluster;

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use kvcore::api::{Client, ClientOptions, Node};
use kvcore::types::Kind;
use kvcore::types::config::NodeConfig;

use cluster::{eventually, get, put};

fn config(dir: &Path, listen: &str) -> NodeConfig {
    let (data_dir, listen) = (Some(dir.to_owned()), listen.to_owned());
    let mut config = NodeConfig { data_dir, listen, ..NodeConfig::default() };
    config.founding.partitions = Some(4);
    config
}

/// A port that nobody listens on.
fn unused_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

// One test, since threads and files are counted for the whole process.
#[test]
fn nothing_is_left_of_closed_and_abandoned_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let address = unused_address();
    opened_and_closed(dir.path(), &address);
    given_up_while_joining_nobody(dir.path());
    given_up_while_starting(dir.path());
}

fn opened_and_closed(dir: &Path, address: &str) {
    let dir = dir.join("closed");
    let round = |number: u32| {
        let node = Node::start(config(&dir, address)).wait().unwrap();
        assert_eq!(node.address(), address);
        let client = node.client().unwrap();
        if number > 0 {
            assert_eq!(get(&client, "round").unwrap(), Some((number - 1).to_string()));
        }
        put(&client, "round", &number.to_string()).unwrap();
        let thin = Client::connect(address, ClientOptions::default()).wait().unwrap();
        assert_eq!(get(&thin, "round").unwrap(), Some(number.to_string()));
        // In any order.
        if number.is_multiple_of(2) {
            thin.close();
            node.close().unwrap();
        } else {
            node.close().unwrap();
            drop((client, thin));
        }
    };
    // The first round makes what stays for the process, such as RocksDB's own threads.
    round(0);
    let before = threads();
    for number in 1..=20 {
        round(number);
    }
    eventually("all threads have ended", || threads() <= before);
}

fn given_up_while_joining_nobody(dir: &Path) {
    let (dir, address) = (dir.join("lonely"), unused_address());
    for _ in 0..5 {
        let lonely = NodeConfig { join: vec![unused_address()], ..config(&dir, &address) };
        let start = Node::start(lonely);
        let started = start.wait_for(Duration::from_millis(150));
        start.cancel();
        let kind = started.unwrap_or_else(|| start.wait()).err().unwrap().kind();
        // The port may take a moment to be let go of by the one before.
        assert!(matches!(kind, Kind::Cancelled | Kind::InvalidArgument), "{kind:?}");
    }
    // What was used to join is not used to found, unless that is asked for.
    let found = config(&dir, &address);
    start_soon(NodeConfig { bootstrap: true, ..found }).close().unwrap();
}

fn given_up_while_starting(dir: &Path) {
    let (dir, address) = (dir.join("impatient"), unused_address());
    start_soon(config(&dir, &address)).close().unwrap();
    let (threads_before, files_before) = (threads(), files());
    for milliseconds in 0..40 {
        let start = Node::start(config(&dir, &address));
        let started = start.wait_for(Duration::from_millis(milliseconds * 2));
        start.cancel();
        match started.unwrap_or_else(|| start.wait()) {
            Ok(node) => node.close().unwrap(),
            Err(error) => assert_eq!(error.kind(), Kind::Cancelled, "{error}"),
        }
        eventually("everything is let go of", || {
            threads() <= threads_before && files() <= files_before
        });
    }
    let node = start_soon(config(&dir, &address));
    let client = node.client().unwrap();
    put(&client, "key", "value").unwrap();
    node.close().unwrap();
    drop((node, client));
    eventually("all threads have ended", || threads() <= threads_before);
    eventually("all files are closed", || files() <= files_before);
}

/// Starts a node where another was given up, which lets go of its directory and port within a moment.
fn start_soon(config: NodeConfig) -> Node {
    let mut node = None;
    eventually("the directory and the port are free", || {
        match Node::start(config.clone()).wait() {
            Ok(started) => {
                node = Some(started);
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
                false
            }
        }
    });
    node.unwrap()
}
