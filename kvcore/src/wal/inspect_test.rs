//! An inspection sees what there is and what is wrong, and leaves all as it was.

use std::path::Path;

use bytes::Bytes;

use super::{End, inspect, inspect_on};
use crate::types::Kind;
use crate::wal::fake_disk::FakeDisk;
use crate::wal::model::{
    Chronicle, DIR, Files, Pace, is_batch, is_empty_batch, open, several_segments, until_calm,
};
use crate::wal::segment::segment_path;
use crate::wal::tests::{all, position, record, records, tag, wait};
use crate::wal::{Inspection, Record, Result, Tag, Wal};

fn look(files: &Files) -> Inspection {
    let disk = FakeDisk::with(files.clone());
    let before = disk.journal();
    let inspection = inspect_on(&disk, Path::new(DIR)).unwrap();
    assert_eq!(disk.journal(), before, "nothing is written");
    inspection
}

fn entries(inspection: &Inspection, tag: Tag) -> Vec<Record> {
    let mut entries = Vec::new();
    let each = |record: Result<Record>| {
        entries.push(record?);
        Ok(())
    };
    inspection.for_each(tag, each).unwrap();
    entries
}

#[test]
fn what_is_there_is_seen() {
    let disk = FakeDisk::default();
    let mut chronicle = Chronicle::default();
    let (closing, journal) = chronicle.live(&disk, &several_segments(), Pace::Calm);
    let files = FakeDisk::after_kill(&journal[..closing]).files();
    let inspection = look(&files);
    assert!(inspection.damage.is_empty(), "{:?}", inspection.damage);
    assert_eq!(inspection.end, End::Stamped);
    let wal = open(&FakeDisk::with(files)).unwrap();
    let usage = wal.usage();
    assert_eq!((inspection.segments, inspection.bytes), (usage.segments, usage.bytes));
    assert_eq!(inspection.spare_bytes, usage.spare_bytes);
    assert_eq!(inspection.spares as u64 * 4096, usage.spare_bytes);
    assert_eq!(inspection.groups.iter().map(|group| group.tag).collect::<Vec<_>>(), wal.tags());
    for group in &inspection.groups {
        let log = wal.log(group.tag).unwrap();
        let state = log.state();
        assert_eq!((group.purged, group.last), (state.purged, state.last));
        assert_eq!((&group.vote, &group.committed), (&state.vote, &state.committed));
        assert_eq!((group.entries, group.live_bytes), (log.entries(), log.live_bytes()));
        assert_eq!(group.first, all(&log).first().map(|record| record.position));
        assert_eq!(entries(&inspection, group.tag), all(&log));
    }
    let unknown = inspection.for_each(tag(77), |_| Ok(())).unwrap_err();
    assert_eq!(unknown.kind(), Kind::NotFound);
}

#[test]
fn the_end_is_told() {
    assert_eq!(look(&Files::new()).end, End::Empty);
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 1..=2, 10), done)).unwrap();
    until_calm(&disk, &wal);
    assert_eq!(look(&disk.files()).end, End::Stamped);
    let journal = disk.journal();
    let batch = journal.iter().position(is_batch).unwrap();
    let open_end = look(&FakeDisk::after_kill(&journal[..batch + 2]).files());
    assert_eq!((open_end.end, open_end.batches), (End::Open, 1));
    let none = look(&FakeDisk::after_kill(&journal[..batch]).files());
    assert_eq!((none.end, none.batches), (End::Open, 0));
    wal.close().unwrap();
    let closed = look(&disk.files());
    assert_eq!((closed.end, closed.batches), (End::Stamped, 2));
}

