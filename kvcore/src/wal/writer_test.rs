//! One write and one sync a batch; a full disk is waited for; a failed one is left and opened again.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::types::Kind;
use crate::wal::fake_disk::{Event, FakeDisk, PATIENCE};
use crate::wal::model::{is_batch, is_empty_batch, open, tiny, until_calm};
use crate::wal::tests::{all, position, record, records, small, start, tag, until, wait};
use crate::wal::{Log, Options, Record, Wal};

/// A vote, which one sector has room for.
fn vote(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

fn saves_vote(log: &Log, number: u64) {
    wait(|done| log.save_vote(vote(number), done)).unwrap();
}

/// Appends entries until the keeper finds that there is no room for another segment.
fn fill_the_disk(disk: &FakeDisk, wal: &Wal, log: &Log) -> Vec<Record> {
    let mut appended = all(log);
    // The keeper may be looking for room just now.
    until_calm(disk, wal);
    while !wal.is_full() {
        let next = record(1, appended.len() as u64 + 1, 600);
        wait(|done| log.append(vec![next.clone()], done)).unwrap();
        appended.push(next);
        until_calm(disk, wal);
    }
    // Most of a segment is left.
    assert!(wal.left() >= tiny().segment_bytes / 2);
    appended
}

fn until_writer_waits(wal: &Wal) {
    until(|| wal.owner.shared.room.wanted().is_some());
}

#[test]
fn a_batch_is_one_write_and_one_sync_and_the_stamp_costs_none() {
    let disk = FakeDisk::default();
    let options = Options { segment_bytes: 1 << 20, ..Options::default() };
    let wal = Wal::open_on(Arc::new(disk.clone()), Path::new("log"), options).unwrap();
    let log = wal.log(tag(1)).unwrap();
    for index in 1..=20 {
        wait(|done| log.append(records(1, index..=index, 700 * (index as usize % 3)), done))
            .unwrap();
        until_calm(&disk, &wal);
    }
    let journal = disk.journal();
    let begin = journal.iter().position(is_batch).unwrap();
    let (mut stamp, mut syncs) = (None, 0);
    for event in &journal[begin..] {
        match event {
            Event::Write { offset, .. } if is_empty_batch(event) => stamp = Some(*offset),
            // A batch takes the place of the stamp before it.
            Event::Write { offset, .. } => assert_eq!(stamp.take().unwrap_or(*offset), *offset),
            Event::Sync(_) => {
                assert!(stamp.is_none(), "nobody waits for the stamp");
                syncs += 1;
            }
            _ => {}
        }
    }
    assert_eq!((syncs, stamp.is_some()), (20, true));
    assert_eq!(journal[begin..].iter().filter(|event| is_batch(event)).count(), 40);
}

#[test]
fn a_full_disk_is_waited_for_and_heals() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 1..=1, 600), done)).unwrap();
    assert!(!wal.is_full());
    disk.leave_room(1000);
    let mut expected = fill_the_disk(&disk, &wal, &log);
    // What is left goes on being written.
    saves_vote(&log, 1);
    wait(|done| log.truncate_after(Some(expected[0].position), done)).unwrap();
    expected.truncate(1);
    until_calm(&disk, &wal);
    let files = disk.files();
    // What needs more waits, and whatever comes behind it; nothing is refused.
    let more = records(2, 2..=3, 1400);
    let appended = start(|done| log.append(more.clone(), done));
    let voted = start(|done| log.save_vote(vote(2), done));
    expected.extend(more);
    until_writer_waits(&wal);
    assert!(wal.is_full() && wal.failure().is_none());
    assert_eq!(all(&log), expected);
    assert_eq!(disk.files(), files, "no half file, and the stamp stands");
    disk.give_room();
    appended.recv_timeout(PATIENCE).unwrap().unwrap();
    voted.recv_timeout(PATIENCE).unwrap().unwrap();
    until(|| !wal.is_full());
    saves_vote(&log, 3);
    assert!(wal.failure().is_none());
    wal.close().unwrap();
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(1)).unwrap();
    assert_eq!((all(&log), log.state().vote), (expected, Some(vote(3))));
}

