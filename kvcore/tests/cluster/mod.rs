//! A few nodes in this process, for the tests beside this directory.

// Each test file uses its own part of this. Whatever goes wrong here is a failed test.
#![allow(dead_code, clippy::indexing_slicing, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use kvcore::api::{CallOptions, Client, Node};
use kvcore::types::config::NodeConfig;
use tempfile::TempDir;

/// How long a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Nodes that can be stopped and started again, at their addresses and in their directories.
pub struct Cluster {
    seats: Vec<(NodeConfig, Option<Node>)>,
    _dir: Option<TempDir>,
}

impl Cluster {
    /// Starts that many nodes and waits until every partition is where it should be.
    pub fn start(nodes: usize, partitions: u16, durable: bool) -> Cluster {
        let dir = durable.then(|| tempfile::tempdir().unwrap());
        let mut seats: Vec<(NodeConfig, Option<Node>)> = Vec::new();
        for number in 0..nodes {
            let data_dir = dir.as_ref().map(|dir| dir.path().join(number.to_string()));
            let mut config = NodeConfig { data_dir, ..NodeConfig::default() };
            match seats.first() {
                None => config.founding.partitions = Some(partitions),
                Some((founder, _)) => config.join = vec![founder.listen.clone()],
            }
            let node = Node::start(config.clone()).wait().unwrap();
            config.listen = node.address();
            seats.push((config, Some(node)));
        }
        let cluster = Cluster { seats, _dir: dir };
        cluster.settle();
        cluster
    }

    pub fn node(&self, number: usize) -> &Node {
        self.seats[number].1.as_ref().unwrap()
    }

    /// A new client over one of the nodes: a session of its own.
    pub fn client(&self, number: usize) -> Client {
        self.node(number).client().unwrap()
    }

    /// The addresses of all nodes, running or not.
    pub fn endpoints(&self) -> String {
        let addresses: Vec<&str> = self.seats.iter().map(|(c, _)| c.listen.as_str()).collect();
        addresses.join(",")
    }

    /// Closes a node.
    pub fn stop(&mut self, number: usize) {
        self.seats[number].1.take().unwrap().close().unwrap();
    }

    /// Starts a node that was closed.
    pub fn restart(&mut self, number: usize) {
        let others: Vec<String> = self.seats.iter().map(|(c, _)| c.listen.clone()).collect();
        let (config, node) = &mut self.seats[number];
        config.join = others.into_iter().filter(|address| *address != config.listen).collect();
        *node = Some(Node::start(config.clone()).wait().unwrap());
    }

    /// Waits until all running nodes agree that nothing is missing, moving or without a leader.
    pub fn settle(&self) {
        let running: Vec<&Node> = self.seats.iter().filter_map(|(_, node)| node.as_ref()).collect();
        eventually("the cluster settles", || {
            running.iter().all(|node| {
                let Ok(status) = node.status().wait() else { return false };
                let open = status.moves + status.under_replicated + status.leaderless;
                open + status.lagging == 0
                    && node.client().unwrap().members().wait().unwrap().len() == self.seats.len()
            })
        });
    }

    pub fn close(mut self) {
        for (_, node) in self.seats.drain(..).rev() {
            if let Some(node) = node {
                node.close().unwrap();
            }
        }
    }
}

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn put(client: &Client, key: &str, value: &str) -> kvcore::types::Result<u64> {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
    client.put(key, value, CallOptions::default()).wait()
}

pub fn get(client: &Client, key: &str) -> kvcore::types::Result<Option<String>> {
    let entry = client.get(Bytes::from(key.to_owned()), CallOptions::default()).wait()?;
    Ok(entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap()))
}

pub fn delete(client: &Client, key: &str) -> kvcore::types::Result<bool> {
    client.delete(Bytes::from(key.to_owned()), CallOptions::default()).wait()
}
