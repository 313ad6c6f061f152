//! The end of a node's part in its cluster, once it is a member no longer.

use std::sync::Arc;

use super::core::Core;
use super::handlers::Handlers;
use crate::types::{Error, Kind};

/// Waits until the node has left, or was removed: its map says so, or another member does, for one that was
/// away meanwhile gets no newer map. Then nothing of it serves any more; that nothing votes either is seen to
/// by [`upkeep`](super::upkeep), which would start it again otherwise.
pub(super) async fn run(core: Arc<Core>, handlers: Arc<Handlers>) {
    let mut told = core.departed.subscribe();
    let mut watch = core.metadata.watch();
    while !*told.borrow_and_update() {
        if watch.borrow_and_update().removed.contains(&core.node) {
            core.departed.send_replace(true);
            break;
        }
        tokio::select! {
            // Both end with the node.
            _ = watch.changed() => {}
            _ = told.changed() => {}
        }
    }
    tracing::info!(node = %core.node, "the node is no longer a member of the cluster");
    handlers.close();
}

/// Why a node that is a member no longer cannot be started.
pub(super) fn refusal(core: &Core) -> Error {
    let error = Error::new(
        Kind::InvalidArgument,
        "the node was removed from the cluster; with an empty data directory it is a new one",
    );
    match core.storage.directory() {
        Some(dir) => error.with("data_dir", dir.display()),
        None => error,
    }
}
