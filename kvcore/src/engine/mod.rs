//! Floor 1: where a node keeps its state.
//!
//! A node holds the keys of many partitions, what it must remember for each of them (the sessions
//! it has answered, how far it has applied the log) and the state of the metadata group. All of it
//! lies in one [`Engine`]: an ordered map of bytes to bytes, in two [families](Family). The engine
//! knows nothing of partitions or Raft; [`keys`] says under which key each thing lies, so that
//! everything of one group is one range that can be listed, copied or removed.
//!
//! Changes come in a [`Batch`], which is applied whole or not at all. That is what makes a restart
//! simple: a value, the session record that remembers its answer and the position in the log that
//! brought it are one batch, so whatever survives a crash tells a coherent story.
//!
//! An engine does not promise that a write survives as soon as it returns, only that what survives
//! is a prefix of what was written, and that after [`Engine::flush`] it is all of it. The Raft log is
//! the durable copy, and replays what the engine forgot. For that the log must know how far the
//! engine has really got: [`Engine::get_persisted`] answers with what a restart after a power
//! loss would find, and the log is only purged below that.
//!
//! Reads that span more than one key (scans, snapshots) go through a [`View`], which shows one moment
//! for as long as it is held, whatever is written meanwhile. A scan is paged: each call returns a
//! bounded number of pairs, and the caller goes on behind the last key it was given.
//!
//! A part of the state, such as everything of one group, leaves an engine and enters another as a
//! sequence of sorted [runs](run): files, or pieces of memory. They are made from a view while writes
//! go on, and let in all at once: [`Engine::export`], [`Engine::import`].
//!
//! There are two engines. [`memory`] keeps everything in this process, within a byte budget, and
//! forgets it when the process ends. `rocks` keeps it in files, with RocksDB; it is left out
//! when the crate is built without the feature `rocksdb`. One suite of checks, `conformance`, is run
//! against both: nobody above this floor needs to know which one is underneath.

pub mod batch;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod conformance_runs;
#[cfg(test)]
mod guarded;
pub mod keys;
pub mod memory;
mod packed;
mod page;
#[cfg(feature = "rocksdb")]
pub mod rocks;
pub mod run;

use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use batch::{Batch, Operation};
#[cfg(test)]
pub(crate) use guarded::Guarded;
pub use memory::MemoryEngine;
#[cfg(feature = "rocksdb")]
pub use rocks::{DiskEngine, RocksEngine, RocksOptions, StoppedEngine};
pub use run::{Content, Part, Ranges, Run};

use crate::types::{Error, Kind, Result};

/// Which of the two ordered maps of an engine a key lies in. A batch may change both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// What users store.
    Data,
    /// What a node remembers about each group.
    Meta,
}

/// What [`Engine::export`] makes, one run for each call of `next`.
pub type Runs = Box<dyn Iterator<Item = Result<Run>> + Send>;

