//! The engine that keeps its state in files, with RocksDB.
//!
//! RocksDB's own log is switched off: the Raft log already is the durable copy of every write, and
//! one fsync is enough. A write goes into a table in memory, and the tables of both families are
//! written out together, as one atomic step ("atomic flush"), when they are full and at
//! [`flush`](Engine::flush). A crash therefore takes both families back to the same earlier moment,
//! and what it takes away is replayed from the Raft log.
//!
//! Memory is bounded by one number, [`RocksOptions::memory_limit`], for cached blocks and for tables
//! that wait to be written. Where RocksDB would make a writer wait, because too many tables wait for
//! the disk or for compaction, the writer is refused instead ([`backlog`]).
//!
//! When the disk is full, writing tables out fails and RocksDB refuses writes, while reads go on. It
//! looks at the free space every five seconds and carries on by itself once a table in memory fits (a
//! sixteenth of the memory limit). A compaction that found no room is tried again every second. Any
//! other error of a flush or a compaction is final: see [`Engine::failure`].
//!
//! Parts of the state leave as tables of RocksDB's own form ([`export`]), and come in as such
//! ([`import`]). What a stopped node has left can be read without changing it ([`StoppedEngine`]).

mod backlog;
mod disk;
mod error;
mod export;
mod import;
mod options;
mod stopped;
mod view;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use rocksdb::{
    ColumnFamily, DBWithThreadMode, FlushOptions, ReadOptions, ReadTier, SingleThreaded,
    WriteBatch, WriteOptions,
};

pub use disk::DiskEngine;
pub use options::RocksOptions;
pub use stopped::{Files, StoppedEngine};

use self::backlog::Backlog;
use self::error::Failure;
use self::view::RocksView;
use super::{Batch, Engine, Family, Operation, Part, Ranges, Run, Runs, View};
use crate::types::{Error, Kind, Result};

/// The column families are made when the database is opened and never change, which is all that
/// "single threaded" is about: reads and writes are safe from any thread.
type Database = DBWithThreadMode<SingleThreaded>;

/// An engine over one directory, which it holds exclusively until it and its last view are dropped.
/// Dropping it flushes, and waits for that.
pub struct RocksEngine {
    database: Arc<Database>,
    writes: WriteOptions,
    failure: Failure,
    backlog: Backlog,
    /// Numbers the imports.
    imports: AtomicU64,
}

impl RocksEngine {
    /// Opens the engine in a directory, which is made if it does not exist; the directories above it
    /// must. What it holds is what was there at the last flush before a crash, or at the last close.
    ///
    /// # Errors
    /// `InvalidArgument` when the directory is open already, here or in another process, or when an
    /// option is out of range; `Corruption` when files are damaged or missing; `StorageFull` when the
    /// disk is full; `Internal` when the directory cannot be made, read or written.
    pub fn open(dir: &Path, options: RocksOptions) -> Result<RocksEngine> {
        options.validate()?;
        prepare(dir).map_err(|error| error.with("directory", dir.display()))?;
        let (options, families) = options.build()?;
        let database = Database::open_cf_descriptors(&options, dir, families)
            .map_err(|error| error::on_open(error, dir))?;
        import::remove_remains(dir)?;
        let mut writes = WriteOptions::default();
        writes.disable_wal(true);
        // Rather than to wait, whoever writes hears that it would have to.
        writes.set_no_slowdown(true);
        Ok(RocksEngine {
            database: Arc::new(database),
            writes,
            failure: Failure::default(),
            backlog: Backlog::new(),
            imports: AtomicU64::new(0),
        })
    }

    /// Writes as far as writers are let in.
    fn put(&self, writes: WriteBatch) -> Result<()> {
        let written = self.database.write_opt(writes, &self.writes);
        let error = match written.map_err(|error| self.failure.on_write(error)) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.kind() == Kind::Overloaded && self.backlog.wants_space(&self.database) {
            return Err(backlog::no_space());
        }
        Err(error)
    }

    /// Views that somebody holds.
    fn viewers(&self) -> usize {
        Arc::strong_count(&self.database).saturating_sub(1)
    }

    /// How a writer would be answered now.
    fn probe(&self) -> Result<()> {
        self.put(WriteBatch::default())
    }

    /// Opens what an engine has left in a directory, without changing anything there.
    ///
    /// # Errors
    /// `Corruption` when there is no state in it, or files are damaged or missing; `Internal` when it
    /// cannot be read.
    pub fn open_read_only(dir: &Path) -> Result<StoppedEngine> {
        StoppedEngine::open(dir)
    }
}

