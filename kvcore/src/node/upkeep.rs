//! Keeps the replicas here those of the map, and gets them going again after a failure of the disk.
//!
//! A log or an engine that failed takes nothing more until it is opened anew: only that tells what is
//! really on disk. So all replicas are stopped, what has failed is opened, and they begin again from what
//! was found, in this same process. A replica that finds its own part damaged is another matter: it stays
//! stopped, and the metadata group is asked to put another one in its place.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::core::Core;
use crate::metadata::Change;
use crate::types::{Error, GroupId, Kind, Result};
use crate::wal::Tag;

/// How often the replicas here are compared with the map although it does not change.
const PERIOD: Duration = Duration::from_secs(2);
/// How long one decision may take.
const DECIDE: Duration = Duration::from_secs(2);
/// How long it waits at least after something went wrong: a start that fails tells of a map as well.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs until it is dropped, or the node is a member no longer.
pub(super) async fn run(core: Arc<Core>) {
    let mut watch = core.metadata.watch();
    let mut cleared = false;
    let mut troubles = Troubles::default();
    let mut departed = core.departed.subscribe();
    loop {
        if *departed.borrow_and_update() {
            core.host.stop().await;
            core.metadata.stop().await;
            return;
        }
        let state = watch.borrow_and_update().clone();
        let mut trouble = None;
        if let Some(failure) = core.storage.failure() {
            troubles.tell(&failure, "the disk failed: opening what is on it anew");
            trouble = reopen(&core).await.err();
        }
        if core.storage.failure().is_none() {
            trouble = trouble.or(revive_metadata(&core).await.err());
            if state.founded() {
                if !cleared {
                    let left = core.host.clear(&state).await.err();
                    cleared = left.is_none();
                    trouble = trouble.or(left);
                }
                let unsettled = core.host.reconcile(&state).await.err();
                // Something may have been left behind.
                cleared &= unsettled.is_none();
                trouble = trouble.or(unsettled);
            }
        }
        replace_damaged(&core).await;
        match trouble {
            Some(error) => {
                troubles.tell(&error, "not all of this node can run");
                tokio::time::sleep(PAUSE).await;
            }
            None => troubles.over(),
        }
        tokio::select! {
            // The watch ends with the node.
            _ = watch.changed() => {}
            _ = departed.changed() => {}
            () = core.host.alarm() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// What goes wrong again and again, told when it begins, when it changes and now and then.
#[derive(Default)]
struct Troubles {
    last: Option<(Kind, Instant)>,
}

impl Troubles {
    /// How often the same trouble is told.
    const AGAIN: Duration = Duration::from_secs(60);

    fn tell(&mut self, error: &Error, what: &str) {
        let told = self
            .last
            .is_some_and(|(kind, when)| kind == error.kind() && when.elapsed() < Self::AGAIN);
        if told {
            tracing::debug!(%error, "{what}");
        } else {
            tracing::error!(%error, "{what}");
            self.last = Some((error.kind(), Instant::now()));
        }
    }

    fn over(&mut self) {
        if self.last.take().is_some() {
            tracing::info!("all of this node runs again");
        }
    }
}

/// Stops everything that uses the disk and opens it anew.
async fn reopen(core: &Arc<Core>) -> Result<()> {
    core.host.stop().await;
    core.metadata.stop().await;
    let inner = core.clone();
    let reopened = tokio::task::spawn_blocking(move || {
        let damaged = inner.host.damage();
        inner.storage.reopen(|group, replica, error| damaged.salvaged(group, replica, error))
    });
    reopened.await.map_err(|error| Error::internal("opening was interrupted").because(error))?
}

async fn revive_metadata(core: &Core) -> Result<()> {
    let group = core.metadata.group();
    if group.health().running && group.damage().is_none() && group.unreadable().is_none() {
        return Ok(());
    }
    let tag = Tag { group: GroupId::Metadata, replica: group.tag().replica };
    core.metadata.revive(core.storage.log(tag)?).await
}

/// Asks for another replica in the place of each that is damaged.
async fn replace_damaged(core: &Core) {
    let state = core.state();
    let all = core.host.damage().all();
    let here = all
        .iter()
        .filter(|(partition, replica)| state.hosted(**partition, core.node) == Some(**replica));
    let asked = here.map(async |(&partition, &replica)| {
        match core.decide(&Change::Replace { partition, replica }, DECIDE).await {
            Ok(_) => tracing::info!(%partition, %replica, "the damaged replica is to be replaced"),
            Err(error) if error.kind() == Kind::InvalidArgument => {
                tracing::error!(%partition, %replica, %error, "the damaged replica stays down");
            }
            Err(error) => tracing::debug!(%partition, %replica, %error, "no replacement yet"),
        }
    });
    // At once: a metadata group that does not answer keeps them waiting all the same.
    futures::future::join_all(asked).await;
}