/// An ordered map of bytes to bytes, in two families, that changes in batches.
///
/// All methods may be called from any thread at any time. All but [`write`](Engine::write),
/// [`failure`](Engine::failure) and [`view`](Engine::view) may wait for the disk: call those where
/// blocking is allowed.
pub trait Engine: Send + Sync + Debug + 'static {
    /// The value under a key, or `None`.
    ///
    /// # Errors
    /// `Corruption` when the stored bytes do not match their checksum; `Internal` when reading fails.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>>;

    /// What a restart after a power loss would find under the key: an older value than [`get`], or
    /// none, until the next flush. An engine that keeps nothing across a restart has nothing to
    /// fall behind with, and answers the same as [`get`].
    ///
    /// [`get`]: Engine::get
    ///
    /// # Errors
    /// As [`get`].
    fn get_persisted(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>>;

    /// Applies a batch whole or not at all, its operations in order. It is visible when this returns,
    /// and durable after the next [`flush`](Engine::flush). Batches written one after the other never
    /// survive a crash without those before them.
    ///
    /// Waits for no disk, so that it may be called on a thread that serves others too: where the
    /// disk has fallen too far behind, the answer is `Overloaded`, and the same batch may be tried
    /// again a little later.
    ///
    /// # Errors
    /// `Overloaded` when a memory budget is used up or the disk has to catch up with earlier writes,
    /// `StorageFull` when the disk is full; both pass. `Corruption` or `Internal` when the engine has
    /// [failed](Engine::failure). Nothing of the batch has been applied in any of these cases.
    fn write(&self, batch: &Batch) -> Result<()>;

    /// Writes, and waits where [`write`](Engine::write) would have to be tried again because the disk has to
    /// catch up: for as long as `patience`. Blocks.
    ///
    /// # Errors
    /// As [`write`](Engine::write).
    fn write_waiting(&self, batch: &Batch, patience: Duration) -> Result<()> {
        const PAUSE: Duration = Duration::from_millis(10);
        let mut left = patience;
        loop {
            match self.write(batch) {
                Err(error) if error.kind() == Kind::Overloaded && !left.is_zero() => {
                    std::thread::sleep(PAUSE);
                    left = left.saturating_sub(PAUSE);
                }
                written => return written,
            }
        }
    }

    /// What the engine has failed with for good: `Corruption` when files that it had to rewrite turned
    /// out to be damaged or missing, `Internal` when the disk refused to store what it must for
    /// another reason than being full. From then on nothing can be written, and what was not flushed
    /// is lost when the engine is opened anew, which is what ends this; reads go on as far as they
    /// can. None while the engine works, or only waits for the disk to have room again.
    ///
    /// Takes about as long as writing an empty batch.
    fn failure(&self) -> Option<Error>;

    /// Opens the engine anew, from what is on disk, after it has [failed](Engine::failure). What was not
    /// flushed is gone. Nobody may be using it: whoever calls meanwhile is answered `Unavailable`. An
    /// engine in memory has nothing to open.
    ///
    /// # Errors
    /// `Overloaded` when somebody holds a view for too long, and everything is as before; else as when
    /// it was first opened, and it stays closed. It can be tried again.
    fn reopen(&self) -> Result<()> {
        Ok(())
    }

    /// Rids the engine of what is damaged: what can be read of each of these groups of ranges is kept,
    /// groups that cannot be read as a whole (damaged, or refused by the disk) and everything else are
    /// dropped. `damaged` is called for each such group, by its number, before anything is dropped; if it
    /// fails nothing is. Nobody may be using the engine, as for [`reopen`](Engine::reopen). An engine in
    /// memory has nothing to do.
    ///
    /// # Errors
    /// Those of `damaged`; `StorageFull`: a second copy of the state is made; else as
    /// [`reopen`](Engine::reopen). It can be tried again.
    fn salvage(
        &self,
        _groups: &[Ranges],
        _damaged: &mut dyn FnMut(usize, Error) -> Result<()>,
    ) -> Result<()> {
        Ok(())
    }

    /// The engine at this moment, unchanged by later writes for as long as it is held. Cheap to take;
    /// holding it keeps what has been overwritten since, so do not hold it for longer than needed.
    ///
    /// # Errors
    /// `Internal` when the engine cannot make one.
    fn view(&self) -> Result<Arc<dyn View>>;

    /// Returns once everything that was written before the call is on stable storage.
    ///
    /// # Errors
    /// `StorageFull` when there is no room for it, `Overloaded` when the disk does not catch up with
    /// earlier writes in time; nothing is lost, and a later call can succeed. `Corruption` or `Internal` when the engine has [failed](Engine::failure).
    fn flush(&self) -> Result<()>;

    /// Copies what a view holds in these ranges, run by run, on demand: each call of `next` makes the
    /// next run, in the order of the ranges. Any view will do, also one of another engine.
    ///
    /// A file-based engine makes each run a file in `dir`, which exists; the caller owns the files and
    /// removes them. An engine in memory has no use for `dir`. What one run holds is bounded: about
    /// 64 MiB of a file, about 1 MiB in memory, or one pair.
    ///
    /// # Errors
    /// Each step: as [`get`](Engine::get), and `StorageFull` when there is no room for the file. After
    /// an error there are no more runs, and no file is left of the one that was being made.
    fn export(&self, view: Arc<dyn View>, ranges: Ranges, dir: &Path) -> Runs;

    /// Replaces everything in `ranges` by what the runs hold, then applies `last`, and makes all of it
    /// durable. Views that were taken before do not change. Runs may come in any order; their files are
    /// left where they are, unchanged, so that it can be done again after a crash in the middle: until
    /// it has returned `Ok`, the ranges may hold anything. Nobody else may write into them meanwhile.
    ///
    /// Checks before it changes anything that each run is whole, sorted, and lies inside the ranges.
    ///
    /// # Errors
    /// `Corruption` for a run that is not as it should be, and nothing has changed. `Overloaded` when
    /// a memory budget is used up, and nothing has changed, or when the disk does not catch up with
    /// earlier writes in time; `StorageFull` when there is no room; otherwise as
    /// [`write`](Engine::write) and [`flush`](Engine::flush).
    fn import(&self, ranges: &[Part], runs: &[Run], last: &Batch) -> Result<()>;

    /// About how many bytes the keys from `range.start` up to but without `range.end` take. Good for
    /// balancing and for showing to people, no better.
    ///
    /// # Errors
    /// `Internal` when the engine cannot tell.
    fn approximate_bytes(&self, family: Family, range: Range<Vec<u8>>) -> Result<u64>;
}

/// One moment of an engine. May be shared between threads, and outlives the engine it came from.
pub trait View: Send + Sync + 'static {
    /// The value that the key had at this moment, or `None`.
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>>;

    /// A page of pairs with `range.start <= key < range.end`, ascending, or descending from the end
    /// of the range if `reverse`. It ends with the range, after `limit_items` pairs, or before the
    /// pair that would bring keys and values above `limit_bytes`; the first pair is returned
    /// whatever its size. No pairs means that there are none (or `limit_items` is 0).
    ///
    /// To go on, call again with `range.start` just behind the last key (the key followed by a zero
    /// byte), or in reverse with `range.end` at the last key.
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn scan(
        &self,
        family: Family,
        range: Range<Vec<u8>>,
        reverse: bool,
        limit_items: usize,
        limit_bytes: usize,
    ) -> Result<Vec<(Bytes, Bytes)>>;
}
