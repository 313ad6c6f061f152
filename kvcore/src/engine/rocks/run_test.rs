//! What is special about runs that are files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tempfile::tempdir;

use super::*;
use crate::engine::Content;

fn open(dir: &Path) -> RocksEngine {
    let options = RocksOptions { memory_limit: 4 * 1024 * 1024, ..RocksOptions::default() };
    RocksEngine::open(dir, options).unwrap()
}

fn everything() -> Ranges {
    vec![(Family::Data, vec![]..vec![0xFF; 8]), (Family::Meta, vec![]..vec![0xFF; 8])]
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed + 1;
    let next = || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// A database with so many pairs, each of the same number of bytes.
fn filled(dir: &Path, pairs: u64, bytes: usize) -> RocksEngine {
    let engine = open(dir);
    for number in 0..pairs {
        let mut batch = Batch::new();
        batch.put(Family::Data, number.to_be_bytes().to_vec(), noise(number, bytes));
        while let Err(error) = engine.write(&batch) {
            assert_eq!(error.kind(), Kind::Overloaded, "{error:?}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    engine
}

fn export(engine: &RocksEngine, dir: &Path) -> Vec<Run> {
    let runs = engine.export(engine.view().unwrap(), everything(), dir);
    runs.collect::<Result<_>>().unwrap()
}

fn path(run: &Run) -> &Path {
    match &run.content {
        Content::File { path, .. } => path,
        Content::Memory(_) => panic!("not a file"),
    }
}

fn pairs(engine: &RocksEngine) -> Vec<(Bytes, Bytes)> {
    let (family, range) = everything().remove(0);
    engine.view().unwrap().scan(family, range, false, usize::MAX, usize::MAX).unwrap()
}

/// Every file below a directory, with what it holds and when it was changed.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::metadata(&path).unwrap();
        let content = if metadata.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
        if metadata.is_dir() {
            found.extend(snapshot(&path));
        }
        found.insert(path, (content, metadata.mtime(), metadata.mtime_nsec()));
    }
    found
}

#[test]
fn a_large_part_becomes_several_files() {
    let root = tempdir().unwrap();
    let source = filled(&root.path().join("source"), 20, 4 * 1024 * 1024);
    let mut runs = source.export(source.view().unwrap(), everything(), root.path());
    let first = runs.next().unwrap().unwrap();
    assert!((64 << 20..69 << 20).contains(&first.bytes()), "{first:?}");
    let found = || fs::read_dir(root.path()).unwrap().count();
    assert_eq!(found(), 2, "files are made before they are asked for");
    let second = runs.next().unwrap().unwrap();
    assert!(runs.next().is_none());
    assert_eq!(found(), 3);

    let target = open(&root.path().join("target"));
    let runs = [first, second];
    target.import(&everything(), &runs, &Batch::new()).unwrap();
    assert!(pairs(&target) == pairs(&source));
    // The database has the caller's files, by a second name, and nothing else of the import.
    for run in &runs {
        assert_eq!(fs::metadata(path(run)).unwrap().nlink(), 2);
    }
    let left = fs::read_dir(root.path().join("target").join("import")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn runs_may_lie_in_another_file_system() {
    let root = tempdir().unwrap();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let device = |dir: &Path| fs::metadata(dir).unwrap().dev();
    if device(root.path()) == device(elsewhere.path()) {
        return;
    }
    let source = filled(&root.path().join("source"), 300, 100);
    let target = open(&root.path().join("target"));
    let runs = export(&source, elsewhere.path());
    for _ in 0..2 {
        target.import(&everything(), &runs, &Batch::new()).unwrap();
        assert!(pairs(&target) == pairs(&source));
        assert_eq!(fs::metadata(path(&runs[0])).unwrap().nlink(), 1);
    }
}

/// Damage is found, or it is where it does no harm: in a filter, which is then not used.
#[test]
fn no_flipped_bit_gets_in() {
    let root = tempdir().unwrap();
    let source = filled(&root.path().join("source"), 300, 40);
    let run = export(&source, root.path()).remove(0);
    let (whole, expected) = (fs::read(path(&run)).unwrap(), pairs(&source));
    let mut found = 0;
    let flips = 60;
    for flip in 0..flips {
        let mut bytes = whole.clone();
        let at = flip * bytes.len() / flips;
        bytes[at] ^= 1 << (flip % 8);
        let damaged = root.path().join("damaged");
        fs::write(&damaged, &bytes).unwrap();
        let content = Content::File { path: damaged.clone(), bytes: run.bytes() };
        let target = open(&root.path().join(format!("target {flip}")));
        let run = Run { family: Family::Data, content };
        match target.import(&everything(), &[run], &Batch::new()) {
            Ok(()) => {
                assert!(pairs(&target) == expected, "damage at {at} was let in");
                for (key, value) in &expected {
                    assert_eq!(target.get(Family::Data, key).unwrap().as_ref(), Some(value));
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Corruption, "at {at}: {error:?}");
                assert_eq!(pairs(&target), []);
                found += 1;
            }
        }
        drop(target);
        fs::remove_file(damaged).unwrap();
    }
    println!("found {found} of {flips}");
    assert!(found * 10 > flips * 7, "only {found} found");
}

#[test]
fn what_a_crash_left_of_an_import_goes() {
    let root = tempdir().unwrap();
    let dir = root.path().join("state");
    drop(filled(&dir, 3, 10));
    let left = dir.join("import").join("7").join("inspection");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("000008.sst"), "half").unwrap();
    let engine = open(&dir);
    assert!(!dir.join("import").exists());
    assert_eq!(pairs(&engine).len(), 3);
}

#[test]
fn a_failed_export_leaves_no_file() {
    let root = tempdir().unwrap();
    let engine = filled(&root.path().join("state"), 3, 10);
    let missing = root.path().join("missing");
    let mut runs = engine.export(engine.view().unwrap(), everything(), &missing);
    assert_eq!(runs.next().unwrap().unwrap_err().kind(), Kind::Internal);
    assert!(runs.next().is_none());
}

#[test]
fn reading_a_stopped_state_changes_nothing() {
    let root = tempdir().unwrap();
    let dir = root.path().join("state");
    let engine = filled(&dir, 500, 1_000);
    let mut batch = Batch::new();
    batch.put(Family::Meta, "meta", "of it");
    batch.delete_range(Family::Data, 0_u64.to_be_bytes().to_vec()..9_u64.to_be_bytes().to_vec());
    engine.write(&batch).unwrap();
    let expected = pairs(&engine);
    drop(engine);
    let before = snapshot(&dir);

    let stopped = RocksEngine::open_read_only(&dir).unwrap();
    let view = stopped.view();
    let (family, range) = everything().remove(0);
    let found = view.scan(family, range, false, usize::MAX, usize::MAX).unwrap();
    assert!(found == expected && found.len() == 491);
    assert_eq!(view.get(Family::Meta, b"meta").unwrap().unwrap(), "of it");
    assert_eq!(view.get(Family::Data, &0_u64.to_be_bytes()).unwrap(), None);
    let files = [Family::Data, Family::Meta].map(|family| stopped.files(family).unwrap());
    assert!(files.iter().all(|files| files.count > 0), "{files:?}");
    let tables = before.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "sst"));
    let bytes: usize = tables.clone().map(|(_, (content, ..))| content.len()).sum();
    assert_eq!(files[0].count + files[1].count, tables.count() as u64);
    assert_eq!(files[0].bytes + files[1].bytes, bytes as u64);
    stopped.check(Family::Data).unwrap();
    stopped.check(Family::Meta).unwrap();
    drop(stopped);
    // A view outlives what it came from.
    assert_eq!(view.get(Family::Meta, b"meta").unwrap().unwrap(), "of it");
    drop(view);
    assert!(snapshot(&dir) == before, "a file has changed");
    assert_eq!(pairs(&open(&dir)).len(), 491);
}

#[test]
fn a_state_is_read_as_a_crash_left_it() {
    let root = tempdir().unwrap();
    let (dir, image) = (root.path().join("state"), root.path().join("image"));
    let engine = filled(&dir, 500, 1_000);
    engine.flush().unwrap();
    let mut batch = Batch::new();
    batch.delete(Family::Data, 7_u64.to_be_bytes().to_vec());
    engine.write(&batch).unwrap();
    engine.database.wait_for_compact(&rocksdb::WaitForCompactOptions::default()).unwrap();
    fs::create_dir(&image).unwrap();
    for path in snapshot(&dir).into_keys() {
        fs::copy(&path, image.join(path.file_name().unwrap())).unwrap();
    }
    let before = snapshot(&image);
    let stopped = RocksEngine::open_read_only(&image).unwrap();
    let (family, range) = everything().remove(0);
    let found = stopped.view().scan(family, range, false, usize::MAX, usize::MAX).unwrap();
    assert_eq!(found.len(), 500, "what was not flushed is not there");
    stopped.check(Family::Data).unwrap();
    drop(stopped);
    assert!(snapshot(&image) == before, "a file has changed");
}

#[test]
fn a_stopped_state_must_be_there_and_whole() {
    let root = tempdir().unwrap();
    let refused = |dir: &Path| {
        let error = RocksEngine::open_read_only(dir).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::Corruption, "{error:?}");
    };
    refused(&root.path().join("missing"));
    refused(root.path());
    for name in ["CURRENT", "MANIFEST", "sst"] {
        let dir = root.path().join(name);
        drop(filled(&dir, 100, 100));
        let named = |path: &PathBuf| path.to_str().unwrap().contains(name);
        let files = snapshot(&dir).into_keys();
        let inside = files.filter(|path| named(&path.strip_prefix(&dir).unwrap().to_owned()));
        inside.for_each(|path| fs::remove_file(path).unwrap());
        refused(&dir);
    }
}