#[test]
fn a_purge_heals_a_full_disk() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(1)).unwrap();
    for index in 1..=12 {
        wait(|done| log.append(records(1, index..=index, 900), done)).unwrap();
        until_calm(&disk, &wal);
    }
    let spares = wal.usage().spare_bytes;
    disk.leave_room(1000);
    // First what was prepared is used up.
    let mut last = 12;
    while wal.usage().spare_bytes > 0 || spares == 0 && !wal.is_full() {
        last += 1;
        wait(|done| log.append(records(1, last..=last, 900), done)).unwrap();
        until_calm(&disk, &wal);
    }
    let next = last + 1;
    wait(|done| log.append(records(1, next..=next, 900), done)).unwrap();
    until(|| wal.is_full());
    wait(|done| log.purge(position(1, 9), done)).unwrap();
    until(|| !wal.is_full());
    wait(|done| log.append(records(1, next + 1..=next + 6, 400), done)).unwrap();
    let expected = [records(1, 10..=next, 900), records(1, next + 1..=next + 6, 400)].concat();
    assert_eq!(all(&log), expected);
    wal.close().unwrap();
    assert_eq!(all(&open(&disk).unwrap().log(tag(1)).unwrap()), expected);
}

#[test]
fn the_keeper_looks_for_room_whatever_it_waits_for() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(1)).unwrap();
    for index in 1..=8 {
        wait(|done| log.append(records(1, index..=index, 900), done)).unwrap();
        until_calm(&disk, &wal);
    }
    while wal.owner.shared.segments.take_spare(0).is_some() {}
    disk.leave_room(0);
    // The purge has the keeper ask for a batch, which comes behind one that there is no room for.
    disk.hold();
    let purged = start(|done| log.purge(position(1, 6), done));
    disk.wait_for_sync();
    let appended = start(|done| log.append(records(1, 9..=11, 1200), done));
    disk.release();
    purged.recv_timeout(PATIENCE).unwrap().unwrap();
    until_writer_waits(&wal);
    until(|| wal.owner.shared.segments.oldest() > 1);
    disk.give_room();
    appended.recv_timeout(PATIENCE).unwrap().unwrap();
    until_calm(&disk, &wal);
    assert!(wal.owner.shared.segments.get(1).is_none(), "and what it waited for is done");
}

#[test]
fn a_batch_larger_than_a_segment_gets_the_room_of_spares() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 1..=3, 600), done)).unwrap();
    until(|| wal.usage().spare_bytes == 4096);
    disk.leave_room(3000);
    // 6144 bytes are needed: 3000 are left, and 4096 are in the spare.
    wait(|done| log.append(records(1, 4..=4, 5000), done)).unwrap();
    assert_eq!(wal.usage().bytes, 4096 + 6144);
    // Room for 952 more is no room for the next segment.
    until(|| wal.is_full());
    disk.give_room();
    until(|| !wal.is_full());
    assert_eq!(wal.usage().spare_bytes, 4096);
}

#[test]
fn closing_does_not_wait_for_room() {
    for waiting in [true, false] {
        let disk = FakeDisk::default();
        let wal = open(&disk).unwrap();
        let log = wal.log(tag(1)).unwrap();
        wait(|done| log.append(records(1, 1..=1, 600), done)).unwrap();
        disk.leave_room(1000);
        let expected = fill_the_disk(&disk, &wal, &log);
        saves_vote(&log, 7);
        if waiting {
            let number = expected.len() as u64 + 1;
            let appended = start(|done| log.append(vec![record(1, number, 3000)], done));
            let voted = start(|done| log.save_vote(vote(8), done));
            until_writer_waits(&wal);
            let full = |result: crate::types::Result<()>| {
                assert_eq!(result.unwrap_err().kind(), Kind::StorageFull);
            };
            full(wal.close());
            full(appended.try_recv().unwrap());
            full(voted.try_recv().unwrap());
        } else {
            wal.close().unwrap();
        }
        // Opening needs no room, nor does reading.
        let wal = open(&disk).unwrap();
        let log = wal.log(tag(1)).unwrap();
        assert_eq!((all(&log), log.state().vote), (expected.clone(), Some(vote(7))));
        let voted = start(|done| log.save_vote(vote(9), done));
        until_writer_waits(&wal);
        assert!(wal.is_full());
        disk.give_room();
        voted.recv_timeout(PATIENCE).unwrap().unwrap();
        wal.close().unwrap();
        // A clean end, in either case.
        assert_eq!(open(&disk).unwrap().log(tag(1)).unwrap().state().vote, Some(vote(9)));
    }
}

