//! Damage is found, or it harms nothing.

use std::collections::BTreeMap;
use std::path::Path;

use crate::types::Kind;
use crate::wal::batch::{Batch, Label};
use crate::wal::fake_disk::{Event, FakeDisk};
use crate::wal::inspect::inspect_on;
use crate::wal::model::{
    Chronicle, DIR, Files, Model, Pace, Step, found, is_batch, open, random, reused,
    several_segments, take,
};
use crate::wal::segment::{SegmentHeader, segment_path};
use crate::wal::tests::{position, record, records, tag, wait};
use crate::wal::{Log, Options, Tag, Wal};

/// Opens and reads everything; what is found, unless it is refused as damaged. An inspection must be of
/// the same mind.
fn read_damaged(files: &Files) -> Option<(Model, BTreeMap<Tag, u64>)> {
    let refused = |error: crate::types::Error| {
        let kind = error.kind();
        assert!(matches!(kind, Kind::Corruption | Kind::Unsupported), "{error:?}");
    };
    let inspected = inspect_on(&FakeDisk::with(files.clone()), Path::new(DIR)).unwrap();
    let wal = open(&FakeDisk::with(files.clone())).map_err(refused).ok();
    assert_eq!(wal.is_some(), inspected.damage.is_empty(), "{:?}", inspected.damage);
    Some(found(&wal?))
}

#[test]
fn a_bit_flipped_anywhere_after_a_crash_is_found_or_harmless() {
    let disk = FakeDisk::default();
    let mut chronicle = Chronicle::default();
    let (closing, journal) = chronicle.live(&disk, &several_segments(), Pace::Calm);
    let killed = &journal[..closing];
    let files = FakeDisk::after_kill(killed).files();
    let named = |extension| files.keys().filter(move |path| path.extension().unwrap() == extension);
    let counts = (named("log").count(), named("free").count(), reused(killed));
    assert!(counts.0 >= 4 && counts.1 >= 1 && counts.2 >= 3, "{counts:?}");
    let whole = read_damaged(&files).unwrap();
    assert_eq!(whole.0, chronicle.check(killed, files.clone()).unwrap());

    let total: usize = files.values().map(Vec::len).sum();
    let mut next = random(20_261_107);
    let (mut detected, mut harmless) = (0, 0);
    for _ in 0..10_000 {
        let mut at = next() as usize % total;
        let mut damaged = files.clone();
        for bytes in damaged.values_mut() {
            if at < bytes.len() {
                bytes[at] ^= 1 << (next() % 8);
                break;
            }
            at -= bytes.len();
        }
        match read_damaged(&damaged) {
            None => detected += 1,
            Some(left) => {
                assert_eq!(left, whole);
                harmless += 1;
            }
        }
    }
    println!(
        "of 10,000 flipped bits in {total} bytes {detected} were detected, {harmless} harmless"
    );
    assert!(detected > 1500, "{detected}");
}

#[test]
fn a_bit_flipped_anywhere_after_a_clean_end_is_found_or_harmless() {
    let disk = FakeDisk::default();
    let (_, journal) = Chronicle::default().live(&disk, &several_segments()[..12], Pace::Brisk);
    let files = FakeDisk::after_power_failure(&journal, |_| false);
    let whole = read_damaged(&files).unwrap();
    let mut detected = 0;
    for (path, bytes) in &files {
        for at in (0..bytes.len()).step_by(3) {
            let mut damaged = files.clone();
            damaged.get_mut(path).unwrap()[at] ^= 1 << (at % 8);
            match read_damaged(&damaged) {
                Some(left) => assert_eq!(left, whole, "{path:?} {at}"),
                None => detected += 1,
            }
        }
    }
    assert!(detected > 1000, "{detected}");
}

#[test]
fn where_a_crash_left_no_stamp_a_flipped_bit_loses_the_last_batch_at_most() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let mut models = vec![Model::new()];
    for number in 1..=3 {
        let mut model = models.last().unwrap().clone();
        let step = Step::Append { tag: number as u16 % 2, count: 2, size: 150 };
        wait(|done| take(&step, number, &wal, &mut model, done)).unwrap();
        models.push(model);
    }
    // Killed behind the sync of the last batch, before its stamp.
    let journal = disk.journal();
    let mut synced = (0..journal.len() - 1)
        .filter(|at| is_batch(&journal[*at]) && matches!(journal[*at + 1], Event::Sync(_)));
    let last = synced.next_back().unwrap();
    let files = FakeDisk::after_kill(&journal[..=last + 1]).files();
    let Event::Write { offset, .. } = journal[last] else { unreachable!() };
    let path = segment_path(Path::new(DIR), 1);
    let mut lost = 0;
    for at in 0..files[&path].len() {
        let mut damaged = files.clone();
        damaged.get_mut(&path).unwrap()[at] ^= 0x10;
        let Some((left, _)) = read_damaged(&damaged) else { continue };
        let is_last = at >= offset as usize;
        assert!(left == models[3] || (left == models[2] && is_last), "{at}");
        lost += usize::from(left == models[2]);
    }
    assert!(lost > 0, "or else it were time to promise more");
}

#[test]
fn damage_while_the_log_is_open_is_found_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(dir.path(), Options { cache_bytes: 0, ..Options::default() }).unwrap();
    let log: Log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 1..=3, 100), done)).unwrap();
    let path = segment_path(dir.path(), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = 512 + 40 + 2 * 140 + 60;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(log.read(1..3, usize::MAX).unwrap(), records(1, 1..=2, 100));
    let error = log.read(1..4, usize::MAX).unwrap_err();
    assert_eq!(error.kind(), Kind::Corruption);
    assert!(error.message().contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn a_missing_segment_is_found() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 0..=0, 10), done)).unwrap();
    wait(|done| log.purge(position(1, 0), done)).unwrap();
    for index in 1..=12 {
        wait(|done| log.append(vec![record(1, index, 900)], done)).unwrap();
    }
    drop(wal);
    let files = disk.files();
    let logs: Vec<_> = files.keys().filter(|path| path.extension().unwrap() == "log").collect();
    assert!(logs.len() >= 3);
    for missing in &logs[..logs.len() - 1] {
        let mut files = files.clone();
        files.remove(*missing);
        assert_eq!(read_damaged(&files), None);
    }
}

#[test]
fn batches_out_of_sequence_are_refused() {
    let header = SegmentHeader { number: 1, first_sequence: 1 };
    let mut bytes = header.encode().to_vec();
    for (at, sequence) in [1, 3].into_iter().enumerate() {
        let offset = 512 * (at as u64 + 1);
        let label = Label { sequence, oldest: 1, segment: 1, offset };
        bytes.extend_from_slice(Batch::new(1, Vec::new()).finish(label));
    }
    let file = |length: usize| {
        let path = segment_path(Path::new(DIR), 1);
        FakeDisk::with(Files::from([(path, bytes[..length].to_vec())]))
    };
    assert!(open(&file(1024)).is_ok());
    let error = open(&file(1536)).unwrap_err();
    assert_eq!(error.kind(), Kind::Corruption);
    assert!(error.message().contains("offset=`1024`"), "{error}");
}
