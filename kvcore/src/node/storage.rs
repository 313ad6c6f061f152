//! Where a node keeps its logs and its state: a directory, or memory.
//!
//! A directory holds `LOCK` (one process at a time), `identity.json`, `log/` and `state/`.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::{Engine, MemoryEngine, keys};
use crate::raft::{LogStore, MemoryLog};
use crate::types::{Error, Kind, Result};
use crate::wal::{self, Tag, Wal};

/// What a node without a directory keeps before it takes no more writes, in bytes.
const MEMORY_BYTES: usize = 1024 * 1024 * 1024;
/// What its engine refuses to go beyond: room for what was let in before, and for what other nodes let
/// in for the partitions that they lead.
const MEMORY_CEILING: usize = 2 * MEMORY_BYTES;

const LOG: &str = "log";
const STATE: &str = "state";

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
        fs::create_dir_all(path).map_err(unusable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("LOCK"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Directory { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::new(
                Kind::InvalidArgument,
                "the data directory is in use by another process",
            )
            .with("data_dir", path.display())),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The logs and the state of a node.
pub(super) struct Storage {
    logs: Logs,
    engine: Arc<dyn Engine>,
}

enum Logs {
    Disk(Wal),
    Memory { logs: Mutex<HashMap<Tag, MemoryLog>>, engine: Arc<MemoryEngine> },
}

impl Storage {
    /// Opens what is in a directory, or begins with nothing in memory. Blocks while the log is read.
    ///
    /// # Errors
    /// `Corruption`, `StorageFull`, `Unsupported`, `Internal`.
    pub(super) fn open(dir: Option<&Path>) -> Result<Storage> {
        let Some(dir) = dir else {
            let engine = Arc::new(MemoryEngine::new(MEMORY_CEILING));
            let logs = Logs::Memory { logs: Mutex::default(), engine: engine.clone() };
            return Ok(Storage { logs, engine });
        };
        let engine = open_state(&dir.join(STATE))?;
        let wal = Wal::open(&dir.join(LOG), wal::Options::default())?;
        Ok(Storage { logs: Logs::Disk(wal), engine })
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
        Ok(())
    }

    pub(super) fn engine(&self) -> Arc<dyn Engine> {
        self.engine.clone()
    }

    /// The log of a replica; a new one if there is none.
    pub(super) fn log(&self, tag: Tag) -> Result<LogStore> {
        match &self.logs {
            Logs::Disk(wal) => wal.log(tag).map(LogStore::Disk),
            Logs::Memory { logs, .. } => {
                Ok(LogStore::Memory(logs.lock().entry(tag).or_default().clone()))
            }
        }
    }

    /// Removes the log of a replica that has left.
    pub(super) async fn forget(&self, tag: Tag) -> Result<()> {
        if let Logs::Memory { logs, .. } = &self.logs {
            logs.lock().remove(&tag);
            return Ok(());
        }
        self.log(tag)?.remove().await
    }

    /// The logs there are.
    pub(super) fn tags(&self) -> Vec<Tag> {
        match &self.logs {
            Logs::Disk(wal) => wal.tags(),
            Logs::Memory { logs, .. } => logs.lock().keys().copied().collect(),
        }
    }

    /// Checks that there is room for one more write; asked before it is proposed, because once it is
    /// agreed on every replica must take it.
    ///
    /// # Errors
    /// `Overloaded`.
    pub(super) fn admit(&self) -> Result<()> {
        match &self.logs {
            Logs::Disk(wal) if wal.pressure() => {
                Err(Error::new(Kind::Overloaded, "the node's log has too much to write"))
            }
            Logs::Memory { engine, .. } if engine.bytes() >= MEMORY_BYTES => {
                Err(Error::new(Kind::Overloaded, "the node's memory is full")
                    .with("bytes", engine.bytes())
                    .with("limit", MEMORY_BYTES))
            }
            _ => Ok(()),
        }
    }

    /// Puts everything on disk and closes the log. Blocks.
    pub(super) fn close(&self) -> Result<()> {
        let closed = match &self.logs {
            Logs::Disk(wal) => wal.close(),
            Logs::Memory { .. } => Ok(()),
        };
        self.engine.flush().and(closed)
    }
}

#[cfg(feature = "rocksdb")]
fn open_state(dir: &Path) -> Result<Arc<dyn Engine>> {
    use crate::engine::{RocksEngine, RocksOptions};
    Ok(Arc::new(RocksEngine::open(dir, RocksOptions::default())?))
}

#[cfg(not(feature = "rocksdb"))]
fn open_state(dir: &Path) -> Result<Arc<dyn Engine>> {
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
