//! What all parts of a running node share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::host::Host;
use super::space::Space;
use super::storage::Storage;
use super::vitals::Vitals;
use crate::metadata::{Change, Decision, Metadata, State};
use crate::rpc::Pool;
use crate::rpc::message::{self, reply, request};
use crate::types::config::NodeConfig;
use crate::types::{ClusterId, Error, Kind, NodeId, PartitionId, Result};

/// A running node, as its parts see it.
pub(super) struct Core {
    pub(super) node: NodeId,
    pub(super) cluster: ClusterId,
    pub(super) address: String,
    pub(super) config: NodeConfig,
    pub(super) pool: Pool,
    pub(super) storage: Arc<Storage>,
    pub(super) space: Space,
    /// How each member with a link was when it was last asked.
    pub(super) vitals: Mutex<BTreeMap<NodeId, Vitals>>,
    /// About how many bytes each replica here takes, when it was last looked.
    pub(super) sizes: Mutex<BTreeMap<PartitionId, u64>>,
    /// Whether this node is about to end, and leads nothing more.
    pub(super) stopping: AtomicBool,
    /// Whether this node is a member no longer.
    pub(super) departed: watch::Sender<bool>,
    pub(super) metadata: Metadata,
    pub(super) host: Host,
}

impl Core {
    /// The newest map here.
    pub(super) fn state(&self) -> Arc<State> {
        self.metadata.state()
    }

    /// The members with a live link, and this node.
    pub(super) fn reachable(&self) -> BTreeSet<NodeId> {
        let mut reachable = self.pool.linked().borrow().clone();
        reachable.insert(self.node);
        reachable
    }

    /// The members that can be reached and have room, this node not among them.
    pub(super) fn roomy(&self) -> BTreeSet<NodeId> {
        let mut roomy = self.pool.linked().borrow().clone();
        let vitals = self.vitals.lock();
        let full = |node: &NodeId| vitals.get(node).is_some_and(|vitals| vitals.full);
        roomy.retain(|node| *node != self.node && !full(node));
        roomy
    }

    /// Bytes a second that this node sends of replicas.
    pub(super) fn move_rate(&self) -> u64 {
        let own = self.config.storage.snapshot_rate;
        match self.state().tuning.move_rate {
            0 => own,
            rate => own.min(rate),
        }
    }

    /// Gets a change decided, here or at the node that leads the metadata group.
    ///
    /// # Errors
    /// `Unavailable` if nobody is known to lead it; else as [`Metadata::decide`].
    pub(super) async fn decide(&self, change: &Change, timeout: Duration) -> Result<Decision> {
        if self.metadata.group().leads() {
            let decided = tokio::time::timeout(timeout, self.metadata.decide(change)).await;
            return decided.unwrap_or_else(|_| {
                Err(Error::new(Kind::Timeout, "the change was not decided in time")
                    .with("timeout_ms", timeout.as_millis()))
            });
        }
        let leader = match self.metadata.group().leader() {
            Some((_, node)) if node != self.node => node,
            _ => {
                return Err(Error::new(Kind::Unavailable, "the metadata group has no leader"));
            }
        };
        let propose = message::Propose { command: change.encode()? };
        match self.pool.node(leader).call(request::Body::Propose(propose), timeout).await? {
            reply::Body::Proposed(proposed) => Decision::decode(&proposed.outcome)?.into_result(),
            _ => Err(Error::internal("a change was answered with something else")),
        }
    }
}
