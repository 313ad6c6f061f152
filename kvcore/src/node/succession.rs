//! Who leads next when a node is gone.
//!
//! A lost node is noticed once, by its link, and not by each of its groups. For each group that it
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
use crate::raft::Group;
use crate::types::{GroupId, NodeId};

/// How often it is looked whether a lease has run out.
const PERIOD: Duration = Duration::from_millis(50);
/// How long a replica that asked waits before it asks again.
const REST: Duration = Duration::from_millis(600);

/// Runs until it is dropped.
pub(super) async fn run(core: Arc<Core>) {
    let lease = core.config.timers.election_max;
    let mut linked = core.pool.linked();
    let mut lost = BTreeMap::<NodeId, Instant>::new();
    let mut asked = BTreeMap::<GroupId, Instant>::new();
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
        let expired = |node: &NodeId| lost.get(node).is_some_and(|since| since.elapsed() >= lease);
        let mut orphaned = Vec::new();
        let metadata = core.metadata.group().clone();
        if leader(&core, &metadata).as_ref().is_some_and(expired) && first_of_members(&core) {
            orphaned.push(metadata);
        }
        for replica in core.host.replicas() {
            let group = replica.group();
            if leader(&core, group).as_ref().is_some_and(expired) && first(&core, &replica) {
                orphaned.push(group.clone());
            }
        }
        for group in orphaned {
            let id = group.tag().group;
            if asked.contains_key(&id) {
                continue;
            }
            asked.insert(id, Instant::now());
            if let Err(error) = group.campaign().await {
                tracing::debug!(group = %id, %error, "the replica cannot ask to be elected");
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// The node that leads a group, as far as the replica here knows, unless that is this one.
fn leader(core: &Core, group: &Group) -> Option<NodeId> {
    let (_, node) = group.leader()?;
    (node != core.node).then_some(node)
}

/// Whether this node is the first of the metadata group's voters that can be reached.
fn first_of_members(core: &Core) -> bool {
    let (state, reachable) = (core.state(), core.reachable());
    let voters = core.metadata.group().voters().voters;
    state
        .members
        .values()
        .filter(|member| reachable.contains(&member.node) && voters.contains(&member.metadata))
        .min_by_key(|member| member.metadata)
        .is_some_and(|heir| heir.node == core.node)
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
