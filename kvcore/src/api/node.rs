//! One running member of a cluster, in this process.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::client::Client;
use super::fork;
use super::op::Op;
use super::runtime::Runtime;
use super::system;
use crate::node::{self, Status};
use crate::types::config::NodeConfig;
use crate::types::{ClusterId, Error, Kind, Limits, NodeId, Result};

/// A node: it holds replicas, votes, and serves anyone. Cheap to clone, usable from any thread; it
/// runs until it is closed or its last handle is dropped.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    node: Arc<node::Node>,
    limits: Limits,
    closed: watch::Sender<bool>,
    handle: Handle,
    generation: u64,
    runtime: Mutex<Option<Arc<Runtime>>>,
}

impl Node {
    /// Starts a node; finished once it is a member of a cluster and can serve. An operation that fails
    /// or is cancelled leaves nothing running and releases the directory and the port.
    ///
    /// # Errors
    /// `InvalidArgument` (an option out of range, an address in use, a directory in use by another
    /// process, settings other than the cluster's), `WrongCluster` (the directory belongs to another
    /// cluster than the members to join), `Unavailable` (nobody to join answered in time),
    /// `Corruption`, `StorageFull`, `Unsupported`, `Internal`.
    pub fn start(config: NodeConfig) -> Op<Node> {
        if let Err(error) = config.validate() {
            return Op::ready(Err(error));
        }
        fork::watch();
        if config.data_dir.is_some() {
            fork::has_engine();
        }
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
        let runtime = match Runtime::start("distkv-node", threads) {
            Ok(runtime) => runtime,
            Err(error) => return Op::ready(Err(error)),
        };
        let handle = runtime.handle().clone();
        Op::spawn(&handle.clone(), async move {
            let limits = config.limits.clone();
            let node = node::Node::start(config, system::seam()).await?;
            Ok(Node(Arc::new(Inner {
                node: Arc::new(node),
                limits,
                closed: watch::Sender::new(false),
                handle,
                generation: fork::generation(),
                runtime: Mutex::new(Some(runtime)),
            })))
        })
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.0.node.id()
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> ClusterId {
        self.0.node.cluster()
    }

    /// Where it listens: `host:port`, with the port that was picked if none was asked for.
    pub fn listen_address(&self) -> String {
        self.0.node.listen_address().to_string()
    }

    /// What others are told to dial.
    pub fn address(&self) -> String {
        self.0.node.address().to_owned()
    }

    /// A client over this node: no network between them.
    ///
    /// # Errors
    /// `Closed`.
    pub fn client(&self) -> Result<Client> {
        let inner = &self.0;
        fork::check(inner.generation)?;
        if *inner.closed.borrow() {
            return Err(Error::new(Kind::Closed, "the node is closed"));
        }
        let closed = inner.closed.subscribe();
        Ok(Client::over(inner.node.peer(), inner.handle.clone(), inner.limits.clone(), closed))
    }

    /// What the node knows of itself and its cluster.
    ///
    /// # Errors
    /// `Closed`.
    pub fn status(&self) -> Op<Status> {
        match self.client() {
            Ok(client) => client.status(),
            Err(error) => Op::ready(Err(error)),
        }
    }

    /// Stops the node: no more calls are taken, those under way end, everything acknowledged is on
    /// disk, all threads are gone. Blocks until then. Closing twice is no error.
    ///
    /// # Errors
    /// What went wrong while closing; the node is closed all the same. `WouldDeadlock` inside a
    /// callback: nothing is closed.
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }
}

impl Inner {
    fn close(&self) -> Result<()> {
        fork::check(self.generation)?;
        let runtime = {
            let mut runtime = self.runtime.lock();
            if Handle::try_current().is_ok() {
                // The caller is on a thread of some runtime, perhaps this one, and must not block.
                drop(runtime.take());
                self.closed.send_replace(true);
                return Ok(());
            }
            runtime.take()
        };
        self.closed.send_replace(true);
        let Some(runtime) = runtime else { return Ok(()) };
        let node = self.node.clone();
        let stopped = Op::spawn(runtime.handle(), async move { node.stop().await }).wait();
        drop(runtime);
        stopped
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if fork::check(self.generation).is_err() {
            // The parent's node: neither its files nor its threads are this process's to touch.
            std::mem::forget(self.node.clone());
            return;
        }
        if let Err(error) = self.close() {
            tracing::warn!(%error, "node did not close cleanly");
        }
    }
}
