//! How a node is: what it tells the others in its answers to their pings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::Core;
use super::space::Level;
use crate::engine::{Family, keys};
use crate::rpc::message;
use crate::types::{GroupId, PartitionId, Result};

/// How often it is looked how large the replicas are.
const PERIOD: Duration = Duration::from_secs(3);

/// How a node was when it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vitals {
    /// Whether its disk is full.
    pub(super) full: bool,
    /// Replicas that lead.
    pub(super) leaders: usize,
    /// About what its replicas take.
    pub(super) bytes: u64,
    /// What is free on its disk, beyond what it holds back; None in memory.
    pub(super) room: Option<u64>,
}

impl From<&message::Pong> for Vitals {
    fn from(pong: &message::Pong) -> Vitals {
        Vitals {
            full: pong.full,
            leaders: pong.leaders as usize,
            bytes: pong.bytes,
            room: pong.room,
        }
    }
}

/// This node's own.
pub(super) fn own(core: &Core) -> Vitals {
    Vitals {
        full: core.space.level() > Level::Plenty,
        leaders: core.host.replicas().iter().filter(|replica| replica.group().leads()).count(),
        bytes: core.sizes.lock().values().sum(),
        room: core.space.room(),
    }
}

/// How large each partition is that this node leads, and how much of it is on its way to another.
pub(super) fn led(core: &Core) -> Vec<message::PartitionSize> {
    let sizes = core.sizes.lock().clone();
    let staging = core.storage.staging();
    let led = core.host.replicas().into_iter().filter(|replica| replica.group().leads());
    let size = |partition: PartitionId| message::PartitionSize {
        partition: partition.0.into(),
        bytes: sizes.get(&partition).copied().unwrap_or(0),
        sent: staging.sent(GroupId::Partition(partition)),
    };
    led.map(|replica| size(replica.partition())).collect()
}

/// Which of these replicas run here and can lead.
pub(super) fn ready(core: &Core, heirs: &[u64]) -> Vec<u64> {
    if heirs.is_empty() || core.stopping.load(Ordering::Acquire) {
        return Vec::new();
    }
    let replicas = core.host.replicas();
    let running = replicas.iter().filter(|replica| replica.group().health().running);
    running.map(|replica| replica.id().0).filter(|id| heirs.contains(id)).collect()
}

/// Runs until it is dropped.
pub(super) async fn run(core: Arc<Core>) {
    loop {
        let inner = core.clone();
        let measured = tokio::task::spawn_blocking(move || measure(&inner)).await;
        match measured {
            Ok(Ok(sizes)) => *core.sizes.lock() = sizes,
            // The state is being opened anew, perhaps.
            Ok(Err(error)) => tracing::debug!(%error, "the replicas are not measured"),
            // Only the end of the node ends it.
            Err(_) => return,
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Measures the replicas here. Blocks: what the files hold stands in blocks of theirs.
fn measure(core: &Core) -> Result<BTreeMap<PartitionId, u64>> {
    let engine = core.storage.engine();
    let replicas = core.host.replicas();
    let size = |partition| {
        let range = keys::data_range(GroupId::Partition(partition));
        Ok((partition, engine.approximate_bytes(Family::Data, range)?))
    };
    replicas.iter().map(|replica| size(replica.partition())).collect()
}
