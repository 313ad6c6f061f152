//! How RocksDB is set up, and the few things that can be told it.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DEFAULT_COLUMN_FAMILY_NAME, LogLevel, Options, WriteBufferManager,
};

use crate::engine::Family;
use crate::types::{Error, Kind, Result};

const MIB: usize = 1024 * 1024;

/// Tables in memory for each family: one that is written to, and some that wait for the disk. When
/// all are full, writers wait.
const TABLES: usize = 4;

/// What can be chosen about a [`RocksEngine`](super::RocksEngine).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RocksOptions {
    /// Bytes of memory for cached blocks, with their indexes and filters, and for tables that are not
    /// flushed yet. Half of it can be such tables at worst. At least 1 MiB. Default: 512 MiB.
    pub memory_limit: usize,
    /// Files held open at once, 16 to 1,000,000. Default: 512.
    pub max_open_files: u32,
    /// Threads that flush and compact, 2 to 64. RocksDB shares them between all engines of a
    /// process and keeps them until it ends. Default: 2.
    pub background_jobs: u32,
}

impl Default for RocksOptions {
    fn default() -> Self {
        RocksOptions { memory_limit: 512 * MIB, max_open_files: 512, background_jobs: 2 }
    }
}

/// The name of a family's column family, on disk.
pub(super) fn name(family: Family) -> &'static str {
    match family {
        Family::Data => "data",
        Family::Meta => "meta",
    }
}

impl RocksOptions {
    /// Checks that every option is in its range.
    ///
    /// # Errors
    /// `InvalidArgument` naming the option.
    pub fn validate(&self) -> Result<()> {
        let all = [
            ("memory_limit", self.memory_limit, MIB, usize::MAX),
            ("max_open_files", self.max_open_files as usize, 16, 1_000_000),
            ("background_jobs", self.background_jobs as usize, 2, 64),
        ];
        for (name, value, least, most) in all {
            if value < least || value > most {
                return Err(Error::new(Kind::InvalidArgument, "storage option out of range")
                    .with("option", name)
                    .with("value", value)
                    .with("least", least)
                    .with("most", most));
            }
        }
        Ok(())
    }

    /// The options of the database as a whole, and its column families: they share one cache and one
    /// bound on unflushed tables.
    pub(super) fn build(&self) -> (Options, Vec<ColumnFamilyDescriptor>) {
        let cache = Cache::new_lru_cache(self.memory_limit);
        let mut database = self.database();
        // Unflushed tables count as cached blocks, so that the two share the limit. It does not stall
        // writers: should flushing fail they would wait for ever; the number of tables bounds them.
        database.set_write_buffer_manager(
            &WriteBufferManager::new_write_buffer_manager_with_cache(
                self.memory_limit / 4,
                false,
                cache.clone(),
            ),
        );
        // Two families of four tables make half the limit at worst.
        let table_bytes = self.memory_limit / (4 * TABLES);
        let mut families: Vec<_> = [Family::Data, Family::Meta]
            .map(|family| ColumnFamilyDescriptor::new(name(family), family_of(table_bytes, &cache)))
            .into();
        // RocksDB insists on a third one, which stays empty. It is named here to be small: after a
        // full disk RocksDB goes on once there is room for the largest table there may be.
        let unused = family_of(MIB / 16, &cache);
        families.push(ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, unused));
        (database, families)
    }

    fn database(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        // Both families are flushed as one step, so that a crash cannot part them.
        options.set_atomic_flush(true);
        options.set_max_open_files(clamp(self.max_open_files));
        options.set_max_background_jobs(clamp(self.background_jobs));
        // Written files reach the disk steadily rather than in one burst that delays the Raft log.
        options.set_bytes_per_sync(MIB as u64);
        // Old files are deleted by a background thread, not by whoever drops the last view.
        options.set_avoid_unnecessary_blocking_io(true);
        options.set_log_level(LogLevel::Warn);
        options.set_keep_log_file_num(3);
        options.set_max_log_file_size(4 * MIB);
        options.set_max_manifest_file_size(16 * MIB);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options
    }
}

/// One column family, with tables in memory of that size.
fn family_of(table_bytes: usize, cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(table_bytes);
    options.set_max_write_buffer_number(TABLES as i32);
    options.set_block_based_table_factory(&files(cache));
    options
}

/// How files are built and read.
fn files(cache: &Cache) -> BlockBasedOptions {
    let mut files = BlockBasedOptions::default();
    files.set_block_cache(cache);
    // Ten bits a key: one lookup in a hundred reads a block of a file that has not got the key.
    files.set_bloom_filter(10.0, false);
    // Indexes and filters are cached like blocks, or they would stand outside the memory limit.
    files.set_cache_index_and_filter_blocks(true);
    files.set_cache_index_and_filter_blocks_with_high_priority(true);
    files.set_pin_l0_filter_and_index_blocks_in_cache(true);
    files
}

fn clamp(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
