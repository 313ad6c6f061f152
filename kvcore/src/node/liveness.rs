//! Who can be reached: a link to every other member, kept up.
//!
//! A link says more than that its two ends are alive: over it a node that came back tells its
//! address, whichever that is now, and each says how it is: whether its disk is full, so that it is not
//! given more to lead, or that the other one is a member no longer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::vitals::Vitals;
use crate::metadata::Change;
use crate::rpc::message::{self, reply, request};
use crate::types::NodeId;

/// How often members without a link are dialled.
const PERIOD: Duration = Duration::from_millis(500);
/// How long one dial may take.
const DIAL: Duration = Duration::from_secs(1);
/// How long a change of address may take to be decided.
const DECIDE: Duration = Duration::from_secs(2);
/// How long a member may take to say how it is.
const PING: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub(super) async fn run(core: Arc<Core>) {
    let mut told = BTreeMap::<NodeId, String>::new();
    let mut watch = core.metadata.watch();
    loop {
        let state = core.state();
        for member in state.members.values().filter(|member| member.node != core.node) {
            // An address is passed on once, when the map changes: what a node says of itself over
            // its link may be newer than the map.
            if told.get(&member.node) != Some(&member.address) {
                core.pool.set_address(member.node, &member.address);
                told.insert(member.node, member.address.clone());
            }
        }
        let linked = core.reachable();
        let missing = state.members.keys().filter(|node| !linked.contains(node));
        let dials = missing.map(|node| {
            let peer = core.pool.node(*node);
            async move { peer.connect(DIAL).await }
        });
        for dialled in futures::future::join_all(dials).await {
            if let Err(error) = dialled {
                tracing::debug!(%error, "member cannot be reached");
            }
        }
        ask(&core).await;
        core.storage.staging().set_rate(core.move_rate());
        let moved = state.members.get(&core.node).is_some_and(|me| me.address != core.address);
        if moved {
            let change = Change::Readdress { node: core.node, address: core.address.clone() };
            if let Err(error) = core.decide(&change, DECIDE).await {
                tracing::debug!(%error, "the new address is not decided yet");
            }
        }
        // The map is watched only for being newer; a closed watch ends with the node.
        drop(tokio::time::timeout(PERIOD, watch.changed()).await);
    }
}

/// Asks every member with a link how it is. One that does not answer is left as it was: its link says
/// whether it is there.
async fn ask(core: &Core) {
    let linked = core.pool.linked().borrow().clone();
    let asked = linked.iter().map(|node| {
        let ping = request::Body::Ping(message::Ping::default());
        let answer = core.pool.node(*node).call(ping, PING);
        async move { (*node, answer.await) }
    });
    for (node, answer) in futures::future::join_all(asked).await {
        if let Ok(reply::Body::Pong(pong)) = answer {
            core.vitals.lock().insert(node, Vitals::from(&pong));
            if pong.removed {
                core.departed.send_replace(true);
            }
        }
    }
    core.vitals.lock().retain(|node, _| linked.contains(node));
}
