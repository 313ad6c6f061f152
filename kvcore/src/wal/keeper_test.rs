//! What may be freed is freed, and nothing else.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::wal::fake_disk::FakeDisk;
use crate::wal::tests::{all, position, records, small, tag, until, wait};
use crate::wal::{Log, Options, Wal};

fn open(disk: &FakeDisk, options: Options) -> Wal {
    Wal::open_on(Arc::new(disk.clone()), Path::new("log"), options).unwrap()
}

/// Appends entries one by one until that many segments were begun since; returns the last index.
fn fill(wal: &Wal, log: &Log, segments: u64) -> u64 {
    let newest = || *wal.owner.shared.live().keys().next_back().unwrap_or(&0);
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

#[test]
fn a_large_idle_group_pins_nothing_once_the_log_is_too_large() {
    let disk = FakeDisk::default();
    let wal = open(&disk, small());
    let idle = wal.log(tag(7)).unwrap();
    let kept = fill(&wal, &idle, 4);
    let busy = wal.log(tag(1)).unwrap();
    for _ in 0..30 {
        let last = fill(&wal, &busy, 2);
        wait(|done| busy.purge(position(1, last), done)).unwrap();
        // Live entries that are on their way can still be read.
        assert_eq!(all(&idle), records(1, 1..=kept, 700));
    }
    until(|| wal.usage().bytes <= small().max_bytes + 3 * small().segment_bytes);
    wal.close().unwrap();
    assert_eq!(all(&open(&disk, small()).log(tag(7)).unwrap()), records(1, 1..=kept, 700));
}

#[test]
fn what_is_alive_stays_however_much_it_is() {
    let disk = FakeDisk::default();
    let wal = open(&disk, small());
    let log = wal.log(tag(1)).unwrap();
    let last = fill(&wal, &log, 30);
    assert!(wal.usage().bytes > small().max_bytes);
    let usage = wal.usage();
    assert!(usage.live_bytes > last * 700 && usage.live_bytes <= usage.bytes, "{usage:?}");
    assert_eq!(log.live_bytes(), usage.live_bytes);
    assert_eq!(all(&log), records(1, 1..=last, 700));
}

#[test]
fn restarts_do_not_pile_up_segments() {
    let disk = FakeDisk::default();
    let most = (small().max_bytes / small().segment_bytes) as usize + 1;
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
    until(|| wal.owner.shared.segments.spares() == 1);
    assert_eq!(spare(&disk.files()), 1);
    wait(|done| log.append(records(1, 7..=12, 700), done)).unwrap();
    let files = disk.files();
    let second = files.iter().find(|(path, _)| path.ends_with("0000000000000002.log")).unwrap();
    assert_eq!(second.1.len(), size, "it was taken");
    wal.close().unwrap();
    let again = open(&disk, small());
    assert_eq!(all(&again.log(tag(1)).unwrap()), records(1, 1..=12, 700));
}
