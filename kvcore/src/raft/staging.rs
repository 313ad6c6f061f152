//! Where snapshots stand between two engines: files on their way out, and files that have arrived.
//!
//! A replica that lacks what its leader's log no longer has gets the group itself. The leader has its
//! engine write the group's pairs into runs, one at a time, and sends each in chunks; the other side
//! puts the chunks into files of its own, in a folder that bears the replica's name. When all have
//! come it writes down, durably and as one step, that these files are now to become the replica's
//! state: the *mark*. From then on a crash anywhere leads to the new state, since whoever opens the
//! replica next finds the mark and installs the same files again; before it, to the old one.
//!
//! A node sends two snapshots at a time and takes two; a third one waits, or is told to come later. Of one
//! replica's snapshots only one arrives at a time, until it is installed. What a node sends keeps to a
//! rate. A node in memory has no folder: its runs are bytes, and become the state in
//! one step.
//!
//! ```text
//! snapshots/out-N/            runs on their way out; removed when they are sent
//! snapshots/in-GROUP-REPLICA/ N.run: what has arrived; mark: install it (see docs/format.md)
//! ```

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::arrival::Arrival;
use super::mark::Mark;
use super::pace::Pace;
use crate::engine::Run;
use crate::rpc::message;
use crate::types::{Error, GroupId, Kind, Result};
use crate::wal::Tag;

/// Snapshots that a node sends at once, and that it takes at once.
const AT_ONCE: usize = 2;
/// A snapshot of which nothing has come for so long makes way for another.
const STALE: Duration = Duration::from_secs(30);
/// How long a snapshot waits for a place, less than its sender waits for a chunk.
const PLACE: Duration = Duration::from_secs(20);

/// The node's place for snapshots. Cheap to clone; usable from any task.
#[derive(Clone)]
pub struct Staging(Arc<Inner>);

struct Inner {
    dir: Option<PathBuf>,
    /// What one arriving snapshot may take in memory, on a node without files.
    memory_bytes: usize,
    sending: Arc<Semaphore>,
    taking: Arc<Semaphore>,
    pace: Pace,
    arriving: Mutex<HashMap<Tag, Arrival>>,
    /// Replicas of whose snapshot something is at work just now.
    claimed: Mutex<HashSet<Tag>>,
    /// Groups whose state somebody has open.
    held: Mutex<HashSet<GroupId>>,
    next: AtomicU64,
    /// What has been sent of the snapshots on their way out.
    sent: Mutex<HashMap<GroupId, u64>>,
    received: AtomicU64,
}

/// The right to a group's state on this node: from when a replica opens it until nothing of that replica
/// is at work on it any more, be it an installation that nobody waits for. Cheap to clone; ends with the
/// last clone.
#[derive(Clone)]
pub struct Hold(Arc<Held>);

struct Held {
    staging: Staging,
    group: GroupId,
    alive: watch::Sender<()>,
}

impl Hold {
    /// Tells when the last clone is gone.
    pub(super) fn ended(&self) -> Ended {
        Ended(self.0.alive.subscribe())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.staging.0.held.lock().remove(&self.group);
    }
}

/// Tells when a hold has ended. Cheap to clone.
#[derive(Clone)]
pub(super) struct Ended(watch::Receiver<()>);

impl Ended {
    pub(super) async fn wait(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// The right to work on what arrives for a replica.
struct Claim {
    staging: Staging,
    tag: Tag,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.staging.0.claimed.lock().remove(&self.tag);
    }
}

impl Staging {
    /// A place in a directory, which is made if need be and cleared of what is not marked; or in
    /// memory, for snapshots of up to `memory_bytes` each. `seed` is a random number: transfers of
    /// different nodes, and of different lives of a node, must not be taken for each other.
    ///
    /// # Errors
    /// `StorageFull`, `Internal`.
    pub fn open(
        dir: Option<PathBuf>,
        memory_bytes: usize,
        bytes_a_second: u64,
        seed: u64,
    ) -> Result<Staging> {
        if let Some(dir) = &dir {
            prepare(dir).map_err(|error| Error::from(error).with("directory", dir.display()))?;
        }
        Ok(Staging(Arc::new(Inner {
            dir,
            memory_bytes,
            sending: Arc::new(Semaphore::new(AT_ONCE)),
            taking: Arc::new(Semaphore::new(AT_ONCE)),
            pace: Pace::new(bytes_a_second),
            arriving: Mutex::default(),
            claimed: Mutex::default(),
            held: Mutex::default(),
            next: AtomicU64::new(seed),
            sent: Mutex::default(),
            received: AtomicU64::new(0),
        })))
    }