/// Makes the directory and makes its name durable. Refuses one that has lost the file which says
/// what the others are: RocksDB would take it for a new one, and delete them.
fn prepare(dir: &Path) -> Result<()> {
    if !dir.try_exists()? {
        std::fs::create_dir(dir)?;
        if let Some(parent) = dir.parent() {
            let here = Path::new(".");
            let parent = if parent.as_os_str().is_empty() { here } else { parent };
            std::fs::File::open(parent)?.sync_all()?;
        }
    }
    if dir.join("CURRENT").try_exists()? {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            return Err(Error::new(Kind::Corruption, "the data directory has no file CURRENT")
                .with("found", path.display()));
        }
    }
    Ok(())
}

/// Removes a file, if it is there.
fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::from(error).with("file", path.display()))
        }
        _ => Ok(()),
    }
}

impl fmt::Debug for RocksEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksEngine").field("directory", &self.database.path()).finish()
    }
}

impl Drop for RocksEngine {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            // Nothing is lost: the Raft log still has what is not flushed.
            let directory = self.database.path().display();
            tracing::warn!(%error, %directory, "the state was not flushed when it was closed");
        }
    }
}

impl Engine for RocksEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        let value = self.database.get_cf(handle(&self.database, family)?, key);
        Ok(value.map_err(error::on_read)?.map(Bytes::from))
    }

    fn get_persisted(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        let value = self.database.get_cf_opt(handle(&self.database, family)?, key, &options);
        Ok(value.map_err(error::on_read)?.map(Bytes::from))
    }

    fn write(&self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let data = handle(&self.database, Family::Data)?;
        let meta = handle(&self.database, Family::Meta)?;
        let handle = |family: &Family| match family {
            Family::Data => data,
            Family::Meta => meta,
        };
        let mut writes = WriteBatch::with_capacity_bytes(batch.bytes() + 16 * (batch.len() + 1));
        for operation in batch.operations() {
            match operation {
                Operation::Put { family, key, value } => writes.put_cf(handle(family), key, value),
                Operation::Delete { family, key } => writes.delete_cf(handle(family), key),
                Operation::DeleteRange { family, range } => {
                    writes.delete_range_cf(handle(family), &range.start, &range.end);
                }
            }
        }
        self.put(writes)
    }

    fn failure(&self) -> Option<Error> {
        // What is final is remembered there; what is not is of no account here.
        self.probe().err().and_then(|_| self.failure.get())
    }

    fn view(&self) -> Result<Arc<dyn View>> {
        Ok(Arc::new(RocksView::new(Arc::clone(&self.database))))
    }

    fn flush(&self) -> Result<()> {
        let data = handle(&self.database, Family::Data)?;
        let meta = handle(&self.database, Family::Meta)?;
        // RocksDB would wait where a table more would slow writers down. It looks a moment later than
        // this does, and another flush or two may have ended until then.
        backlog::wait(self, backlog::SLOWDOWN - 3)?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let flushed = self.database.flush_cfs_opt(&[data, meta], &options);
        flushed.map_err(error::on_write)
    }

    fn export(&self, view: Arc<dyn View>, ranges: Ranges, dir: &Path) -> Runs {
        Box::new(export::FileRuns::new(view, ranges, dir))
    }

    /// Writers of other keys wait while a file is entered, which takes one sync of the disk for each
    /// of them. Files are linked, or copied if they lie in another file system.
    fn import(&self, ranges: &[Part], runs: &[Run], last: &Batch) -> Result<()> {
        import::import(self, ranges, runs, last)
    }

    /// Counts files as they lie on disk, compressed, and not what has not been flushed yet.
    fn approximate_bytes(&self, family: Family, range: Range<Vec<u8>>) -> Result<u64> {
        if range.start >= range.end {
            return Ok(0);
        }
        let handle = handle(&self.database, family)?;
        let range = rocksdb::Range::new(&range.start, &range.end);
        Ok(self.database.get_approximate_sizes_cf(handle, &[range]).iter().sum())
    }
}

fn handle(database: &Database, family: Family) -> Result<&ColumnFamily> {
    let name = options::name(family);
    database
        .cf_handle(name)
        .ok_or_else(|| Error::internal("the database has no such family").with("family", name))
}

#[cfg(test)]
#[path = "mod_test.rs"]
mod tests;

#[cfg(test)]
mod run_test;
