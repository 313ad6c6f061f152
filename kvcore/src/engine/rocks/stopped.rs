//! The state of a node that does not run, to be looked at.

use std::path::Path;
use std::sync::Arc;

use rocksdb::ReadOptions;

use super::view::{self, RocksView};
use super::{Database, error, handle, options};
use crate::engine::{Family, View};
use crate::types::{Error, Kind, Result};

/// A directory that a [`RocksEngine`](super::RocksEngine) has left behind, opened for reading alone:
/// no byte of it changes, and nothing is cached. Whoever opens it sees to it that no engine has it open
/// meanwhile, here or in another process; that is not found out.
pub struct StoppedEngine {
    database: Arc<Database>,
}

/// The files that a family lies in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Files {
    /// How many there are.
    pub count: u64,
    /// The bytes of all of them, as they lie on disk.
    pub bytes: u64,
}

impl StoppedEngine {
    /// Opens what is in the directory.
    ///
    /// # Errors
    /// `Corruption` when there is no state in it, or files are damaged or missing; `Internal` when it
    /// cannot be read.
    pub(super) fn open(dir: &Path) -> Result<StoppedEngine> {
        if !dir.join("CURRENT").try_exists()? {
            return Err(Error::new(Kind::Corruption, "the data directory has no file CURRENT")
                .with("directory", dir.display()));
        }
        let (options, families) = options::of_stopped();
        let database = Database::open_cf_descriptors_read_only(&options, dir, families, false)
            .map_err(|error| error::on_open(error, dir))?;
        Ok(StoppedEngine { database: Arc::new(database) })
    }

    /// What is stored. The checksum of all that is read is compared.
    pub fn view(&self) -> Arc<dyn View> {
        Arc::new(RocksView::new(Arc::clone(&self.database)))
    }

    /// The files that a family lies in.
    ///
    /// # Errors
    /// `Internal` when RocksDB cannot tell.
    pub fn files(&self, family: Family) -> Result<Files> {
        let mut files = Files::default();
        for file in self.database.live_files().map_err(error::on_read)? {
            if file.column_family_name == options::name(family) {
                files.count += 1;
                files.bytes += file.size as u64;
            }
        }
        Ok(files)
    }

    /// Reads all files of a family from end to end, also what is deleted or replaced by now, and
    /// compares the checksum of each block. Only damage to a filter is not found: a filter that does
    /// not match its checksum is not used.
    ///
    /// # Errors
    /// As [`View::get`]; the message names the first file that is damaged.
    pub fn check(&self, family: Family) -> Result<()> {
        let mut options = ReadOptions::default();
        view::read_once(&mut options);
        see_what_is_deleted(&mut options);
        let handle = handle(&self.database, family)?;
        let mut pairs = self.database.raw_iterator_cf_opt(handle, options);
        pairs.seek_to_first();
        while pairs.valid() {
            pairs.next();
        }
        pairs.status().map_err(error::on_read)
    }
}

/// Blocks that hold nothing but what was deleted with its range would be skipped. RocksDB advises
/// against this where data is served.
#[expect(deprecated)]
fn see_what_is_deleted(options: &mut ReadOptions) {
    options.set_ignore_range_deletions(true);
}
