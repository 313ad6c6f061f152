//! Opened anew after a failure, and rid of what is damaged.

use std::cell::RefCell;

use super::*;
use crate::engine::conformance;

fn small() -> RocksOptions {
    RocksOptions { memory_limit: 2 << 20, ..RocksOptions::default() }
}

/// All keys that begin with that letter.
fn letter(letter: char) -> Ranges {
    let range = |family| (family, vec![letter as u8]..vec![letter as u8 + 1]);
    vec![range(Family::Data), range(Family::Meta)]
}

fn write(engine: &dyn Engine, letter: char, pairs: u32) {
    let mut batch = Batch::new();
    for number in 0..pairs {
        let key = format!("{letter}{number:06}");
        // Incompressible enough to take up blocks of their own.
        let value: Vec<u8> = (0..100_u32).map(|at| (at * number) as u8).collect();
        batch.put(Family::Data, key.clone(), value);
        batch.put(Family::Meta, key, "record");
    }
    engine.write_waiting(&batch, std::time::Duration::from_secs(30)).unwrap();
}

fn count(engine: &dyn Engine, letter_of: char) -> usize {
    let view = engine.view().unwrap();
    let pairs = |(family, range)| view.scan(family, range, false, usize::MAX, usize::MAX);
    letter(letter_of).into_iter().map(|part| pairs(part).unwrap().len()).sum()
}

#[test]
fn what_outlives_its_database_is_an_engine() {
    let root = tempfile::tempdir().unwrap();
    let opened = RefCell::new(0);
    conformance::suite(|| {
        *opened.borrow_mut() += 1;
        let dir = root.path().join(opened.borrow().to_string());
        let engine = DiskEngine::open(&dir, small()).unwrap();
        engine.reopen().unwrap();
        Arc::new(engine)
    });
}

#[test]
fn an_engine_opened_anew_has_what_was_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    let engine = DiskEngine::open(&dir, small()).unwrap();
    write(&engine, 'a', 10);
    engine.flush().unwrap();
    engine.reopen().unwrap();
    assert_eq!(count(&engine, 'a'), 20);
    write(&engine, 'b', 10);
    assert_eq!(count(&engine, 'b'), 20);
    assert!(engine.failure().is_none());
    assert!(DiskEngine::open(&dir, small()).is_err(), "it holds its directory");
}

#[test]
fn an_engine_that_cannot_be_opened_says_so_and_can_be_tried_again() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    let engine = DiskEngine::open(&dir, small()).unwrap();
    write(&engine, 'a', 10);
    engine.flush().unwrap();
    let (current, aside) = (dir.join("CURRENT"), root.path().join("CURRENT"));
    fs::rename(&current, &aside).unwrap();
    assert_eq!(engine.reopen().unwrap_err().kind(), Kind::Corruption);
    assert!(engine.failure().is_some());
    assert_eq!(engine.get(Family::Data, b"a000000").unwrap_err().kind(), Kind::Unavailable);
    fs::rename(&aside, &current).unwrap();
    engine.reopen().unwrap();
    assert!(engine.failure().is_none());
    assert_eq!(count(&engine, 'a'), 20);
}

/// The tables on disk.
fn tables(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|its| its == "sst")).collect()
}

#[test]
fn what_can_be_read_is_salvaged_and_the_rest_is_told_before_it_is_dropped() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    let engine = DiskEngine::open(&dir, small()).unwrap();
    for letter in ['a', 'b', 'c'] {
        write(&engine, letter, 2000);
    }
    write(&engine, 'x', 1);
    engine.flush().unwrap();
    drop(engine);
    // One block in the middle of the data: it belongs to one of the letters.
    let table = tables(&dir).into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&table, bytes).unwrap();

    let engine = DiskEngine::open(&dir, small()).unwrap();
    let groups = [letter('a'), letter('b'), letter('c')];
    let refused = engine.salvage(&groups, &mut |_, _| Err(Error::internal("not now")));
    assert_eq!(refused.unwrap_err().kind(), Kind::Internal);
    assert_eq!(count(&engine, 'x'), 2, "nothing is dropped then");
    let mut damaged = Vec::new();
    engine
        .salvage(&groups, &mut |number, error| {
            assert_eq!(error.kind(), Kind::Corruption);
            damaged.push(number);
            Ok(())
        })
        .unwrap();
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    for (number, letter) in ['a', 'b', 'c'].into_iter().enumerate() {
        let expected = if damaged.contains(&number) { 0 } else { 4000 };
        assert_eq!(count(&engine, letter), expected, "{letter}");
    }
    assert_eq!(count(&engine, 'x'), 0, "what is no group's is dropped");
    write(&engine, 'd', 10);
    drop(engine);
    assert!(!salvaged(&dir).exists());
    let engine = DiskEngine::open(&dir, small()).unwrap();
    assert_eq!(count(&engine, 'd'), 20);
    drop(engine);
    let stopped = RocksEngine::open_read_only(&dir).unwrap();
    for family in [Family::Data, Family::Meta] {
        stopped.check(family).unwrap();
    }
}

#[test]
fn a_copy_that_was_not_finished_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("state");
    fs::create_dir(salvaged(&dir)).unwrap();
    fs::write(salvaged(&dir).join("x"), "x").unwrap();
    DiskEngine::open(&dir, small()).unwrap();
    assert!(!salvaged(&dir).exists());
}
