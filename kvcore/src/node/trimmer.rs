//! Keeps the logs of all replicas within the node's budget.
//!
//! A log may forget what its replica's state has on disk. That happens by itself, as the engine writes
//! out its tables; if it does not happen soon enough, the engine is told to. The longest logs are
//! trimmed first, each down to its share of what is kept for replicas that are a little behind. When the
//! disk is full, next to nothing is kept.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::core::Core;
use super::space::Level;
use crate::raft::{Group, Weight};

/// How often it is looked at what the logs take.
const PERIOD: Duration = Duration::from_millis(250);
/// Between two times that the engine is told to write out its tables.
const FLUSH: Duration = Duration::from_secs(2);
/// What an entry takes in memory, whatever it weighs on disk: many small ones are a burden as well.
const ENTRY: u64 = 256;
/// A log of that many bytes is left alone when the disk is full: there is little to win.
const LITTLE: u64 = 64 * 1024;

/// Runs until it is dropped.
pub(super) async fn run(core: Arc<Core>) {
    let durable = core.storage.directory().is_some();
    let budget = core.storage.config().log_entries(durable);
    let mut flushed = Instant::now();
    // The least that the logs have held since all that they hold was written out: what has come since is
    // all that writing out again could be good for.
    let mut written = 0;
    loop {
        tokio::time::sleep(PERIOD).await;
        let full = core.space.level() > Level::Plenty;
        let budget = if full { LITTLE } else { budget };
        written = written.min(burden(core.storage.log_weight()));
        if burden(core.storage.log_weight()) <= budget {
            continue;
        }
        trim(&core, budget / 2).await;
        let held = burden(core.storage.log_weight());
        if held > budget && held > written + budget / 4 && flushed.elapsed() >= FLUSH {
            let engine = core.storage.engine();
            match tokio::task::spawn_blocking(move || engine.flush()).await {
                Ok(Ok(())) => written = held,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the state cannot be written out, so logs are not trimmed");
                }
                // Only the end of the node ends it.
                Err(_) => return,
            }
            flushed = Instant::now();
        }
    }
}

fn burden(weight: Weight) -> u64 {
    weight.bytes.saturating_add(weight.entries.saturating_mul(ENTRY))
}

/// Trims the logs so that those of all groups together keep that much, each as much as any other.
async fn trim(core: &Core, keep: u64) {
    let replicas = core.host.replicas();
    let mut groups: Vec<Group> = replicas.iter().map(|replica| replica.group().clone()).collect();
    groups.push(core.metadata.group());
    let share = keep / groups.len() as u64;
    groups.retain(|group| burden(group.weight()) > share);
    groups.sort_by_key(|group| std::cmp::Reverse(burden(group.weight())));
    for group in groups {
        let weight = group.weight();
        // Entries are dropped by their bytes; small ones weigh more than those.
        let part = u128::from(share) * u128::from(weight.bytes) / u128::from(burden(weight).max(1));
        let keep = u64::try_from(part).unwrap_or(u64::MAX);
        if let Err(error) = group.trim(keep).await {
            tracing::debug!(group = %group.tag().group, %error, "a log cannot be trimmed");
        }
        if group.damage().is_some() {
            core.host.raise_alarm();
        }
    }
}
