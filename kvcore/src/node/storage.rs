//! Where a node keeps its logs and its state: a directory, or memory.
//!
//! A directory holds `LOCK` (one process at a time), `identity.json`, `log/`, `state/` and `snapshots/`.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::engine::{Engine, Family, MemoryEngine, Ranges, keys};
use crate::raft::{LogStore, MemoryLog, Staging, Weight};
use crate::types::config::StorageConfig;
use crate::types::{Error, GroupId, Kind, ReplicaId, Result};
use crate::wal::{self, Tag, Wal};

pub(super) const LOG: &str = "log";
pub(super) const STATE: &str = "state";
pub(super) const SNAPSHOTS: &str = "snapshots";
const LOCK: &str = "LOCK";
/// A full log keeps one in so many bytes of a segment free of entries.
const RESERVED: u64 = 8;
/// A state that fails again so soon after it was opened anew is looked through.
const AGAIN: Duration = Duration::from_secs(60);

/// A data directory that no other process uses as long as this lives.
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory if need be, and locks it.
    ///
    /// # Errors
    /// `InvalidArgument` if another process uses it or it cannot be made, `StorageFull`.
    pub(super) fn lock(path: &Path) -> Result<Directory> {
        let unusable = |error: std::io::Error| {
            let error = Error::from(error);
            match error.kind() {
                Kind::StorageFull => error,
                _ => Error::new(Kind::InvalidArgument, "the data directory cannot be used")
                    .because(error),
            }
            .with("data_dir", path.display())
        };
        make_durable(path).map_err(unusable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK))
            .map_err(unusable)?;
        take(&lock, path)?;
        Ok(Directory { path: path.to_owned(), _lock: lock })
    }

    /// Keeps processes from using the directory while it is looked at, without changing it. One that no
    /// process has ever used has nothing to hold.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no such directory, or a process uses it.
    pub(super) fn hold(path: &Path) -> Result<Option<Directory>> {
        if !path.is_dir() {
            return Err(Error::new(Kind::InvalidArgument, "there is no such data directory")
                .with("data_dir", path.display()));
        }
        match File::open(path.join(LOCK)) {
            Ok(lock) => {
                take(&lock, path)?;
                Ok(Some(Directory { path: path.to_owned(), _lock: lock }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::from(error).with("data_dir", path.display())),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory and those above it, as far as they are not there, and their names durable: a node
/// whose directory a power failure takes away would begin as another one.
fn make_durable(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    make_durable(above)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    File::open(above)?.sync_all()
}

fn take(lock: &File, path: &Path) -> Result<()> {
    lock.try_lock().map_err(|error| {
        match error {
            TryLockError::WouldBlock => {
                Error::new(Kind::InvalidArgument, "the data directory is in use by another process")
            }
            TryLockError::Error(error) => {
                Error::new(Kind::InvalidArgument, "the data directory cannot be used")
                    .because(error)
            }
        }
        .with("data_dir", path.display())
    })
}

/// The logs and the state of a node.
pub(super) struct Storage {
    directory: Option<PathBuf>,
    config: StorageConfig,
    logs: RwLock<Logs>,
    engine: Arc<dyn Engine>,
    staging: Staging,
    /// When the state was last opened anew.
    reopened: Mutex<Option<Instant>>,
}

enum Logs {
    Disk(Wal),
    Memory { logs: Mutex<HashMap<Tag, MemoryLog>>, engine: Arc<MemoryEngine> },
}

impl Storage {
    /// Opens what is in a directory, or begins with nothing in memory. `seed` is a random number. Blocks
    /// while the log is read.
    ///
    /// # Errors
    /// `Corruption`, `StorageFull`, `Unsupported`, `Internal`.
    pub(super) fn open(dir: Option<&Path>, config: &StorageConfig, seed: u64) -> Result<Storage> {
        let memory_limit = usize::try_from(config.memory_limit).unwrap_or(usize::MAX);
        let (logs, engine): (Logs, Arc<dyn Engine>) = match dir {
            None => {
                // Room for what was let in before the limit was reached, and for what other nodes let in
                // for the partitions that they lead.
                let engine = Arc::new(MemoryEngine::new(memory_limit.saturating_mul(2)));
                (Logs::Memory { logs: Mutex::default(), engine: engine.clone() }, engine)
            }
            Some(dir) => {
                let engine = open_state(&dir.join(STATE), config)?;
                let wal = Wal::open(&dir.join(LOG), wal_options(config))?;
                // Before the node is a member of anything: see `check`.
                wal.establish()?;
                (Logs::Disk(wal), engine)
            }
        };
        let snapshots = dir.map(|dir| dir.join(SNAPSHOTS));
        let staging = Staging::open(snapshots, memory_limit, config.snapshot_rate, seed)?;
        Ok(Storage {
            directory: dir.map(Path::to_owned),
            config: config.clone(),
            logs: RwLock::new(logs),
            engine,
            staging,
            reopened: Mutex::default(),
        })
    }

    /// The data directory, if there is one.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// What the storage may take.
    pub(super) fn config(&self) -> &StorageConfig {
        &self.config
    }

    /// Whether no replica keeps anything here.
    ///
    /// # Errors
    /// The engine's.
    pub(super) fn is_empty(&self) -> Result<bool> {
        let view = self.engine.view()?;
        Ok(self.tags().is_empty() && keys::replicas(view.as_ref())?.is_empty())
    }

    /// Checks that the directory of a member still has what it had: a member that began again with an
    /// empty log would break the promises it made.
    ///
    /// # Errors
    /// `Corruption` naming what is gone.
    pub(super) fn check(directory: &Directory) -> Result<()> {
        for part in [LOG, STATE] {
            let path = directory.path().join(part);
            if !path.is_dir() {
                return Err(Error::new(
                    Kind::Corruption,
                    "the data directory has lost a part; remove all of it to join as a new node",
                )
                .with("missing", path.display()));
            }
        }
        // The folder may be there although what was in it is not: it may be where another file system was
        // to be mounted.
        let log = directory.path().join(LOG);
        if !wal::is_established(&log)? {
            return Err(Error::new(
                Kind::Corruption,
                "the data directory has lost its log; remove all of it to join as a new node",
            )
            .with("empty", log.display()));
        }
        Ok(())
    }

    pub(super) fn engine(&self) -> Arc<dyn Engine> {
        self.engine.clone()
    }

    pub(super) fn staging(&self) -> Staging {
        self.staging.clone()
    }

    /// The log of a replica; a new one if there is none.
    pub(super) fn log(&self, tag: Tag) -> Result<LogStore> {
        match &*self.logs.read() {
            Logs::Disk(wal) => wal.log(tag).map(LogStore::disk),
            Logs::Memory { logs, .. } => {
                Ok(LogStore::memory(logs.lock().entry(tag).or_default().clone()))
            }
        }
    }

    /// Removes the log of a replica that has left, and what has arrived for it.
    pub(super) async fn forget(&self, tag: Tag) -> Result<()> {
        self.staging.forget(tag)?;
        if let Logs::Memory { logs, .. } = &*self.logs.read() {
            logs.lock().remove(&tag);
            return Ok(());
        }
        self.log(tag)?.remove().await
    }

    /// The logs there are.
    pub(super) fn tags(&self) -> Vec<Tag> {
        match &*self.logs.read() {
            Logs::Disk(wal) => wal.tags(),
            Logs::Memory { logs, .. } => logs.lock().keys().copied().collect(),
        }
    }

    /// Checks that there is room for one more write; asked before it is proposed, because once it is
    /// agreed on every replica must take it.
    ///
    /// # Errors
    /// `StorageFull`, `Overloaded`.
    pub(super) fn admit(&self) -> Result<()> {
        match &*self.logs.read() {
            Logs::Disk(wal) if wal.is_full() => {
                Err(Error::new(Kind::StorageFull, "the disk of the partition's leader is full"))
            }
            Logs::Disk(wal) if wal.pressure() => {
                Err(Error::new(Kind::Overloaded, "the node's log has too much to write"))
            }
            Logs::Memory { engine, .. } if engine.bytes() as u64 >= self.config.memory_limit => {
                Err(Error::new(Kind::Overloaded, "the node's memory is full")
                    .with("bytes", engine.bytes())
                    .with("limit", self.config.memory_limit))
            }
            _ => Ok(()),
        }
    }

    /// Whether the log has no room for its next segment.
    pub(super) fn log_is_full(&self) -> bool {
        matches!(&*self.logs.read(), Logs::Disk(wal) if wal.is_full())
    }

    /// What entries may still take, in bytes, of a log that gets no more segments: some is left to votes and
    /// to what makes room.
    pub(super) fn log_left(&self) -> u64 {
        match &*self.logs.read() {
            Logs::Disk(wal) => wal.left().saturating_sub(self.config.log_segment() / RESERVED),
            Logs::Memory { .. } => u64::MAX,
        }
    }

    /// Whose state is stored of a group, if there is one.
    ///
    /// # Errors
    /// `Corruption`, `Internal`.
    pub(super) fn owner(&self, group: GroupId) -> Result<Option<ReplicaId>> {
        let owner = self.engine.get(Family::Meta, &keys::replica(group))?;
        owner.as_deref().map(parse_owner).transpose()
    }

    /// What all logs together take.
    pub(super) fn log_weight(&self) -> Weight {
        match &*self.logs.read() {
            Logs::Disk(wal) => {
                let usage = wal.usage();
                Weight { bytes: usage.live_bytes, entries: usage.entries }
            }
            Logs::Memory { logs, .. } => {
                let logs: Vec<_> = logs.lock().values().cloned().map(LogStore::memory).collect();
                logs.iter().map(LogStore::weight).fold(Weight::default(), |sum, one| Weight {
                    bytes: sum.bytes + one.bytes,
                    entries: sum.entries + one.entries,
                })
            }
        }
    }

    /// What log or state failed with for good, if one did: nothing is written any more until
    /// [`reopen`](Storage::reopen).
    pub(super) fn failure(&self) -> Option<Error> {
        let log = match &*self.logs.read() {
            Logs::Disk(wal) => wal.failure(),
            Logs::Memory { .. } => None,
        };
        log.or_else(|| self.engine.failure())
    }

    /// Opens anew what has failed, from what is on disk. Groups whose state is damaged are dropped: each is
    /// told, with the replica that it belongs to, before. No replica may be running. Blocks.
    ///
    /// # Errors
    /// What `damaged` fails with; else as [`open`](Storage::open). It can be tried again.
    pub(super) fn reopen(
        &self,
        mut damaged: impl FnMut(GroupId, ReplicaId, Error) -> Result<()>,
    ) -> Result<()> {
        // A sector that cannot be read makes it fail again as soon as it is merged.
        let again = self.reopened.lock().is_some_and(|when| when.elapsed() < AGAIN);
        match self.engine.failure() {
            Some(failure) if failure.kind() == Kind::Corruption || again => {
                let stored = keys::replicas(self.engine.view()?.as_ref())?;
                let parts = |(group, _): &(GroupId, _)| {
                    vec![
                        (Family::Data, keys::data_range(*group)),
                        (Family::Meta, keys::meta_range(*group)),
                    ]
                };
                let groups: Vec<Ranges> = stored.iter().map(parts).collect();
                self.engine.salvage(&groups, &mut |number, error| match stored.get(number) {
                    Some((group, owner)) => damaged(*group, parse_owner(owner)?, error),
                    None => Err(Error::internal("a group was salvaged that was not asked for")),
                })?;
            }
            Some(_) => {
                self.engine.reopen()?;
                *self.reopened.lock() = Some(Instant::now());
            }
            None => {}
        }
        let failed = match &*self.logs.read() {
            Logs::Disk(wal) if wal.failure().is_some() => wal.clone(),
            _ => return Ok(()),
        };
        let Some(dir) = &self.directory else { return Ok(()) };
        // It says once more what it failed with.
        drop(failed.close());
        // Nobody waits for the lock while the log is read back.
        let opened = Wal::open(&dir.join(LOG), wal_options(&self.config))?;
        *self.logs.write() = Logs::Disk(opened);
        Ok(())
    }

    /// Ends the log although it has no room for what waits; [`close`](Storage::close) says so.
    pub(super) fn end_log(&self) {
        if let Logs::Disk(wal) = &*self.logs.read() {
            wal.end();
        }
    }

    /// Puts everything on disk and closes the log. Blocks.
    pub(super) fn close(&self) -> Result<()> {
        let closed = match &*self.logs.read() {
            Logs::Disk(wal) => wal.close(),
            Logs::Memory { .. } => Ok(()),
        };
        self.engine.flush().and(closed)
    }
}

fn parse_owner(stored: &[u8]) -> Result<ReplicaId> {
    let bytes = stored.try_into().map_err(|_| {
        Error::new(Kind::Corruption, "the stored replica id has the wrong length")
            .with("bytes", stored.len())
    })?;
    Ok(ReplicaId(u64::from_le_bytes(bytes)))
}

fn wal_options(config: &StorageConfig) -> wal::Options {
    wal::Options {
        segment_bytes: config.log_segment(),
        garbage_bytes: config.log_budget / 2,
        ..wal::Options::default()
    }
}

#[cfg(feature = "rocksdb")]
fn open_state(dir: &Path, config: &StorageConfig) -> Result<Arc<dyn Engine>> {
    use crate::engine::{DiskEngine, RocksOptions};
    let options = RocksOptions {
        memory_limit: usize::try_from(config.memory_limit).unwrap_or(usize::MAX),
        compaction_rate: config.compaction_rate,
        ..RocksOptions::default()
    };
    Ok(Arc::new(DiskEngine::open(dir, options)?))
}

#[cfg(not(feature = "rocksdb"))]
fn open_state(dir: &Path, _: &StorageConfig) -> Result<Arc<dyn Engine>> {
    Err(Error::new(Kind::Unsupported, "this build has no file-based engine")
        .with("data_dir", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_used_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = Directory::lock(dir.path()).unwrap();
        let error = Directory::lock(dir.path()).err().unwrap();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(error.message().contains("in use by another process"));
        drop(held);
        assert!(Directory::lock(dir.path()).is_ok());
    }

    #[test]
    fn a_lost_part_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let held = Directory::lock(dir.path()).unwrap();
        fs::create_dir(dir.path().join(LOG)).unwrap();
        let error = Storage::check(&held).unwrap_err();
        assert_eq!(error.kind(), Kind::Corruption);
        assert!(error.message().contains("state"));
        fs::create_dir(dir.path().join(STATE)).unwrap();
        let error = Storage::check(&held).unwrap_err();
        assert_eq!(error.kind(), Kind::Corruption, "an empty log is none");
        assert!(error.message().contains("lost its log"), "{error}");
        fs::remove_dir(dir.path().join(STATE)).unwrap();
        drop(Storage::open(Some(dir.path()), &StorageConfig::default(), 1).unwrap());
        Storage::check(&held).unwrap();
    }

    #[test]
    fn a_file_is_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"x").unwrap();
        assert_eq!(Directory::lock(&path).err().unwrap().kind(), Kind::InvalidArgument);
    }
}
