//! One running member of a cluster, in this process.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::client::Client;
use super::fork;
use super::op::{self, Op};
use super::options::CallOptions;
use super::runtime::Runtime;
use super::system;
use crate::node::{self, Status};
use crate::rpc::Peer;
use crate::types::config::NodeConfig;
use crate::types::{ClusterId, Error, Kind, Limits, NodeId, Result};

/// The longest a start takes, whatever its caller asks for.
const LONGEST_START: Duration = Duration::from_secs(24 * 60 * 60);

/// A node: it holds replicas, votes, and serves anyone. Cheap to clone, usable from any thread; it
/// runs until it is closed or its last handle is dropped.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    id: NodeId,
    cluster: ClusterId,
    listen: String,
    address: String,
    peer: Peer,
    limits: Limits,
    closed: watch::Sender<bool>,
    departed: watch::Receiver<bool>,
    handle: Handle,
    generation: u64,
    /// Locked for as long as closing takes.
    life: Mutex<Life>,
}

struct Life {
    running: Option<Running>,
    /// What closing came to.
    closed: Result<()>,
}

struct Running {
    node: node::Node,
    runtime: Arc<Runtime>,
}

impl Node {
    /// Starts a node; finished once it is a member of a cluster and can serve. An operation that fails
    /// leaves nothing running and releases the directory and the port; one that is cancelled does so
    /// within a moment.
    ///
    /// # Errors
    /// `InvalidArgument` (an option out of range, an address in use, a directory in use by another
    /// process, settings other than the cluster's), `WrongCluster` (the directory belongs to another
    /// cluster than the members to join), `Unavailable` (nobody to join answered in time),
    /// `Corruption`, `StorageFull`, `Unsupported`, `Internal`.
    pub fn start(mut config: NodeConfig) -> Op<Node> {
        config.start_timeout = config.start_timeout.min(LONGEST_START);
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
                id: node.id(),
                cluster: node.cluster(),
                listen: node.listen_address().to_string(),
                address: node.address().to_owned(),
                peer: node.peer(),
                limits,
                closed: watch::Sender::new(false),
                departed: node.departed(),
                handle,
                generation: fork::generation(),
                life: Mutex::new(Life { running: Some(Running { node, runtime }), closed: Ok(()) }),
            })))
        })
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> ClusterId {
        self.0.cluster
    }

    /// Where it listens: `host:port`, with the port that was picked if none was asked for.
    pub fn listen_address(&self) -> String {
        self.0.listen.clone()
    }

    /// What others are told to dial.
    pub fn address(&self) -> String {
        self.0.address.clone()
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
        Ok(Client::over(inner.peer.clone(), inner.handle.clone(), inner.limits.clone(), closed))
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

    /// Has this node leave its cluster: what it holds goes to others, then it is removed. Finished once it is
    /// a member no longer, however long that takes; it is to be closed then. Cancelling ends the wait, not the
    /// leaving.
    ///
    /// # Errors
    /// `InvalidArgument` if nobody would be left to hold what it holds; `Unavailable` if that cannot be
    /// decided in time; `Closed`, `Cancelled`.
    pub fn leave(&self) -> Op<()> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return Op::ready(Err(error)),
        };
        let (id, departed, closed) =
            (self.0.id, self.0.departed.clone(), self.0.closed.subscribe());
        Op::spawn(&self.0.handle, async move {
            client.leave(id, CallOptions::default()).await?;
            gone(departed, closed).await
        })
    }

    /// Finished once the node is a member of its cluster no longer, because it left or was removed, whoever
    /// asked for that. It serves nothing from then on, and is to be closed.
    ///
    /// # Errors
    /// `Closed` when it is closed before that, `Cancelled`.
    pub fn departed(&self) -> Op<()> {
        if let Err(error) = self.client() {
            return Op::ready(Err(error));
        }
        let (departed, closed) = (self.0.departed.clone(), self.0.closed.subscribe());
        Op::spawn(&self.0.handle, gone(departed, closed))
    }

    /// Stops the node: no more calls are taken, those under way end, everything acknowledged is on
    /// disk, all threads are gone, and directory and port are free, whoever still holds clients of the
    /// node. Blocks until then. Closing again, or from several threads at once, comes to the same.
    ///
    /// # Errors
    /// What went wrong while closing; the node is closed all the same. `WouldDeadlock` inside a
    /// callback or a task of an asynchronous runtime, which may not block: nothing is closed.
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }
}

async fn gone(
    mut departed: watch::Receiver<bool>,
    mut closed: watch::Receiver<bool>,
) -> Result<()> {
    tokio::select! {
        biased;
        // The node ends with its handle at the latest, and says `closed` before.
        Ok(_) = departed.wait_for(|departed| *departed) => Ok(()),
        _ = closed.wait_for(|closed| *closed) => Err(Error::new(Kind::Closed, "the node is closed")),
    }
}

/// Whether this thread may wait for a node to end: it may be one of the node's own.
fn may_wait() -> bool {
    !op::in_callback() && Handle::try_current().is_err()
}

impl Inner {
    fn close(&self) -> Result<()> {
        fork::check(self.generation)?;
        if !may_wait() {
            return Err(Error::new(
                Kind::WouldDeadlock,
                "a node cannot be closed inside a callback or an asynchronous task",
            ));
        }
        // Whoever comes second waits here for the first.
        let mut life = self.life.lock();
        if let Some(Running { node, runtime }) = life.running.take() {
            self.closed.send_replace(true);
            life.closed = Op::spawn(runtime.handle(), node.stop()).wait();
            drop(runtime);
        }
        match &life.closed {
            Ok(()) => Ok(()),
            Err(error) => Err(error.again()),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if fork::check(self.generation).is_err() {
            // The parent's node: neither its files nor its threads are this process's to touch.
            std::mem::forget(self.life.get_mut().running.take());
            return;
        }
        if !may_wait() {
            // The node ends by itself then: it hands nothing over, but loses nothing either.
            self.closed.send_replace(true);
            drop(self.life.get_mut().running.take());
            return;
        }
        if self.life.get_mut().running.is_some()
            && let Err(error) = self.close()
        {
            tracing::warn!(%error, "node did not close cleanly");
        }
    }
}

#[cfg(test)]
#[path = "node_test.rs"]
mod tests;