    /// Keeps what is sent to another rate from now on.
    pub fn set_rate(&self, bytes_a_second: u64) {
        self.0.pace.set(bytes_a_second);
    }

    /// What has been sent of a group's snapshot that is on its way out, in bytes; 0 if none is.
    pub fn sent(&self, group: GroupId) -> u64 {
        self.0.sent.lock().get(&group).copied().unwrap_or(0)
    }

    /// Bytes of snapshots that have arrived since the node started, wanted or not.
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Takes hold of a group's state, so that nobody else opens or deletes it meanwhile.
    ///
    /// # Errors
    /// `Unavailable` if somebody has hold of it.
    pub fn hold(&self, group: GroupId) -> Result<Hold> {
        if !self.0.held.lock().insert(group) {
            return Err(Error::new(
                Kind::Unavailable,
                "a replica of the group is still at work here",
            )
            .with("group", group));
        }
        let (alive, _) = watch::channel(());
        Ok(Hold(Arc::new(Held { staging: self.clone(), group, alive })))
    }

    fn claim(&self, tag: Tag) -> Result<Claim> {
        if !self.0.claimed.lock().insert(tag) {
            return Err(Error::new(
                Kind::Unavailable,
                "another snapshot of the replica is at work",
            )
            .with("group", tag.group));
        }
        Ok(Claim { staging: self.clone(), tag })
    }

    /// Room to send one snapshot of a group from.
    ///
    /// # Errors
    /// `Overloaded` if as many are being sent as may be; `StorageFull`, `Internal`.
    pub(super) fn send(&self, group: GroupId) -> Result<Outgoing> {
        let permit = Arc::clone(&self.0.sending).try_acquire_owned().map_err(|_| {
            Error::new(Kind::Overloaded, "the node sends as many snapshots as it may")
                .with("limit", AT_ONCE)
        })?;
        let transfer = self.0.next.fetch_add(1, Ordering::Relaxed);
        let dir = self.0.dir.as_ref().map(|dir| dir.join(format!("out-{transfer:016x}")));
        if let Some(dir) = &dir {
            fs::create_dir(dir).map_err(|error| Error::from(error).with("dir", dir.display()))?;
        }
        let (staging, dir) = (self.clone(), dir.map(Folder::new));
        Ok(Outgoing { staging, group, transfer, dir, _permit: permit })
    }

    /// Returns when that many bytes may be sent.
    pub(super) async fn pace(&self, bytes: usize) {
        self.0.pace.wait(bytes).await;
    }

    /// Takes one chunk of a replica's snapshot; it is in its file when this returns, though not synced.
    ///
    /// # Errors
    /// `Unavailable` while one that has arrived is being installed; `Overloaded` if as many arrive as
    /// may; `InvalidArgument` for a chunk out of order; `Corruption` for a damaged one; `TooLarge`,
    /// `StorageFull`, `Internal`. The transfer has failed then.
    pub(super) async fn take(&self, tag: Tag, chunk: message::SnapshotChunk) -> Result<()> {
        let claim = self.claim(tag)?;
        self.0.received.fetch_add(chunk.data.len() as u64, Ordering::Relaxed);
        let known = self.0.arriving.lock().remove(&tag);
        let known = known.filter(|arrival| arrival.transfer() == chunk.transfer);
        let place = match &known {
            None if chunk.chunk == 0 => Some(self.place().await?),
            _ => None,
        };
        let staging = self.clone();
        blocking(move || {
            let mut arrival = match (known, place) {
                (Some(arrival), _) => arrival,
                (None, Some(place)) => staging.begin(tag, chunk.transfer, place)?,
                (None, None) => {
                    return Err(Error::new(Kind::InvalidArgument, "snapshot chunk out of order")
                        .with("group", tag.group)
                        .with("chunk", chunk.chunk));
                }
            };
            arrival.take(chunk)?;
            staging.0.arriving.lock().insert(tag, arrival);
            drop(claim);
            Ok(())
        })
        .await
    }

