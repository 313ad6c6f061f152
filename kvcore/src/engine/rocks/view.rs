//! One moment of a RocksDB database.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{ReadOptions, SnapshotWithThreadMode};
use self_cell::self_cell;

use super::options::MIB;
use super::{Database, error, handle};
use crate::engine::page::Page;
use crate::engine::{Family, View};
use crate::types::Result;

type Snapshot<'a> = SnapshotWithThreadMode<'a, Database>;

self_cell! {
    /// A snapshot together with the database that it borrows, so that a view can be passed around
    /// freely; the database closes when the engine and the last view are gone.
    struct OwnedSnapshot {
        owner: Arc<Database>,
        #[covariant]
        dependent: Snapshot,
    }
}

/// Whoever reads so many bytes at once copies a part of the state rather than looking something up.
pub(super) const COPY_BYTES: usize = 4 * MIB;

/// What is read ahead when much is read.
const READ_AHEAD_BYTES: usize = 2 * MIB;

/// A snapshot: takes no copy, but keeps the files of its moment from being compacted away.
pub(super) struct RocksView {
    snapshot: OwnedSnapshot,
}

impl RocksView {
    /// The database at this moment.
    pub(super) fn new(database: Arc<Database>) -> RocksView {
        RocksView { snapshot: OwnedSnapshot::new(database, |database| Snapshot::new(database)) }
    }
}

/// Options for reading much of what will not be read again soon: it does not push out of the cache
/// what is read often.
pub(super) fn read_once(options: &mut ReadOptions) {
    options.fill_cache(false);
    options.set_readahead_size(READ_AHEAD_BYTES);
}

impl View for RocksView {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        let handle = handle(self.snapshot.borrow_owner(), family)?;
        let value = self.snapshot.borrow_dependent().get_cf(handle, key);
        Ok(value.map_err(error::on_read)?.map(Bytes::from))
    }

    fn scan(
        &self,
        family: Family,
        range: Range<Vec<u8>>,
        reverse: bool,
        limit_items: usize,
        limit_bytes: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        let mut page = Page::new(limit_items, limit_bytes);
        if range.start >= range.end {
            return Ok(page.into_pairs());
        }
        let handle = handle(self.snapshot.borrow_owner(), family)?;
        let mut options = ReadOptions::default();
        if limit_bytes >= COPY_BYTES {
            read_once(&mut options);
        }
        options.set_iterate_lower_bound(range.start);
        options.set_iterate_upper_bound(range.end);
        let mut pairs = self.snapshot.borrow_dependent().raw_iterator_cf_opt(handle, options);
        if reverse {
            pairs.seek_to_last();
        } else {
            pairs.seek_to_first();
        }
        while let Some((key, value)) = pairs.item() {
            if !page.has_room(key.len(), value.len()) {
                break;
            }
            page.push(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            if reverse {
                pairs.prev();
            } else {
                pairs.next();
            }
        }
        // An iterator that ran into an error looks like one that reached the end.
        pairs.status().map_err(error::on_read)?;
        Ok(page.into_pairs())
    }
}
