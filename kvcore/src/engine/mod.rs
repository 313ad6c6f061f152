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
//! There are two engines. [`memory`] keeps everything in this process, within a byte budget, and
//! forgets it when the process ends. `rocks` keeps it in files, with RocksDB; it is left out
//! when the crate is built without the feature `rocksdb`. One suite of checks, `conformance`, is run
//! against both: nobody above this floor needs to know which one is underneath.

pub mod batch;
#[cfg(test)]
mod conformance;
pub mod keys;
pub mod memory;
mod page;
#[cfg(feature = "rocksdb")]
pub mod rocks;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

pub use batch::{Batch, Operation};
pub use memory::MemoryEngine;
#[cfg(feature = "rocksdb")]
pub use rocks::{RocksEngine, RocksOptions};

use crate::types::Result;

/// Which of the two ordered maps of an engine a key lies in. A batch may change both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// What users store.
    Data,
    /// What a node remembers about each group.
    Meta,
}

/// An ordered map of bytes to bytes, in two families, that changes in batches.
///
/// All methods may be called from any thread at any time. They may wait for the disk: call them
/// where blocking is allowed.
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
    /// # Errors
    /// `Overloaded` when a memory budget is used up, `StorageFull` when the disk is; nothing of the
    /// batch has been applied then. `Corruption` or `Internal` when an earlier background write has
    /// failed.
    fn write(&self, batch: Batch) -> Result<()>;

    /// The engine at this moment, unchanged by later writes for as long as it is held. Cheap to take;
    /// holding it keeps what has been overwritten since, so do not hold it for longer than needed.
    ///
    /// # Errors
    /// `Internal` when the engine cannot make one.
    fn view(&self) -> Result<Arc<dyn View>>;

    /// Returns once everything that was written before the call is on stable storage.
    ///
    /// # Errors
    /// `StorageFull` when there is no room for it; nothing is lost, and a later call can succeed.
    /// `Internal` when writing fails otherwise.
    fn flush(&self) -> Result<()>;

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
