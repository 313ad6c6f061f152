//! What may be freed is freed, and nothing else.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::wal::fake_disk::{Event, FakeDisk};
use crate::wal::model::{is_batch, is_empty_batch, until_calm};
use crate::wal::tests::{all, position, records, small, tag, until, wait};
use crate::wal::{Log, Options, Record, Wal};

fn open(disk: &FakeDisk, options: Options) -> Wal {
    Wal::open_on(Arc::new(disk.clone()), Path::new("log"), options).unwrap()
}

/// Appends entries one by one until that many segments were begun since; returns the last index.
fn fill(wal: &Wal, log: &Log, segments: u64) -> u64 {
    let newest = || *wal.owner.shared.ledger.live().keys().next_back().unwrap_or(&0);
    let end = newest() + segments;
    while newest() < end {
        let next = log.state().last.map_or(1, |last| last.index + 1);
        wait(|done| log.append(records(1, next..=next, 700), done)).unwrap();
    }
    log.state().last.unwrap().index
}

#[test]
fn purging_frees_segments_and_recycles_some() {
    let disk = FakeDisk::default();
    let wal = open(&disk, small());
    let log = wal.log(tag(1)).unwrap();
    let last = fill(&wal, &log, 12);
    assert!(wal.usage().segments >= 12, "{:?}", wal.usage());
    wait(|done| log.purge(position(1, last - 1), done)).unwrap();
    until(|| wal.usage().segments <= 2);
    assert_eq!(all(&log), records(1, last..=last, 700));
    until(|| disk.files().len() <= 2 + super::SPARES);
    // The files go round: what is in them must not be taken for what is written now.
    for round in 0..10 {
        let last = fill(&wal, &log, 3);
        wait(|done| log.purge(position(1, last - 1), done)).unwrap();
        until(|| wal.usage().segments <= 3);
        let again = open(&FakeDisk::with(disk.files()), small());
        assert_eq!(all(&again.log(tag(1)).unwrap()), records(1, last..=last, 700), "{round}");
    }
    wal.close().unwrap();
}

#[test]
fn an_idle_group_pins_nothing() {
    let disk = FakeDisk::default();
    let wal = open(&disk, small());
    let idle = wal.log(tag(7)).unwrap();
    wait(|done| idle.append(records(1, 1..=3, 50), done)).unwrap();
    wait(|done| idle.save_vote(Bytes::from_static(b"vote"), done)).unwrap();
    wait(|done| idle.purge(position(1, 1), done)).unwrap();
    idle.save_committed(Bytes::from_static(b"committed"));
    let busy = wal.log(tag(1)).unwrap();
    for _ in 0..20 {
        let last = fill(&wal, &busy, 2);
        wait(|done| busy.purge(position(1, last), done)).unwrap();
    }
    until(|| wal.usage().segments <= 3);
    let check = |wal: &Wal| {
        let idle = wal.log(tag(7)).unwrap();
        assert_eq!(all(&idle), records(1, 2..=3, 50));
        let state = idle.state();
        assert_eq!(state.vote, Some(Bytes::from_static(b"vote")));
        assert_eq!(state.committed, Some(Bytes::from_static(b"committed")));
        assert_eq!(state.purged, Some(position(1, 1)));
    };
    check(&wal);
    check(&open(&FakeDisk::with(disk.files()), small()));
    wal.close().unwrap();
    check(&open(&disk, small()));
}

/// Eight segments of garbage are allowed.
fn bounded() -> Options {
    Options { segment_bytes: 16 << 10, garbage_bytes: 128 << 10, ..small() }
}

/// What the keeper is to hold: the garbage, whenever nothing is under way.
fn assert_bounded(disk: &FakeDisk, wal: &Wal) {
    until_calm(disk, wal);
    let usage = wal.usage();
    assert!(usage.garbage_bytes <= bounded().garbage_bytes, "{usage:?}");
    let unwritten = wal.owner.shared.segments.rest();
    assert_eq!(usage.bytes, usage.live_bytes + usage.garbage_bytes + unwritten);
}

/// Keeps a group idle beside one that is purged as it goes; checks the bound all the while.
fn idle_beside_busy(disk: &FakeDisk, wal: &Wal, kept: &[Record], segments: u64) {
    let (idle, busy) = (wal.log(tag(7)).unwrap(), wal.log(tag(1)).unwrap());
    let before = written(disk);
    let mut asked = 0;
    for _ in 0..segments {
        let first = busy.state().last.map_or(1, |last| last.index + 1);
        let new = records(1, first..=first + 7, 940);
        for record in new {
            asked += 1024;
            wait(|done| busy.append(vec![record], done)).unwrap();
        }
        wait(|done| busy.purge(position(1, first + 7), done)).unwrap();
        assert_bounded(disk, wal);
        // Live entries that are on their way can still be read.
        assert_eq!(all(&idle), kept);
    }
    let written = written(disk) - before;
    let live = wal.usage().live_bytes;
    println!("{live} live bytes, {asked} asked for, {written} written");
    // Each byte of garbage pays for (live bytes) / (bound) bytes written again. Segments as small as
    // these waste much of the bound.
    let again = asked * live / bounded().garbage_bytes;
    assert!(written < asked * 2 + again * 3, "{written} for {asked}");
}

