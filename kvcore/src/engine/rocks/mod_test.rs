use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::{TempDir, tempdir};

use super::*;
use crate::engine::conformance;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

fn small() -> RocksOptions {
    RocksOptions { memory_limit: 2 * 1024 * 1024, ..RocksOptions::default() }
}

fn open(dir: &Path) -> RocksEngine {
    RocksEngine::open(dir, small()).unwrap()
}

/// The same number under the same key in both families, and a payload that fills only one.
fn write_both(engine: &RocksEngine, number: u32, payload: usize) {
    let mut batch = Batch::new();
    let key = number.to_be_bytes().to_vec();
    batch.put(Family::Data, key.clone(), vec![number as u8; payload]);
    batch.put(Family::Meta, key, "");
    write(engine, &batch);
}

/// Writes a batch, as often as it is refused because the disk has to catch up.
fn write(engine: &RocksEngine, batch: &Batch) {
    let since = Instant::now();
    while let Err(error) = engine.write(batch) {
        assert_eq!(error.kind(), Kind::Overloaded, "{error:?}");
        assert!(since.elapsed() < PATIENCE, "still refused: {error}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Bytes that do not compress.
fn noise(seed: u32, bytes: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let next = || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// The numbers found in a family.
fn numbers(engine: &RocksEngine, family: Family) -> Vec<u32> {
    let view = engine.view().unwrap();
    let pairs = view.scan(family, vec![]..vec![0xFF; 5], false, usize::MAX, usize::MAX).unwrap();
    pairs.iter().map(|(key, _)| u32::from_be_bytes(key.as_ref().try_into().unwrap())).collect()
}

/// What a power loss would leave: the files as they are now, next to the open ones.
fn crash_image(dir: &Path, name: &str) -> PathBuf {
    let image = dir.with_file_name(name);
    fs::create_dir(&image).unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, image.join(path.file_name().unwrap())).unwrap();
    }
    image
}

fn files(dir: &Path, matches: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| matches(path.file_name().unwrap().to_str().unwrap()))
        .collect()
}

/// A closed directory with something flushed in both families.
fn closed() -> (TempDir, PathBuf) {
    let root = tempdir().unwrap();
    let dir = root.path().join("state");
    let engine = open(&dir);
    for number in 0..100 {
        write_both(&engine, number, 100);
    }
    drop(engine);
    (root, dir)
}

#[test]
fn rocks_is_an_engine() {
    let root = tempdir().unwrap();
    let opened = Cell::new(0);
    conformance::suite(|| {
        opened.set(opened.get() + 1);
        Arc::new(open(&root.path().join(opened.get().to_string())))
    });
}

#[test]
fn what_is_not_flushed_is_not_persisted() {
    let root = tempdir().unwrap();
    let engine = open(&root.path().join("state"));
    let key = 1_u32.to_be_bytes();
    write_both(&engine, 1, 10);
    assert!(engine.get(Family::Meta, &key).unwrap().is_some());
    assert_eq!(engine.get_persisted(Family::Data, &key).unwrap(), None);
    assert_eq!(engine.get_persisted(Family::Meta, &key).unwrap(), None);
    engine.flush().unwrap();
    assert_eq!(engine.get_persisted(Family::Data, &key).unwrap().unwrap().len(), 10);
    assert!(engine.get_persisted(Family::Meta, &key).unwrap().is_some());
    write_both(&engine, 1, 20);
    assert_eq!(engine.get_persisted(Family::Data, &key).unwrap().unwrap().len(), 10);
    let mut batch = Batch::new();
    batch.delete_range(Family::Data, vec![]..vec![0xFF]);
    engine.write(&batch).unwrap();
    assert_eq!(engine.get(Family::Data, &key).unwrap(), None);
    assert_eq!(engine.get_persisted(Family::Data, &key).unwrap().unwrap().len(), 10);
    engine.flush().unwrap();
    assert_eq!(engine.get_persisted(Family::Data, &key).unwrap(), None);
}

#[test]
fn a_close_keeps_everything() {
    let (_root, dir) = closed();
    let engine = open(&dir);
    assert_eq!(numbers(&engine, Family::Data), (0..100).collect::<Vec<_>>());
    assert_eq!(numbers(&engine, Family::Meta), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_crash_keeps_what_was_flushed() {
    let root = tempdir().unwrap();
    let dir = root.path().join("state");
    let engine = open(&dir);
    for number in 0..50 {
        write_both(&engine, number, 100);
    }
    engine.flush().unwrap();
    for number in 50..80 {
        write_both(&engine, number, 100);
    }
    let image = open(&crash_image(&dir, "image"));
    assert_eq!(numbers(&image, Family::Data), (0..50).collect::<Vec<_>>());
    assert_eq!(numbers(&image, Family::Meta), (0..50).collect::<Vec<_>>());
    assert_eq!(numbers(&engine, Family::Meta).len(), 80);
}

/// Tables are flushed without being asked when one family's is full. The other family's must go with
/// it, or a crash would leave values without the records that explain them.
#[test]
fn a_crash_keeps_the_families_together() {
    let root = tempdir().unwrap();
    let dir = root.path().join("state");
    let engine = open(&dir);
    let mut last = 0;
    for round in 0..5 {
        for _ in 0..500 {
            write_both(&engine, last, 1_000);
            last += 1;
        }
        // Let flushes and compactions end, so that no file vanishes while it is copied; what then
        // comes into memory is what the crash takes away.
        engine.database.wait_for_compact(&rocksdb::WaitForCompactOptions::default()).unwrap();
        write_both(&engine, last, 1_000);
        last += 1;
        let image = open(&crash_image(&dir, &format!("image {round}")));
        let data = numbers(&image, Family::Data);
        assert_eq!(data, numbers(&image, Family::Meta));
        assert_eq!(data, (0..data.len() as u32).collect::<Vec<_>>(), "not a prefix");
        assert!(!data.is_empty(), "nothing was flushed");
        assert!((data.len() as u32) < last, "nothing was lost: the image shows no crash");
        let persisted = |number: u32| {
            engine.get_persisted(Family::Meta, &number.to_be_bytes()).unwrap().is_some()
        };
        assert!(persisted(data.len() as u32 - 1) && !persisted(data.len() as u32));
    }
}

#[test]
fn a_directory_has_one_owner() {
    let root = tempdir().unwrap();
    let dir = root.path().join("state");
    let engine = open(&dir);
    let error = RocksEngine::open(&dir, small()).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument, "{error:?}");
    assert!(error.message().starts_with("data directory is already open"), "{error}");
    assert!(error.message().contains(dir.to_str().unwrap()), "{error}");

    let view = engine.view().unwrap();
    drop(engine);
    assert!(RocksEngine::open(&dir, small()).is_err(), "the view still reads from it");
    drop(view);
    open(&dir);
}

#[test]
fn options_have_ranges() {
    let root = tempdir().unwrap();
    let dir = root.path().join("state");
    for options in [
        RocksOptions { memory_limit: 1024, ..small() },
        RocksOptions { max_open_files: 0, ..small() },
        RocksOptions { background_jobs: 1, ..small() },
        RocksOptions { compaction_rate: 1024, ..small() },
    ] {
        let error = RocksEngine::open(&dir, options).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
    }
    assert!(!dir.exists());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let root = tempdir().unwrap();
    let dir = root.path().join("missing").join("state");
    let error = RocksEngine::open(&dir, small()).unwrap_err();
    assert!(error.message().contains(dir.to_str().unwrap()), "{error}");
}

#[test]
fn a_damaged_manifest_is_corruption() {
    let (_root, dir) = closed();
    for path in files(&dir, |name| name.starts_with("MANIFEST")) {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xFF;
        fs::write(&path, bytes).unwrap();
    }
    let error = RocksEngine::open(&dir, small()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corruption, "{error:?}");
}

#[test]
fn a_missing_manifest_is_corruption() {
    let (_root, dir) = closed();
    files(&dir, |name| name.starts_with("MANIFEST")).iter().for_each(|path| {
        fs::remove_file(path).unwrap();
    });
    let error = RocksEngine::open(&dir, small()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corruption, "{error:?}");
}

#[test]
fn a_damaged_current_is_corruption() {
    for content in ["", "nonsense", "MANIFEST-999999\n"] {
        let (_root, dir) = closed();
        fs::write(dir.join("CURRENT"), content).unwrap();
        let error = RocksEngine::open(&dir, small()).unwrap_err();
        assert_eq!(error.kind(), Kind::Corruption, "{content:?}: {error:?}");
    }
}

#[test]
fn a_missing_current_does_not_found_a_new_database() {
    let (_root, dir) = closed();
    fs::remove_file(dir.join("CURRENT")).unwrap();
    let error = RocksEngine::open(&dir, small()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corruption, "{error:?}");
    assert!(!files(&dir, |name| name.ends_with(".sst")).is_empty(), "the data was deleted");
}

#[test]
fn a_missing_table_is_corruption() {
    let (_root, dir) = closed();
    fs::remove_file(files(&dir, |name| name.ends_with(".sst")).first().unwrap()).unwrap();
    let error = RocksEngine::open(&dir, small()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corruption, "{error:?}");
}

#[test]
fn a_flipped_byte_in_a_table_is_found_when_read() {
    let (_root, dir) = closed();
    for path in files(&dir, |name| name.ends_with(".sst")) {
        let mut bytes = fs::read(&path).unwrap();
        bytes[10] ^= 0xFF;
        fs::write(&path, bytes).unwrap();
    }
    let engine = open(&dir);
    let view = engine.view().unwrap();
    for family in [Family::Data, Family::Meta] {
        let error = engine.get(family, &1_u32.to_be_bytes()).unwrap_err();
        assert_eq!(error.kind(), Kind::Corruption, "{error:?}");
        let error = view.scan(family, vec![]..vec![0xFF; 5], false, 10, 1_000).unwrap_err();
        assert_eq!(error.kind(), Kind::Corruption, "{error:?}");
    }
}

fn property(engine: &RocksEngine, family: Family, name: &str) -> u64 {
    let handle = handle(&engine.database, family).unwrap();
    engine.database.property_int_value_cf(handle, name).unwrap().unwrap()
}

#[test]
fn memory_stays_within_its_limit() {
    let root = tempdir().unwrap();
    let limit = 16 * 1024 * 1024;
    let options = RocksOptions { memory_limit: limit as usize, ..RocksOptions::default() };
    let engine = RocksEngine::open(&root.path().join("state"), options).unwrap();
    let mut most = 0;
    let mut look = || {
        let tables = [Family::Data, Family::Meta]
            .map(|family| property(&engine, family, "rocksdb.cur-size-all-mem-tables"));
        assert!(tables.iter().sum::<u64>() <= limit / 2, "tables: {tables:?}");
        // Counts the tables too, and indexes and filters.
        let cached = property(&engine, Family::Data, "rocksdb.block-cache-usage");
        assert!(cached <= limit + limit / 20, "cached: {cached}");
        // What stands outside.
        assert!(property(&engine, Family::Data, "rocksdb.estimate-table-readers-mem") < limit / 20);
        most = cached.max(most);
    };
    let pairs = 400_u32;
    for number in 0..pairs {
        let mut batch = Batch::new();
        for part in 0..64_u32 {
            let key = [number.to_be_bytes(), part.to_be_bytes()].concat();
            batch.put(Family::Data, key.clone(), noise(number ^ part, 1_000));
            batch.put(Family::Meta, key, noise(number, 100));
        }
        write(&engine, &batch);
        look();
    }
    for number in (0..pairs).chain(0..pairs) {
        let key = [number.to_be_bytes(), 7_u32.to_be_bytes()].concat();
        assert_eq!(engine.get(Family::Data, &key).unwrap().unwrap().len(), 1_000);
        let view = engine.view().unwrap();
        let range = number.to_be_bytes().to_vec()..(number + 1).to_be_bytes().to_vec();
        assert_eq!(view.scan(Family::Data, range, false, 1_000, 100_000).unwrap().len(), 64);
        look();
    }
    assert!(most > limit / 2, "the cache was never used: {most}");
}

/// Writers outrun a disk that takes 1 MiB a second.
#[test]
fn a_writer_is_refused_rather_than_made_to_wait() {
    let root = tempdir().unwrap();
    let options = RocksOptions { compaction_rate: 1024 * 1024, ..small() };
    let engine = RocksEngine::open(&root.path().join("state"), options).unwrap();
    let mut refused = 0;
    for number in 0..300_u32 {
        let mut batch = Batch::new();
        batch.put(Family::Data, number.to_be_bytes().to_vec(), noise(number, 10_000));
        let since = Instant::now();
        while let Err(error) = engine.write(&batch) {
            assert_eq!(error.kind(), Kind::Overloaded, "{error:?}");
            assert!(error.message().contains("catch up"), "{error}");
            let absent = engine.get(Family::Data, &number.to_be_bytes()).unwrap();
            assert_eq!(absent, None, "refused and written all the same");
            assert!(engine.failure().is_none());
            assert!(since.elapsed() < PATIENCE, "still refused: {error}");
            refused += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert!(refused > 0, "the disk was not outrun");
    assert_eq!(numbers(&engine, Family::Data), (0..300).collect::<Vec<_>>());
}

#[test]
fn damage_that_a_compaction_finds_is_remembered() {
    let (_root, dir) = closed();
    for path in files(&dir, |name| name.ends_with(".sst")) {
        let mut bytes = fs::read(&path).unwrap();
        bytes[10] ^= 0xFF;
        fs::write(&path, bytes).unwrap();
    }
    let engine = open(&dir);
    assert!(engine.failure().is_none(), "nothing has read it yet");
    // The fourth file of level 0 is what makes RocksDB compact.
    let since = Instant::now();
    let failure = loop {
        if let Some(failure) = engine.failure() {
            break failure;
        }
        assert!(since.elapsed() < PATIENCE, "no compaction has read the damaged file");
        let mut batch = Batch::new();
        batch.put(Family::Data, 1_u32.to_be_bytes().to_vec(), "new");
        batch.put(Family::Meta, 1_u32.to_be_bytes().to_vec(), "new");
        // Fails as soon as the compaction has.
        if engine.write(&batch).is_ok() && engine.flush().is_err() {
            assert!(engine.failure().is_some());
        }
    };
    assert_eq!(failure.kind(), Kind::Corruption, "{failure:?}");
    assert!(failure.to_string().contains(".sst"), "names no file: {failure}");
    let mut batch = Batch::new();
    batch.put(Family::Data, "after", "");
    assert_eq!(engine.write(&batch).unwrap_err().kind(), Kind::Corruption);
    assert_eq!(engine.flush().unwrap_err().kind(), Kind::Corruption);
    assert_eq!(engine.get(Family::Data, b"after").unwrap(), None);
    assert_eq!(engine.get(Family::Data, &1_u32.to_be_bytes()).unwrap().unwrap(), "new");
    assert_eq!(engine.failure().unwrap().to_string(), failure.to_string());
}

/// Runs another test of this file in a process of its own, made by a shell script that ends with
/// `exec "$@"`. Returns whether the script got that far.
fn in_a_process(test: &str, script: &str, dir: &Path) -> bool {
    let output = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("engine::rocks::tests::{test}"), "--ignored", "--nocapture"])
        .env("DISTKV_TEST_DIRECTORY", dir)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    println!("{said}");
    if !said.contains("running 1 test") {
        return false;
    }
    assert!(output.status.success(), "the test in the other process failed");
    true
}

fn given_directory() -> PathBuf {
    PathBuf::from(std::env::var_os("DISTKV_TEST_DIRECTORY").unwrap())
}

/// RocksDB goes by whether a failed write was for want of space, so any other error will do: here
/// no file may become larger than 1 MiB.
#[test]
fn a_disk_that_fails_is_remembered() {
    let root = tempdir().unwrap();
    let script = r#"trap "" XFSZ; ulimit -S -f 1024 && exec "$@""#;
    assert!(in_a_process("behind_a_limit_on_files", script, root.path()), "no such limit");
}

#[test]
#[ignore = "run by a_disk_that_fails_is_remembered"]
fn behind_a_limit_on_files() {
    let dir = given_directory().join("state");
    let options = RocksOptions { memory_limit: 64 * 1024 * 1024, ..RocksOptions::default() };
    let engine = RocksEngine::open(&dir, options.clone()).unwrap();
    write_both(&engine, 1, 10);
    engine.flush().unwrap();
    let mut batch = Batch::new();
    batch.put(Family::Data, 2_u32.to_be_bytes().to_vec(), noise(2, 2 * 1024 * 1024));
    engine.write(&batch).unwrap();
    assert!(engine.failure().is_none());
    let error = engine.flush().unwrap_err();
    assert_eq!(error.kind(), Kind::Internal, "{error:?}");
    assert!(error.to_string().contains("File too large"), "{error}");
    let failure = engine.failure().unwrap();
    assert_eq!(failure.kind(), Kind::Internal, "{failure:?}");
    assert_eq!(engine.write(&batch).unwrap_err().kind(), Kind::Internal);
    assert_eq!(numbers(&engine, Family::Data), [1, 2]);
    assert_eq!(engine.get_persisted(Family::Data, &2_u32.to_be_bytes()).unwrap(), None);
    drop(engine);
    let engine = RocksEngine::open(&dir, options).unwrap();
    assert!(engine.failure().is_none());
    assert_eq!(numbers(&engine, Family::Data), [1]);
    write_both(&engine, 3, 10);
    engine.flush().unwrap();
}

/// Runs a test on a file system of so many MiB, if one may be mounted here.
fn on_a_small_disk(test: &str, mib: usize) {
    let root = tempdir().unwrap();
    let script = format!(
        r#"exec unshare --user --map-root-user --mount sh -c '
        mount -t tmpfs -o size={mib}m small "$DISTKV_TEST_DIRECTORY" && exec "$@"' sh "$@""#
    );
    if !in_a_process(test, &script, root.path()) {
        println!("not tested: nothing may be mounted here");
    }
}

#[test]
fn a_full_disk_loses_nothing_and_heals() {
    on_a_small_disk("without_room_to_flush", 32);
}

#[test]
fn a_disk_too_full_to_compact_is_full_and_heals() {
    on_a_small_disk("without_room_to_compact", 128);
}

/// Writes until it is not refused any more. The product promises 10 seconds, and other things have
/// to happen in them.
fn heals(mut try_write: impl FnMut() -> Result<()>) {
    let since = Instant::now();
    while let Err(error) = try_write() {
        assert!(error.kind().retryable(), "{error:?}");
        assert!(since.elapsed() < Duration::from_secs(9), "not healed: {error:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("writes went on {:?} after there was room", since.elapsed());
}

#[test]
#[ignore = "run by a_full_disk_loses_nothing_and_heals"]
fn without_room_to_flush() {
    let small_disk = given_directory();
    let (dir, ballast) = (small_disk.join("state"), small_disk.join("ballast"));
    let engine = open(&dir);
    fs::write(&ballast, vec![0; 12 * 1024 * 1024]).unwrap();
    let try_write = |number: u32| {
        let key = number.to_be_bytes().to_vec();
        let mut batch = Batch::new();
        batch.put(Family::Data, key.clone(), noise(number, 10_000));
        batch.put(Family::Meta, key, "");
        engine.write(&batch)
    };
    let mut written = 0;
    let error = loop {
        match try_write(written) {
            Ok(()) => written += 1,
            Err(error) if error.kind() == Kind::Overloaded => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => break error,
        }
        assert!(written < 10_000, "the file system is not small");
    };
    assert_eq!(error.kind(), Kind::StorageFull, "{error:?}");
    assert_eq!(engine.flush().unwrap_err().kind(), Kind::StorageFull);
    assert_eq!(numbers(&engine, Family::Data), (0..written).collect::<Vec<_>>());
    assert!(engine.failure().is_none(), "a full disk is no failure");

    fs::remove_file(&ballast).unwrap();
    heals(|| try_write(written));
    engine.flush().unwrap();
    drop(engine);
    let engine = open(&dir);
    for family in [Family::Data, Family::Meta] {
        assert_eq!(numbers(&engine, family), (0..=written).collect::<Vec<_>>());
    }
}

/// Flushes still find room here, and RocksDB has writers wait for the compaction as for any other.
#[test]
#[ignore = "run by a_disk_too_full_to_compact_is_full_and_heals"]
fn without_room_to_compact() {
    const PAIRS: u32 = 3_400; // 33 MiB, and a little less room.
    let small_disk = given_directory();
    let (dir, ballast) = (small_disk.join("state"), small_disk.join("ballast"));
    let options = RocksOptions { memory_limit: 16 * 1024 * 1024, ..RocksOptions::default() };
    let engine = RocksEngine::open(&dir, options).unwrap();
    for number in 0..PAIRS {
        let mut batch = Batch::new();
        batch.put(Family::Data, number.to_be_bytes().to_vec(), noise(number, 10_000));
        write(&engine, &batch);
    }
    engine.flush().unwrap();
    let data = handle(&engine.database, Family::Data).unwrap();
    engine.database.compact_range_cf(data, None::<&[u8]>, None::<&[u8]>);
    engine.database.wait_for_compact(&rocksdb::WaitForCompactOptions::default()).unwrap();
    fs::write(&ballast, vec![0; 64 * 1024 * 1024]).unwrap();

    let mut round = 0;
    let mut versions = vec![0; PAIRS as usize];
    let mut try_write = || -> Result<()> {
        // All over the keys, so that every compaction has to copy nearly everything.
        let number = round * 401 % PAIRS;
        let mut batch = Batch::new();
        let value = noise(number + round, 10_000);
        batch.put(Family::Data, number.to_be_bytes().to_vec(), value);
        engine.write(&batch)?;
        versions[number as usize] = round;
        round += 1;
        Ok(())
    };
    let since = Instant::now();
    let wait = || {
        assert!(since.elapsed() < PATIENCE, "compaction has room");
        std::thread::sleep(Duration::from_millis(1));
    };
    // Enough for a compaction. When it has failed three times, what it had written is gone again.
    while backlog::level_0(&engine.database).unwrap() < 4 {
        for _ in 0..90 {
            try_write().unwrap();
        }
        engine.flush().unwrap();
    }
    let errors = rocksdb::properties::BACKGROUND_ERRORS;
    while engine.database.property_int_value(errors).unwrap().unwrap() < 3 {
        wait();
    }
    // As if there were many more tables.
    let stop = [("level0_slowdown_writes_trigger", "4"), ("level0_stop_writes_trigger", "4")];
    engine.database.set_options_cf(data, &stop).unwrap();
    let error = loop {
        match try_write() {
            Ok(()) => {}
            Err(error) if error.kind() == Kind::Overloaded => wait(),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), Kind::StorageFull, "{error:?}");
    assert!(error.message().contains("no room to compact"), "{error}");
    assert!(engine.failure().is_none(), "a full disk is no failure");
    assert_eq!(engine.flush().unwrap_err().kind(), Kind::StorageFull);

    fs::remove_file(&ballast).unwrap();
    heals(&mut try_write);
    for (number, round) in (0..PAIRS).zip(versions) {
        let value = engine.get(Family::Data, &number.to_be_bytes()).unwrap().unwrap();
        assert!(value == noise(number + round, 10_000), "a value was lost");
    }
}
