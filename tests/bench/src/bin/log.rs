//! The log: batches of entries, against one sync for each entry, and against a log kept in RocksDB.
//!
//! Every group has a thread that appends a batch of entries, waits until it is durable, and appends the next, as
//! the replicas of a busy node do; entries are random bytes, and old ones are dropped all the time. A log in
//! segments and one in RocksDB do the same, turn by turn, in the same directory; both make one sync of what
//! several groups write at the same moment. Entries a second are printed, and the ratios, which are
//! promised: 10 and 3. So are those of fewer groups at once, of which nothing is promised: with a single
//! one both wait for the disk most of the time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use bench::Verdict;
use bytes::Bytes;
use clap::Parser;
use kvcore::types::{GroupId, PartitionId, ReplicaId};
use kvcore::wal::{Log, Options, Position, Record, Tag, Wal};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

/// Groups, each with a log of its own.
const GROUPS: u16 = 64;
/// Entries that a group makes durable together.
const BATCH: u64 = 256;
/// Bytes of an entry.
const PAYLOAD: usize = 256;
/// Entries between two times that a group drops its oldest, and what it keeps then.
const TRIM: u64 = 4096;
const KEEP: u64 = 1024;

/// Compares ways to keep a log.
#[derive(Parser)]
struct CommandLine {
    /// Seconds for each way, in each of three turns
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Where the logs are written [default: a temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let scratch = match &line.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .unwrap();
    let turn = Duration::from_secs(line.seconds);
    let segments = Segments::open(&scratch.path().join("segments"));
    let rocks = Rocks::open(&scratch.path().join("rocks"));
    let mut verdict = Verdict::default();
    println!("entries/s of {PAYLOAD} random bytes, in three turns of {turn:?} each");
    for groups in [1, 4, GROUPS] {
        let (mut ours, mut theirs) = (Tally::default(), Tally::default());
        for _ in 0..3 {
            ours.time(turn, groups, BATCH, |group| segments.appender(group));
            theirs.time(turn, groups, BATCH, |group| rocks.appender(group));
        }
        let (ours, theirs) = (ours.rate(), theirs.rate());
        println!(
            "  {groups:>2} groups, batches of {BATCH}: {ours:>9.0}, in RocksDB {theirs:>9.0}, ratio {:.2}",
            ours / theirs
        );
        if groups == GROUPS {
            let mut single = Tally::default();
            single.time(turn, 1, 1, |group| segments.appender(group));
            println!("   one sync an entry:         {:>9.0}", single.rate());
            verdict.at_least("batches against one sync an entry", ours / single.rate(), 10.0);
            verdict.at_least("batches against a log in RocksDB", ours / theirs, 3.0);
        }
    }
    segments.wal.close().unwrap();
    verdict.code()
}

#[derive(Default)]
struct Tally {
    entries: u64,
    took: Duration,
}

impl Tally {
    /// Has so many groups append for that long, each what its appender appends.
    fn time<A: FnMut(&[Bytes])>(
        &mut self,
        turn: Duration,
        groups: u16,
        entries: u64,
        appender: impl Fn(u16) -> A + Sync,
    ) {
        let (stop, appended) = (AtomicBool::new(false), AtomicU64::new(0));
        let began = Instant::now();
        thread::scope(|scope| {
            for group in 0..groups {
                let (stop, appended, appender) = (&stop, &appended, &appender);
                scope.spawn(move || {
                    let mut append = appender(group);
                    let mut payloads = Payloads::new(group);
                    while !stop.load(Ordering::Relaxed) {
                        append(&payloads.next(entries));
                        appended.fetch_add(entries, Ordering::Relaxed);
                    }
                });
            }
            thread::sleep(turn);
            stop.store(true, Ordering::Relaxed);
        });
        self.took += began.elapsed();
        self.entries += appended.load(Ordering::Relaxed);
    }

    fn rate(&self) -> f64 {
        self.entries as f64 / self.took.as_secs_f64()
    }
}

/// What is appended: parts of a megabyte of noise, so that making them costs nothing.
struct Payloads {
    noise: Bytes,
    chance: SmallRng,
}

impl Payloads {
    fn new(seed: u16) -> Payloads {
        let mut chance = SmallRng::seed_from_u64(seed.into());
        let mut noise = vec![0; 1 << 20];
        chance.fill_bytes(&mut noise);
        Payloads { noise: noise.into(), chance }
    }

    fn next(&mut self, count: u64) -> Vec<Bytes> {
        let part = || {
            let at = self.chance.random_range(0..self.noise.len() - PAYLOAD);
            self.noise.slice(at..at + PAYLOAD)
        };
        std::iter::repeat_with(part).take(count as usize).collect()
    }
}

/// Logs in segments.
struct Segments {
    wal: Wal,
}

impl Segments {
    fn open(dir: &Path) -> Segments {
        Segments { wal: Wal::open(dir, Options::default()).unwrap() }
    }

    fn appender(&self, group: u16) -> impl FnMut(&[Bytes]) + use<> {
        let group = GroupId::Partition(PartitionId(group));
        let log: Log = self.wal.log(Tag { group, replica: ReplicaId(1) }).unwrap();
        let mut last = log.state().last.map_or(0, |position| position.index);
        move |payloads: &[Bytes]| {
            let before = last;
            let records = payloads.iter().map(|payload| {
                last += 1;
                let position = Position { term: 1, index: last };
                Record { position, kind: 1, payload: payload.clone() }
            });
            let (tell, told) = sync_channel(1);
            log.append(
                records.collect(),
                Box::new(move |done| tell.send(done).expect("waited for")),
            );
            if before / TRIM != last / TRIM && last > KEEP {
                log.purge(Position { term: 1, index: last - KEEP }, Box::new(|_| ()));
            }
            told.recv().unwrap().unwrap();
        }
    }
}

/// Logs in RocksDB: under each group and index its entry, in RocksDB's write-ahead log first.
struct Rocks {
    database: rocksdb::DB,
    last: Vec<AtomicU64>,
}

impl Rocks {
    fn open(dir: &Path) -> Rocks {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(64 << 20);
        options.set_max_write_buffer_number(4);
        options.set_max_background_jobs(2);
        options.set_recycle_log_file_num(4);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        let database = rocksdb::DB::open(&options, dir).unwrap();
        Rocks { database, last: (0..GROUPS).map(|_| AtomicU64::new(0)).collect() }
    }

    fn appender(&self, group: u16) -> impl FnMut(&[Bytes]) {
        let last = &self.last[usize::from(group)];
        move |payloads: &[Bytes]| {
            let before = last.fetch_add(payloads.len() as u64, Ordering::Relaxed);
            let after = before + payloads.len() as u64;
            let mut batch = rocksdb::WriteBatch::default();
            for (index, payload) in (before + 1..).zip(payloads) {
                batch.put(key(group, index), payload);
            }
            if before / TRIM != after / TRIM && after > KEEP {
                batch.delete_range(key(group, 0), key(group, after - KEEP));
            }
            let mut synced = rocksdb::WriteOptions::default();
            synced.set_sync(true);
            self.database.write_opt(batch, &synced).unwrap();
        }
    }
}

fn key(group: u16, index: u64) -> [u8; 10] {
    let mut key = [0; 10];
    key[..2].copy_from_slice(&group.to_be_bytes());
    key[2..].copy_from_slice(&index.to_be_bytes());
    key
}