    fn begin(&self, tag: Tag, transfer: u64, place: OwnedSemaphorePermit) -> Result<Arrival> {
        let dir = self.0.dir.as_ref().map(|dir| arrival_dir(dir, tag));
        if let Some(dir) = &dir {
            if dir.join(Mark::NAME).exists() {
                return Err(Error::new(Kind::Unavailable, "a snapshot is being installed")
                    .with("group", tag.group));
            }
            remove(dir)
                .and_then(|()| fs::create_dir(dir))
                .map_err(|error| Error::from(error).with("directory", dir.display()))?;
        }
        Ok(Arrival::new(transfer, dir.map(Folder::new), self.0.memory_bytes, place))
    }

    /// A place for one more snapshot. It is waited for: what the sender has made by now would be made in
    /// vain otherwise.
    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        // One whose sender is gone takes up a place for nothing.
        self.0.arriving.lock().retain(|_, arrival| arrival.idle() < STALE);
        let place = Arc::clone(&self.0.taking).acquire_owned();
        let full = || {
            Error::new(Kind::Overloaded, "the node takes as many snapshots as it may")
                .with("limit", AT_ONCE)
        };
        let place = tokio::time::timeout(PLACE, place).await.map_err(|_| full())?;
        place.map_err(|_| full())
    }

    /// All of a snapshot, now that every chunk of it was taken; its files are synced.
    ///
    /// # Errors
    /// `InvalidArgument` if chunks are missing; `Unavailable` while one that has arrived is being
    /// installed; `StorageFull`, `Internal`.
    pub(super) async fn complete(&self, tag: Tag, transfer: u64, chunks: u32) -> Result<Staged> {
        let claim = self.claim(tag)?;
        let arrival = self.0.arriving.lock().remove(&tag);
        let arrival = arrival.filter(|arrival| arrival.transfer() == transfer);
        let place = match &arrival {
            None if chunks == 0 => Some(self.place().await?),
            _ => None,
        };
        let staging = self.clone();
        blocking(move || {
            let staged = match (arrival, place) {
                (Some(arrival), _) => arrival.complete(chunks)?,
                (None, Some(place)) => staging.begin(tag, transfer, place)?.complete(chunks)?,
                (None, None) => {
                    return Err(Error::new(Kind::InvalidArgument, "no such snapshot has arrived")
                        .with("group", tag.group));
                }
            };
            Ok(Staged { _claim: Some(claim), ..staged })
        })
        .await
    }

    /// What is marked to be installed as the state of a replica, after a crash in the middle of it.
    ///
    /// # Errors
    /// `Corruption` if the mark is damaged; `Internal`.
    pub(super) fn marked(&self, tag: Tag) -> Result<Option<(Mark, Staged)>> {
        let Some(dir) = self.0.dir.as_ref().map(|dir| arrival_dir(dir, tag)) else {
            return Ok(None);
        };
        let Some(mark) = Mark::read(&dir)? else { return Ok(None) };
        let runs = mark.runs(&dir);
        let folder = Some(Folder { path: dir, keep: AtomicBool::new(true) });
        Ok(Some((mark, Staged { folder, runs, _place: None, _claim: None })))
    }