/// Also damage that no reader would meet, because what lies there is deleted.
#[test]
fn a_check_finds_damage_anywhere_and_names_the_file() {
    let root = tempdir().unwrap();
    let dir = root.path().join("state");
    let engine = filled(&dir, 500, 1_000);
    let mut batch = Batch::new();
    batch.put(Family::Meta, "meta", "of it");
    engine.write(&batch).unwrap();
    engine.flush().unwrap();
    // What is deleted lies in a file below the one that says so.
    let data = handle(&engine.database, Family::Data).unwrap();
    engine.database.compact_range_cf(data, None::<&[u8]>, None::<&[u8]>);
    let mut batch = Batch::new();
    batch.delete_range(Family::Data, vec![]..vec![0xFF; 9]);
    engine.write(&batch).unwrap();
    engine.flush().unwrap();
    assert_eq!(pairs(&engine), []);
    let live = engine.database.live_files().unwrap();
    let largest = live.iter().max_by_key(|file| file.size).unwrap();
    let (name, size) = (largest.name.clone(), largest.size);
    drop(engine);
    let path = dir.join(name.trim_start_matches('/'));
    let mut bytes = fs::read(&path).unwrap();
    bytes[size / 2] ^= 1;
    fs::write(&path, bytes).unwrap();

    let stopped = RocksEngine::open_read_only(&dir).unwrap();
    let error = stopped.check(Family::Data).unwrap_err();
    assert_eq!(error.kind(), Kind::Corruption, "{error:?}");
    assert!(error.to_string().contains(name.as_str()), "names no file: {error}");
    stopped.check(Family::Meta).unwrap();
}