#[test]
fn a_committed_position_alone_does_not_make_closing_fail() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 1..=1, 600), done)).unwrap();
    disk.leave_room(0);
    fill_the_disk(&disk, &wal, &log);
    let mut number = 0;
    while wal.owner.shared.segments.rest() >= 2 * 512 {
        number += 1;
        saves_vote(&log, number);
    }
    log.save_committed(Bytes::from_static(b"committed"));
    wal.close().unwrap();
    assert!(wal.failure().is_none());
    let state = open(&disk).unwrap().log(tag(1)).unwrap().state();
    assert_eq!((state.vote, state.committed), (Some(vote(number)), None));
}

#[test]
fn a_spare_that_was_found_is_used_on_a_full_disk() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    wait(|done| wal.log(tag(1)).unwrap().append(records(1, 1..=3, 600), done)).unwrap();
    until(|| wal.usage().spare_bytes == 4096);
    wal.close().unwrap();
    disk.leave_room(0);
    let wal = open(&disk).unwrap();
    saves_vote(&wal.log(tag(1)).unwrap(), 1);
    assert!(wal.failure().is_none());
}

#[test]
fn a_failed_log_is_opened_again_from_what_is_on_disk() {
    // Whether the kernel still writes what was not synced, and whether the batch is read.
    for forgotten in [true, false] {
        let disk = FakeDisk::default();
        let wal = open(&disk).unwrap();
        let log = wal.log(tag(1)).unwrap();
        wait(|done| log.append(records(1, 1..=3, 400), done)).unwrap();
        wait(|done| log.save_vote(vote(1), done)).unwrap();
        until_calm(&disk, &wal);
        assert!(wal.failure().is_none());
        disk.fail_syncs(ErrorKind::Other);
        let failed = wait(|done| log.append(records(1, 4..=4, 400), done));
        assert_eq!(failed.unwrap_err().kind(), Kind::Internal);
        assert_eq!(wal.failure().unwrap().kind(), Kind::Internal);
        assert_eq!(wal.close().unwrap_err().kind(), Kind::Internal);
        disk.heal();
        let mut expected = records(1, 1..=3, 400);
        let disk = if forgotten {
            FakeDisk::with(FakeDisk::after_power_failure(&disk.journal(), |_| false))
        } else {
            // The batch was not acknowledged, but reads well as long as the power is on.
            expected.extend(records(1, 4..=4, 400));
            disk
        };
        for _ in 0..2 {
            let wal = open(&disk).unwrap();
            let log = wal.log(tag(1)).unwrap();
            assert_eq!((all(&log), log.state().vote), (expected.clone(), Some(vote(1))));
            let next = expected.len() as u64 + 1;
            wait(|done| log.append(records(2, next..=next, 700), done)).unwrap();
            expected.extend(records(2, next..=next, 700));
            // What was read when it was opened is durable by now, failed sync or not.
            let left = FakeDisk::after_power_failure(&disk.journal(), |_| false);
            let again = open(&FakeDisk::with(left)).unwrap();
            assert_eq!(all(&again.log(tag(1)).unwrap()), expected);
            wal.close().unwrap();
        }
    }
}

#[test]
fn a_failed_sync_of_the_directory_ends_all_writing() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(1)).unwrap();
    for index in 1..=8 {
        wait(|done| log.append(records(1, index..=index, 900), done)).unwrap();
        until_calm(&disk, &wal);
    }
    disk.fail_dir_syncs(ErrorKind::Other);
    wait(|done| log.purge(position(1, 7), done)).unwrap();
    until(|| wal.failure().is_some());
    assert_eq!(wal.close().unwrap_err().kind(), Kind::Internal);
    disk.heal();
    let wal = open(&disk).unwrap();
    assert_eq!(all(&wal.log(tag(1)).unwrap()), records(1, 8..=8, 900));
}

#[test]
fn a_segment_has_all_its_bytes_on_disk_before_it_is_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(dir.path(), small()).unwrap();
    let log = wal.log(tag(1)).unwrap();
    for index in 1..=30 {
        wait(|done| log.append(records(1, index..=index, 900), done)).unwrap();
        for file in std::fs::read_dir(dir.path()).unwrap() {
            use std::os::unix::fs::MetadataExt;
            let file = file.unwrap();
            if file.path().extension().unwrap() == "log" {
                let known = file.metadata().unwrap();
                assert_eq!(known.len(), small().segment_bytes);
                assert!(known.blocks() * 512 >= known.len(), "{known:?}");
            }
        }
    }
}