    /// Removes what has arrived for a replica that has left, marked or not. Blocks.
    ///
    /// # Errors
    /// `Internal`.
    pub fn forget(&self, tag: Tag) -> Result<()> {
        drop(self.0.arriving.lock().remove(&tag));
        let Some(dir) = self.0.dir.as_ref().map(|dir| arrival_dir(dir, tag)) else {
            return Ok(());
        };
        remove_marked(&dir).map_err(|error| Error::from(error).with("directory", dir.display()))
    }
}

/// Runs something that waits for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::internal("work on files was interrupted").because(error))
    })
}

fn arrival_dir(dir: &Path, tag: Tag) -> PathBuf {
    dir.join(format!("in-{}-{}", tag.group.number(), tag.replica))
}

/// Makes the directory, durably, and removes what a crash left in it unmarked.
fn prepare(dir: &Path) -> std::io::Result<()> {
    if !dir.is_dir() {
        fs::create_dir(dir)?;
        if let Some(parent) = dir.parent() {
            sync_dir(parent)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() && !path.join(Mark::NAME).exists() {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

pub(super) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes a folder if it is there.
fn remove(dir: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a folder, the mark durably before the files that it speaks of.
fn remove_marked(dir: &Path) -> std::io::Result<()> {
    match fs::remove_file(dir.join(Mark::NAME)) {
        Ok(()) => sync_dir(dir)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    remove(dir)
}

/// A folder that is removed when it is dropped. What a crash leaves is removed at the next start.
pub(super) struct Folder {
    path: PathBuf,
    keep: AtomicBool,
}

impl Folder {
    fn new(path: PathBuf) -> Folder {
        Folder { path, keep: AtomicBool::new(false) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = remove(&self.path) {
            tracing::warn!(%error, directory = %self.path.display(), "old files cannot be removed");
        }
    }
}

/// Room to send one snapshot from.
pub(super) struct Outgoing {
    staging: Staging,
    group: GroupId,
    transfer: u64,
    dir: Option<Folder>,
    _permit: OwnedSemaphorePermit,
}

impl Outgoing {
    /// What tells this transfer from all others.
    pub(super) fn transfer(&self) -> u64 {
        self.transfer
    }

    /// Takes note that so many bytes of it have arrived on the other side.
    pub(super) fn count(&self, bytes: usize) {
        *self.staging.0.sent.lock().entry(self.group).or_default() += bytes as u64;
    }

    /// Where the files of the snapshot go; of no account to an engine in memory.
    pub(super) fn dir(&self) -> PathBuf {
        self.dir.as_ref().map(|folder| folder.path.clone()).unwrap_or_default()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.staging.0.sent.lock().remove(&self.group);
    }
}

/// A snapshot that has arrived as a whole. Dropped without having been installed, it is removed, unless
/// it is marked.
pub struct Staged {
    // Dropped in this order: the next one may come when nothing of this one is left.
    folder: Option<Folder>,
    runs: Vec<Run>,
    _place: Option<OwnedSemaphorePermit>,
    _claim: Option<Claim>,
}

impl Staged {
    pub(super) fn new(
        folder: Option<Folder>,
        runs: Vec<Run>,
        place: OwnedSemaphorePermit,
    ) -> Staged {
        Staged { folder, runs, _place: Some(place), _claim: None }
    }

    /// What has arrived.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Writes down that this is to be installed: from here on a crash leads to the new state.
    ///
    /// # Errors
    /// `StorageFull`, `Internal`.
    pub(super) fn mark(&self, mark: &Mark) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        // Whether or not all of it succeeds, the mark may be there from now on.
        folder.keep.store(true, Ordering::Release);
        mark.write(&folder.path)
    }

    /// It is installed, durably: the files can go.
    ///
    /// # Errors
    /// `Internal`.
    pub(super) fn installed(self) -> Result<()> {
        let Some(Folder { path, .. }) = &self.folder else { return Ok(()) };
        remove_marked(path).map_err(|error| Error::from(error).with("directory", path.display()))
    }
}

#[cfg(test)]
#[path = "staging_test.rs"]
mod tests;