#[test]
fn reading_goes_on_behind_damage() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    for index in 1..=9 {
        for partition in 1..=2 {
            let log = wal.log(tag(partition)).unwrap();
            wait(|done| log.append(vec![record(1, index, 900)], done)).unwrap();
            // A stamp is left behind at the end of each segment.
            until_calm(&disk, &wal);
        }
    }
    wait(|done| wal.log(tag(3)).unwrap().save_vote(Bytes::from_static(b"vote"), done)).unwrap();
    wal.close().unwrap();
    let files = disk.files();
    let whole = look(&files);
    assert!(whole.damage.is_empty() && whole.segments >= 4);

    // A batch in one segment, the header of another one, and the last batch before the stamp.
    let mut damaged = files.clone();
    let mut hurt = |number: u64, at: usize| {
        damaged.get_mut(&segment_path(Path::new(DIR), number)).unwrap()[at] ^= 4;
    };
    hurt(2, 512 + 100);
    hurt(4, 20);
    let last = whole.segments as u64;
    let bytes = &files[&segment_path(Path::new(DIR), last)];
    let batches = bytes.chunks(512).enumerate().filter(|(_, at)| at.starts_with(b"dkvbatch"));
    let offset = batches.map(|(at, _)| at * 512).rev().nth(1).unwrap();
    hurt(last, offset + 60);
    let inspection = look(&damaged);
    let damage: Vec<String> = inspection.damage.iter().map(ToString::to_string).collect();
    let has = |number: u64, what: &str| {
        let file = segment_path(Path::new(DIR), number).display().to_string();
        damage.iter().any(|found| found.contains(&file) && found.contains(what))
    };
    assert!(has(2, "offset=`512`"), "{damage:?}");
    assert!(has(4, "header"), "{damage:?}");
    assert!(has(last, &format!("offset=`{offset}`")), "{damage:?}");
    // The group that lost an entry is a finding too, the other one is there as a whole, and the vote
    // went with the last batch.
    assert!(damage.iter().any(|found| found.contains("entry of the log is missing")));
    assert_eq!(inspection.groups.len(), 1, "{damage:?}");
    assert_eq!(entries(&inspection, inspection.groups[0].tag).len(), 9);
    assert_eq!(inspection.batches, whole.batches - 2);
    assert_eq!(open(&FakeDisk::with(damaged)).unwrap_err().kind(), Kind::Corruption);
}

#[test]
fn a_missing_segment_is_one_finding_among_others() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(1)).unwrap();
    for index in 1..=11 {
        wait(|done| log.append(vec![record(1, index, 900)], done)).unwrap();
    }
    // So that the purge has no segment to begin, with which the keeper may be quicker than the writer.
    until_calm(&disk, &wal);
    wait(|done| log.purge(position(1, 10), done)).unwrap();
    drop(wal);
    // Killed when the purge was durable, before anything was freed.
    let journal = disk.journal();
    let is_record = |at: &usize| is_batch(&journal[*at]) && !is_empty_batch(&journal[*at]);
    let purge = (0..journal.len()).filter(is_record).nth(11).unwrap();
    let files = FakeDisk::after_kill(&journal[..purge + 2]).files();
    assert!(look(&files).damage.is_empty() && look(&files).segments >= 4);
    for missing in [1, 2, 3] {
        let mut files = files.clone();
        files.remove(&segment_path(Path::new(DIR), missing)).unwrap();
        let inspection = look(&files);
        assert_eq!(inspection.damage.len(), 1, "{missing} {:?}", inspection.damage);
        assert_eq!(inspection.groups[0].last, Some(position(1, 11)));
    }
}

#[test]
fn a_real_directory_is_inspected_without_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    assert_eq!(inspect(&path).unwrap_err().kind(), Kind::NotFound);
    assert!(!path.exists());
    let wal = Wal::open(&path, crate::wal::tests::small()).unwrap();
    let log = wal.log(tag(1)).unwrap();
    for index in 1..=20 {
        wait(|done| log.append(records(1, index..=index, 900), done)).unwrap();
    }
    wal.close().unwrap();
    std::fs::write(path.join("0000000000000063.tmp"), b"left over").unwrap();
    let listing = || {
        let files = std::fs::read_dir(&path).unwrap().map(|file| {
            let file = file.unwrap();
            (
                file.path(),
                std::fs::read(file.path()).unwrap(),
                file.metadata().unwrap().modified().unwrap(),
            )
        });
        let mut files: Vec<_> = files.collect();
        files.sort();
        files
    };
    let before = listing();
    let inspection = inspect(&path).unwrap();
    assert!(inspection.damage.is_empty());
    assert_eq!(entries(&inspection, tag(1)), records(1, 1..=20, 900));
    assert_eq!(listing(), before);
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    assert!(inspect(&file).is_err());
}
