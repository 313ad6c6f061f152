//! Who leads next when a node is gone.
//!
//! A lost node is noticed once, by its link, and not by each of its groups. For each partition that it
//! led, the first of the other replicas asks to be elected as soon as the dead leader's lease has run
//! out. Since only one asks, no votes are split; the groups' own timers stay as the second line. A node
//! that lost only its own link asks in vain: the others still hear from the leader and refuse the
//! pre-vote (Ongaro's thesis, section 9.6).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::core::Core;
use crate::partition::Replica;
use crate::placement;
use crate::types::{NodeId, PartitionId};

/// How often it is looked whether a lease has run out.
const PERIOD: Duration = Duration::from_millis(50);
/// How long a replica that asked waits before it asks again.
const REST: Duration = Duration::from_millis(600);

/// Runs until it is dropped.
pub(super) async fn run(core: Arc<Core>) {
    let lease = core.config.timers.election_max;
    let mut linked = core.pool.linked();
    let mut lost = BTreeMap::<NodeId, Instant>::new();
    let mut asked = BTreeMap::<PartitionId, Instant>::new();
    loop {
        let state = core.state();
        let reachable = core.reachable();
        let gone = state.members.keys().filter(|node| !reachable.contains(node));
        lost = gone
            .map(|node| (*node, lost.get(node).copied().unwrap_or_else(Instant::now)))
            .collect();
        asked.retain(|_, since| since.elapsed() < REST);
        if lost.is_empty() {
            // Nothing to wait for but the loss of a link. The channel ends with the node.
            if linked.changed().await.is_err() {
                return;
            }
            continue;
        }
        for replica in core.host.replicas() {
            let partition = replica.partition();
            let expired = leader(&core, &replica)
                .and_then(|node| lost.get(&node))
                .is_some_and(|since| since.elapsed() >= lease);
            if expired && !asked.contains_key(&partition) && first(&core, &replica) {
                asked.insert(partition, Instant::now());
                if let Err(error) = replica.group().campaign().await {
                    tracing::debug!(%partition, %error, "the replica cannot ask to be elected");
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// The node that leads a partition, as far as its replica here knows, unless that is this one.
fn leader(core: &Core, replica: &Replica) -> Option<NodeId> {
    let (_, node) = replica.group().leader()?;
    (node != core.node).then_some(node)
}

/// Whether the replica is the first of those that can be reached: the preferred one, else that with
/// the lowest id.
fn first(core: &Core, replica: &Replica) -> bool {
    let (state, reachable) = (core.state(), core.reachable());
    let Some(assignment) = state.table.assignment(replica.partition()) else { return false };
    let voters = replica.group().voters().voters;
    let rank = |other: &&placement::Replica| (assignment.preferred != Some(other.node), other.id);
    assignment
        .replicas
        .iter()
        .filter(|other| reachable.contains(&other.node) && voters.contains(&other.id))
        .min_by_key(rank)
        .is_some_and(|heir| heir.id == replica.id())
}
