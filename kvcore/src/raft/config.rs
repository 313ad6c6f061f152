//! How openraft is set up.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use crate::types::config::Timers;
use crate::types::{Error, Kind, Result};
use crate::wal::Tag;

/// The settings of one group.
///
/// # Errors
/// `InvalidArgument` if the timers make no sense together.
pub(super) fn config(tag: Tag, timers: &Timers) -> Result<Arc<Config>> {
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: tag.group.to_string(),
        heartbeat_interval: milliseconds(timers.heartbeat),
        election_timeout_min: milliseconds(timers.election_min),
        election_timeout_max: milliseconds(timers.election_max),
        install_snapshot_timeout: 60_000,
        max_payload_entries: 1024,
        // Logs are trimmed to a budget of bytes, by `Group::trim`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        replication_lag_threshold: u64::MAX,
        api_channel_size: Some(4096),
        enable_pre_vote: Some(true),
        // A leader that restarts would otherwise go on leading on state that went back to what the
        // engine had flushed, and serve reads from it.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config
        .validate()
        .map(Arc::new)
        .map_err(|error| Error::new(Kind::InvalidArgument, "timers out of order").because(error))
}
