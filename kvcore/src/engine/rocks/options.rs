//! How RocksDB is set up, and the few things that can be told it.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DEFAULT_COLUMN_FAMILY_NAME, LogLevel, Options, WriteBufferManager,
};

use super::backlog::SLOWDOWN;
use crate::engine::Family;
use crate::types::{Error, Kind, Result};

pub(super) const MIB: usize = 1024 * 1024;

/// Tables in memory for each family: one that is written to, and some that wait for the disk. When
/// all are full, writers are refused.
const TABLES: usize = 4;

/// The cache of a database that is only read from.
const READING_BYTES: usize = 8 * MIB;

/// Bytes a second that writers may bring when compaction begins to fall behind; RocksDB goes on from
/// there. Without this it would begin at the rate of compaction, and soon have to stop writers.
const SLOWED_BYTES: usize = 16 * MIB;

/// How often what may be written is given out, and that one time in so many a compaction goes before a
/// flush. Flushes are the smaller part by far, so they never wait long.
const REFILL_MICROSECONDS: i64 = 100_000;
const FAIRNESS: i32 = 10;

/// What can be chosen about a [`RocksEngine`](super::RocksEngine).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RocksOptions {
    /// Bytes of memory for cached blocks, with their indexes and filters, and for tables that are not
    /// flushed yet. Half of it can be such tables at worst, and one batch more. Blocks that are being
    /// read are never refused room, so it can be exceeded by a few of them. What compactions work with
    /// comes on top, some tens of MiB, and what the allocator wastes. At least 1 MiB. Default: 512 MiB.
    pub memory_limit: usize,
    /// Files held open at once, 16 to 1,000,000. A file holds 64 MiB at most. Default: 512.
    pub max_open_files: u32,
    /// Threads that flush and compact, 2 to 64. RocksDB shares them between all engines of a
    /// process and keeps them until it ends. Default: 2.
    pub background_jobs: u32,
    /// Bytes a second that flushes and compactions may write together, 1 MiB and more. Flushes go
    /// first. Default: 256 MiB.
    pub compaction_rate: u64,
}

impl Default for RocksOptions {
    fn default() -> Self {
        RocksOptions {
            memory_limit: 512 * MIB,
            max_open_files: 512,
            background_jobs: 2,
            compaction_rate: 256 * MIB as u64,
        }
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
            ("memory_limit", self.memory_limit as u64, MIB as u64, usize::MAX as u64),
            ("max_open_files", self.max_open_files.into(), 16, 1_000_000),
            ("background_jobs", self.background_jobs.into(), 2, 64),
            ("compaction_rate", self.compaction_rate, MIB as u64, i64::MAX as u64),
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
    ///
    /// # Errors
    /// `Internal` when this version of RocksDB does not know an option.
    pub(super) fn build(&self) -> Result<(Options, Vec<ColumnFamilyDescriptor>)> {
        let cache = Cache::new_lru_cache(self.memory_limit);
        let mut database = self.database()?;
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
        Ok((database, families(table_bytes, &cache, |_| ())))
    }

    fn database(&self) -> Result<Options> {
        // Options of which the crate knows no other way to set them; before all others, because those
        // are not kept alive across it.
        let others = format!(
            // The engine flushes before it closes; RocksDB would wait where the engine gives up.
            "delayed_write_rate={SLOWED_BYTES};avoid_flush_during_shutdown=true"
        );
        let mut options = quiet()
            .get_options_from_string(others)
            .map_err(|error| Error::internal("options of the state are refused").because(error))?;
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        // Both families are flushed as one step, so that a crash cannot part them.
        options.set_atomic_flush(true);
        options.set_max_open_files(clamp(self.max_open_files));
        options.set_max_background_jobs(clamp(self.background_jobs));
        options.set_ratelimiter(
            i64::try_from(self.compaction_rate).unwrap_or(i64::MAX),
            REFILL_MICROSECONDS,
            FAIRNESS,
        );
        // Written files reach the disk steadily rather than in one burst that delays the Raft log.
        options.set_bytes_per_sync(MIB as u64);
        // Old files are deleted by a background thread, not by whoever drops the last view.
        options.set_avoid_unnecessary_blocking_io(true);
        Ok(options)
    }
}

/// For the files of runs, which become files of a database.
pub(super) fn of_runs() -> Options {
    let mut files = files();
    files.disable_cache();
    family_of(MIB, &files)
}

/// For a database that is read once and thrown away.
pub(super) fn of_inspection() -> (Options, Vec<ColumnFamilyDescriptor>) {
    let (mut database, families) = of_stopped();
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    (database, families)
}

/// For a database that is only looked at.
pub(super) fn of_stopped() -> (Options, Vec<ColumnFamilyDescriptor>) {
    let mut database = quiet();
    database.set_max_open_files(64);
    let families = families(MIB, &Cache::new_lru_cache(READING_BYTES), |family| {
        family.set_disable_auto_compactions(true);
        // A key of which there are many versions would make a reader skip blocks.
        family.set_max_sequential_skip_in_iterations(u64::MAX);
    });
    (database, families)
}

/// What every database has in common: it says little about itself.
fn quiet() -> Options {
    let mut options = Options::default();
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(3);
    options.set_max_log_file_size(4 * MIB);
    options.set_max_manifest_file_size(16 * MIB);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

/// The column families, with tables in memory of that size, and what else is special.
fn families(
    table_bytes: usize,
    cache: &Cache,
    special: impl Fn(&mut Options),
) -> Vec<ColumnFamilyDescriptor> {
    let mut files = files();
    files.set_block_cache(cache);
    // RocksDB insists on a third one, which stays empty. It is named here to be small: after a full
    // disk RocksDB goes on once there is room for the largest table there may be.
    let all = [
        (name(Family::Data), table_bytes),
        (name(Family::Meta), table_bytes),
        (DEFAULT_COLUMN_FAMILY_NAME, MIB / 16),
    ];
    all.map(|(name, table_bytes)| {
        let mut options = family_of(table_bytes, &files);
        special(&mut options);
        ColumnFamilyDescriptor::new(name, options)
    })
    .into()
}

/// One column family, with tables in memory of that size.
fn family_of(table_bytes: usize, files: &BlockBasedOptions) -> Options {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(table_bytes);
    options.set_max_write_buffer_number(TABLES as i32);
    options.set_level_zero_slowdown_writes_trigger(SLOWDOWN as i32);
    options.set_block_based_table_factory(files);
    options
}

/// How files are built and read.
fn files() -> BlockBasedOptions {
    let mut files = BlockBasedOptions::default();
    // Ten bits a key: one lookup in a hundred reads a block of a file that has not got the key.
    files.set_bloom_filter(10.0, false);
    // Indexes and filters are cached like blocks, or they would stand outside the memory limit.
    files.set_cache_index_and_filter_blocks(true);
    files.set_cache_index_and_filter_blocks_with_high_priority(true);
    files.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // In small pieces: those of a file of small values are larger than what the cache has room for
    // when the limit is low, and would be read from disk again and again.
    files.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    files.set_partition_filters(true);
    files.set_pin_top_level_index_and_filter(true);
    files
}

fn clamp(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