/// Bytes of batches that were written, without stamps.
fn written(disk: &FakeDisk) -> u64 {
    let journal = disk.journal();
    let batches = journal.iter().filter(|event| is_batch(event) && !is_empty_batch(event));
    let bytes = batches.map(|event| match event {
        Event::Write { bytes, .. } => bytes.len() as u64,
        _ => 0,
    });
    bytes.sum()
}

#[test]
fn an_idle_group_pins_no_more_garbage_than_the_bound() {
    // Little and much, less and more than the bound, in a row and spread over many segments.
    for (entries, spread) in [(1, false), (80, false), (180, false), (40, true), (140, true)] {
        let disk = FakeDisk::default();
        let wal = open(&disk, bounded());
        let (idle, busy) = (wal.log(tag(7)).unwrap(), wal.log(tag(1)).unwrap());
        let kept = records(1, 1..=entries, 940);
        for record in kept.clone() {
            let index = record.position.index;
            wait(|done| idle.append(vec![record], done)).unwrap();
            if spread {
                let first = (index - 1) * 4 + 1;
                for other in records(1, first..=first + 3, 940) {
                    wait(|done| busy.append(vec![other], done)).unwrap();
                }
                wait(|done| busy.purge(position(1, first + 3), done)).unwrap();
                assert_bounded(&disk, &wal);
            }
        }
        wait(|done| idle.save_vote(Bytes::from_static(b"vote"), done)).unwrap();
        idle_beside_busy(&disk, &wal, &kept, 120);
        let left = FakeDisk::after_power_failure(&disk.journal(), |_| false);
        let again = open(&FakeDisk::with(left), bounded());
        assert_eq!(all(&again.log(tag(7)).unwrap()), kept);
        wal.close().unwrap();
        // The bound holds across a restart as well.
        let wal = open(&disk, bounded());
        assert_eq!(all(&wal.log(tag(7)).unwrap()), kept);
        assert_eq!(wal.log(tag(7)).unwrap().state().vote, Some(Bytes::from_static(b"vote")));
        idle_beside_busy(&disk, &wal, &kept, 20);
    }
}

#[test]
fn emptying_comes_to_rest_where_there_is_nothing_to_win() {
    // Entries of which one fits into a segment: a third of all is waste, more than there may be.
    let disk = FakeDisk::default();
    let wal = open(&disk, small());
    let log = wal.log(tag(1)).unwrap();
    for index in 1..=40 {
        wait(|done| log.append(records(1, index..=index, 5000), done)).unwrap();
    }
    until_calm(&disk, &wal);
    assert!(wal.usage().garbage_bytes > small().garbage_bytes);
    let once = written(&disk);
    assert!(once < 40 * 5632 * 4, "{once}");
    // A little more is no reason to begin anew.
    for index in 41..=42 {
        wait(|done| log.append(records(1, index..=index, 10), done)).unwrap();
        until_calm(&disk, &wal);
    }
    assert!(written(&disk) < once + 40 * 5632);
    assert_eq!(log.entries(), 42);
    drop(wal);
    assert_eq!(open(&disk, small()).usage().entries, 42);
}

#[test]
fn what_is_alive_stays_however_much_it_is() {
    let disk = FakeDisk::default();
    let wal = open(&disk, small());
    let log = wal.log(tag(1)).unwrap();
    let last = fill(&wal, &log, 30);
    assert!(wal.usage().bytes > small().garbage_bytes);
    let usage = wal.usage();
    assert!(usage.live_bytes > last * 700 && usage.live_bytes <= usage.bytes, "{usage:?}");
    assert_eq!(log.live_bytes(), usage.live_bytes);
    assert_eq!(all(&log), records(1, 1..=last, 700));
}

#[test]
fn restarts_do_not_pile_up_segments() {
    let disk = FakeDisk::default();
    let most = (small().garbage_bytes / small().segment_bytes) as usize + 1;
    for index in 1..=40 {
        let wal = open(&disk, small());
        let log = wal.log(tag(1)).unwrap();
        wait(|done| log.append(records(1, index..=index, 20), done)).unwrap();
        until(|| wal.usage().segments <= most);
        wal.close().unwrap();
    }
    let wal = open(&disk, small());
    assert_eq!(all(&wal.log(tag(1)).unwrap()), records(1, 1..=40, 20));
}

#[test]
fn the_next_segment_is_filled_with_zeroes_ahead_of_need() {
    let disk = FakeDisk::default();
    let wal = open(&disk, small());
    let log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 1..=6, 700), done)).unwrap();
    let size = small().segment_bytes as usize;
    let spare = |files: &std::collections::BTreeMap<_, Vec<u8>>| {
        files.values().filter(|bytes| **bytes == vec![0; size]).count()
    };
    until(|| wal.owner.shared.segments.spares().0 == 1);
    assert_eq!(spare(&disk.files()), 1);
    wait(|done| log.append(records(1, 7..=12, 700), done)).unwrap();
    let files = disk.files();
    let second = files.iter().find(|(path, _)| path.ends_with("0000000000000002.log")).unwrap();
    assert_eq!(second.1.len(), size, "it was taken");
    wal.close().unwrap();
    let again = open(&disk, small());
    assert_eq!(all(&again.log(tag(1)).unwrap()), records(1, 1..=12, 700));
}
