use std::cell::Cell;
use std::fs;
use std::path::PathBuf;

use tempfile::{TempDir, tempdir};

use super::*;
use crate::engine::conformance;

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
    engine.write(batch).unwrap();
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
    engine.write(batch).unwrap();
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

/// Run with `DISTKV_SMALL_DISK` naming an empty directory on a file system of 24 to 64 MiB.
#[test]
#[ignore = "needs a small file system"]
fn a_full_disk_loses_nothing_and_heals() {
    let small_disk = PathBuf::from(std::env::var_os("DISTKV_SMALL_DISK").unwrap());
    let (dir, ballast) = (small_disk.join("state"), small_disk.join("ballast"));
    let engine = open(&dir);
    fs::write(&ballast, vec![0; 12 * 1024 * 1024]).unwrap();
    let mut noise = 1_u64;
    let mut try_write = |number: u32| {
        let incompressible = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            noise.to_be_bytes()[0]
        });
        let key = number.to_be_bytes().to_vec();
        let mut batch = Batch::new();
        batch.put(Family::Data, key.clone(), incompressible.take(10_000).collect::<Vec<_>>());
        batch.put(Family::Meta, key, "");
        engine.write(batch)
    };
    let mut written = 0;
    let error = loop {
        match try_write(written) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000, "the file system is not small");
    };
    assert_eq!(error.kind(), Kind::StorageFull, "{error:?}");
    assert_eq!(engine.flush().unwrap_err().kind(), Kind::StorageFull);
    assert_eq!(numbers(&engine, Family::Data), (0..written).collect::<Vec<_>>());

    fs::remove_file(&ballast).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while let Err(error) = try_write(written) {
        assert!(std::time::Instant::now() < deadline, "not healed: {error:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(engine);
    let engine = open(&dir);
    for family in [Family::Data, Family::Meta] {
        assert_eq!(numbers(&engine, family), (0..=written).collect::<Vec<_>>());
    }
}
