//! What the handles promise, on a real disk and on a fake one.

use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;

use super::fake_disk::{Event, FakeDisk, PATIENCE};
use super::model::{is_empty_batch, until_calm};
use super::*;
use crate::types::{GroupId, PartitionId, ReplicaId};

pub(super) fn tag(partition: u16) -> Tag {
    Tag { group: GroupId::Partition(PartitionId(partition)), replica: ReplicaId(100) }
}

pub(super) fn position(term: u64, index: u64) -> Position {
    Position { term, index }
}

pub(super) fn record(term: u64, index: u64, size: usize) -> Record {
    let payload = Bytes::from(vec![(index * 31 + term) as u8; size]);
    Record { position: position(term, index), kind: (index % 3) as u8, payload }
}

pub(super) fn records(term: u64, range: std::ops::RangeInclusive<u64>, size: usize) -> Vec<Record> {
    range.map(|index| record(term, index, size)).collect()
}

/// Makes a call and returns what will receive its outcome.
pub(super) fn start(call: impl FnOnce(Done)) -> Receiver<Result<()>> {
    let (sender, receiver) = channel();
    call(Box::new(move |result| sender.send(result).unwrap()));
    receiver
}

/// Makes a call and waits for it.
pub(super) fn wait(call: impl FnOnce(Done)) -> Result<()> {
    start(call).recv_timeout(PATIENCE).unwrap()
}

pub(super) fn all(log: &Log) -> Vec<Record> {
    log.read(0..u64::MAX, usize::MAX).unwrap()
}

pub(super) fn small() -> Options {
    Options {
        segment_bytes: 8192,
        cache_bytes: 2048,
        batch_bytes: 2048,
        garbage_bytes: 64 << 10,
        ..Options::default()
    }
}

pub(super) fn until(mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < end, "it does not come to hold");
        std::thread::yield_now();
    }
}

#[test]
fn everything_reads_back_before_and_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a").join("log");
    let check = |wal: &Wal| {
        let one = wal.log(tag(1)).unwrap();
        let expected = [records(1, 4..=6, 100), records(2, 7..=9, 3000)].concat();
        assert_eq!(all(&one), expected);
        assert_eq!(one.read(5..8, usize::MAX).unwrap(), expected[1..4]);
        let state = one.state();
        assert_eq!((state.purged, state.last), (Some(position(1, 3)), Some(position(2, 9))));
        assert_eq!(state.vote, Some(Bytes::from_static(b"vote 2")));
        assert_eq!(state.committed, Some(Bytes::from_static(b"committed 2")));
        let two = wal.log(tag(2)).unwrap();
        assert_eq!(all(&two), records(5, 11..=12, 0));
        assert_eq!(two.state().purged, Some(position(4, 10)));
        let last = Some(position(9, 77));
        assert_eq!(
            wal.log(tag(3)).unwrap().state(),
            State { purged: last, last, ..State::default() }
        );
        assert_eq!(wal.tags(), [tag(1), tag(2), tag(3)]);
    };
    {
        let wal = Wal::open(&path, small()).unwrap();
        let one = wal.log(tag(1)).unwrap();
        wait(|done| one.append(records(1, 1..=8, 100), done)).unwrap();
        wait(|done| one.save_vote(Bytes::from_static(b"vote 1"), done)).unwrap();
        wait(|done| one.truncate_after(Some(position(1, 6)), done)).unwrap();
        wait(|done| one.append(records(2, 7..=9, 3000), done)).unwrap();
        one.save_committed(Bytes::from_static(b"committed 1"));
        wait(|done| one.save_vote(Bytes::from_static(b"vote 2"), done)).unwrap();
        wait(|done| one.purge(position(1, 3), done)).unwrap();
        let two = wal.log(tag(2)).unwrap();
        wait(|done| two.append(records(4, 1..=5, 10), done)).unwrap();
        wait(|done| two.purge(position(4, 10), done)).unwrap();
        wait(|done| two.append(records(5, 11..=12, 0), done)).unwrap();
        wait(|done| wal.log(tag(3)).unwrap().purge(position(9, 77), done)).unwrap();
        let gone = wal.log(tag(4)).unwrap();
        wait(|done| gone.append(records(1, 1..=1, 10), done)).unwrap();
        gone.save_committed(Bytes::from_static(b"buffered"));
        wait(|done| gone.remove(done)).unwrap();
        assert_eq!(
            wait(|done| gone.save_vote(Bytes::new(), done)).unwrap_err().kind(),
            Kind::Closed
        );
        one.save_committed(Bytes::from_static(b"committed 2"));
        check(&wal);
        wal.close().unwrap();
    }
    for _ in 0..3 {
        let wal = Wal::open(&path, small()).unwrap();
        check(&wal);
        wal.close().unwrap();
    }
}

#[test]
fn a_removed_log_can_begin_anew() {
    let disk = FakeDisk::default();
    let wal = Wal::open_on(Arc::new(disk.clone()), Path::new("log"), small()).unwrap();
    let log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 1..=3, 10), done)).unwrap();
    disk.hold();
    let removed = start(|done| log.remove(done));
    let again = wal.log(tag(1)).unwrap();
    assert_eq!(again.state(), State::default());
    let appended = start(|done| again.append(records(7, 20..=21, 10), done));
    disk.release();
    removed.recv_timeout(PATIENCE).unwrap().unwrap();
    appended.recv_timeout(PATIENCE).unwrap().unwrap();
    assert!(log.read(0..9, 9).is_err());
    wal.close().unwrap();
    let wal = Wal::open_on(Arc::new(disk), Path::new("log"), small()).unwrap();
    assert_eq!(all(&wal.log(tag(1)).unwrap()), records(7, 20..=21, 10));
}

#[test]
fn a_read_keeps_to_its_limit_but_gives_at_least_one() {
    let dir = tempfile::tempdir().unwrap();
    for cache_bytes in [1 << 20, 0] {
        let path = dir.path().join(cache_bytes.to_string());
        let wal = Wal::open(&path, Options { cache_bytes, ..Options::default() }).unwrap();
        let log = wal.log(tag(1)).unwrap();
        wait(|done| log.append(records(1, 1..=9, 100), done)).unwrap();
        let read = |range, limit| log.read(range, limit).unwrap().len();
        assert_eq!(read(1..10, 0), 1);
        assert_eq!(read(1..10, 299), 2);
        assert_eq!(read(1..10, 300), 3);
        assert_eq!(read(8..100, 1000), 2);
        assert_eq!(read(10..100, 1000), 0);
        assert_eq!(read(0..0, 1000), 0);
        assert_eq!(log.read(0..2, 100).unwrap(), records(1, 1..=1, 100));
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(dir.path(), small()).unwrap();
    let log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 5..=9, 10), done)).unwrap();
    wait(|done| log.purge(position(1, 6), done)).unwrap();
    let before = (log.state(), all(&log));
    let refused =
        |result: Result<()>| assert_eq!(result.unwrap_err().kind(), Kind::InvalidArgument);
    refused(wait(|done| log.append(records(1, 9..=10, 10), done)));
    refused(wait(|done| log.append(records(1, 11..=11, 10), done)));
    refused(wait(|done| log.append(vec![record(1, 10, 1), record(1, 12, 1)], done)));
    refused(wait(|done| log.truncate_after(Some(position(1, 5)), done)));
    refused(wait(|done| log.truncate_after(Some(position(2, 7)), done)));
    wait(|done| log.append(Vec::new(), done)).unwrap();
    wait(|done| log.truncate_after(Some(position(1, 30)), done)).unwrap();
    wait(|done| log.purge(position(1, 2), done)).unwrap();
    assert_eq!((log.state(), all(&log)), before);
    wal.close().unwrap();
    let wal = Wal::open(dir.path(), small()).unwrap();
    let log = wal.log(tag(1)).unwrap();
    assert_eq!((log.state(), all(&log)), before);
    assert!(Wal::open(dir.path(), Options { segment_bytes: 1, ..small() }).is_err());
}

#[test]
fn truncated_entries_stay_gone_and_others_take_their_place() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let wal = Wal::open(dir.path(), small()).unwrap();
        let log = wal.log(tag(1)).unwrap();
        wait(|done| log.truncate_after(None, done)).unwrap();
        assert_eq!(log.state().last, None);
        wait(|done| log.append(records(1, 1..=9, 200), done)).unwrap();
        // Not waited for: the first ones must not come back with the place of the second.
        log.truncate_after(Some(position(1, 4)), Box::new(|_| ()));
        log.append(records(2, 5..=7, 300), Box::new(|_| ()));
        log.truncate_after(Some(position(2, 5)), Box::new(|_| ()));
        wait(|done| log.append(records(3, 6..=6, 10), done)).unwrap();
        let expected =
            [records(1, 1..=4, 200), records(2, 5..=5, 300), records(3, 6..=6, 10)].concat();
        assert_eq!(all(&log), expected);
        wal.close().unwrap();
        let wal = Wal::open(dir.path(), small()).unwrap();
        let log = wal.log(tag(1)).unwrap();
        assert_eq!(all(&log), expected);
        assert_eq!(log.state().last, Some(position(3, 6)));
        wal.close().unwrap();
    }
}

#[test]
fn a_closed_log_answers_so() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(dir.path(), small()).unwrap();
    let log = wal.log(tag(1)).unwrap();
    let appended = start(|done| log.append(records(1, 1..=1, 10), done));
    wal.close().unwrap();
    wal.close().unwrap();
    appended.try_recv().unwrap().unwrap();
    let closed = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), Kind::Closed);
    closed(wait(|done| log.append(records(1, 2..=2, 10), done)));
    closed(wait(|done| log.save_vote(Bytes::new(), done)));
    closed(wait(|done| log.truncate_after(None, done)));
    closed(wait(|done| log.purge(position(1, 1), done)));
    closed(wait(|done| log.remove(done)));
    closed(log.read(0..9, 9).map(drop));
    closed(wal.log(tag(2)).map(drop));
    log.save_committed(Bytes::new());
    assert_eq!(log.state().committed, None);
}

#[test]
fn closing_in_a_callback_is_refused_instead_of_hanging() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(dir.path(), small()).unwrap();
    let (inner, log) = (wal.clone(), wal.log(tag(1)).unwrap());
    let (sender, receiver) = channel();
    let done: Done = Box::new(move |_| sender.send(inner.close().unwrap_err().kind()).unwrap());
    log.save_vote(Bytes::new(), done);
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), Kind::WouldDeadlock);
    wal.close().unwrap();
}

#[test]
fn a_batch_larger_than_a_segment_gets_its_own() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let wal = Wal::open(dir.path(), small()).unwrap();
        let log = wal.log(tag(1)).unwrap();
        let first = round * 3;
        wait(|done| log.append(vec![record(1, first, 10)], done)).unwrap();
        wait(|done| log.append(vec![record(1, first + 1, 50_000)], done)).unwrap();
        wait(|done| log.append(vec![record(1, first + 2, 20)], done)).unwrap();
        let sizes: Vec<usize> = all(&log).iter().map(|record| record.payload.len()).collect();
        assert_eq!(sizes, [10, 50_000, 20].repeat(round as usize + 1));
        wal.close().unwrap();
    }
}

#[test]
fn a_log_nobody_writes_to_makes_no_files() {
    let disk = FakeDisk::default();
    for _ in 0..3 {
        let wal = Wal::open_on(Arc::new(disk.clone()), Path::new("log"), small()).unwrap();
        assert_eq!(wal.log(tag(1)).unwrap().state(), State::default());
        assert_eq!(wal.tags(), []);
        wal.close().unwrap();
    }
    assert!(disk.files().is_empty());
}

#[test]
fn done_comes_after_the_sync_that_covers_it() {
    let disk = FakeDisk::default();
    let wal = Wal::open_on(Arc::new(disk.clone()), Path::new("log"), small()).unwrap();
    let log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 1..=1, 10), done)).unwrap();
    disk.hold();
    let first = start(|done| log.append(records(1, 2..=2, 10), done));
    disk.wait_for_sync();
    let second = start(|done| log.save_vote(Bytes::from_static(b"vote"), done));
    assert_eq!(all(&log).len(), 2, "it can be read at once");
    assert_eq!(log.state().vote, Some(Bytes::from_static(b"vote")));
    assert!(first.try_recv().is_err());
    assert!(second.try_recv().is_err());
    disk.release();
    first.recv_timeout(PATIENCE).unwrap().unwrap();
    second.recv_timeout(PATIENCE).unwrap().unwrap();
    wal.close().unwrap();
    // Each batch is synced before the next is written.
    let mut dirty = false;
    for event in disk.journal() {
        match event {
            Event::Write { .. } => {
                assert!(!dirty);
                // But for a stamp, which the next batch overwrites.
                dirty = !is_empty_batch(&event);
            }
            Event::Sync(_) => dirty = false,
            _ => {}
        }
    }
}

#[test]
fn many_appends_share_few_syncs() {
    let disk = FakeDisk::default();
    let options = Options { segment_bytes: 1 << 20, ..Options::default() };
    let wal = Wal::open_on(Arc::new(disk.clone()), Path::new("log"), options).unwrap();
    disk.hold();
    wait_held(&disk, &wal);
    let syncs = || disk.journal().iter().filter(|event| matches!(event, Event::Sync(_))).count();
    let before = syncs();
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        for partition in 0..8 {
            let (wal, sender) = (wal.clone(), sender.clone());
            scope.spawn(move || {
                let log = wal.log(tag(partition)).unwrap();
                for index in 1..=100 {
                    let sender = sender.clone();
                    let done = Box::new(move |result: Result<()>| sender.send(result).unwrap());
                    log.append(records(1, index..=index, 50), done);
                }
            });
        }
    });
    disk.release();
    for _ in 0..800 {
        receiver.recv_timeout(PATIENCE).unwrap().unwrap();
    }
    assert!(syncs() - before <= 3, "{} syncs", syncs() - before);
    wal.close().unwrap();
}

/// Lets the writer run into the held disk, so that what comes next gathers.
fn wait_held(disk: &FakeDisk, wal: &Wal) {
    wal.log(tag(999)).unwrap().save_vote(Bytes::new(), Box::new(|_| ()));
    disk.wait_for_sync();
}

#[test]
fn a_failed_sync_ends_all_writing() {
    for (failing, kind) in [
        (std::io::ErrorKind::Other, Kind::Internal),
        (std::io::ErrorKind::StorageFull, Kind::StorageFull),
    ] {
        for sync in [true, false] {
            let disk = FakeDisk::default();
            let open = || Wal::open_on(Arc::new(disk.clone()), Path::new("log"), small());
            let wal = open().unwrap();
            let log = wal.log(tag(1)).unwrap();
            wait(|done| log.append(records(1, 1..=2, 10), done)).unwrap();
            disk.hold();
            let queued = start(|done| log.append(records(1, 3..=3, 10), done));
            disk.wait_for_sync();
            let behind = start(|done| log.append(records(1, 4..=4, 10), done));
            if sync {
                disk.fail_syncs(failing)
            } else {
                disk.fail_writes(failing)
            }
            disk.release();
            let first = queued.recv_timeout(PATIENCE).unwrap();
            assert_eq!(first.map_err(|error| error.kind()).err(), sync.then_some(kind));
            assert_eq!(behind.recv_timeout(PATIENCE).unwrap().unwrap_err().kind(), kind);
            let failed = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), kind);
            failed(wait(|done| log.save_vote(Bytes::new(), done)));
            failed(log.read(0..9, 9).map(drop));
            failed(wal.log(tag(2)).map(drop));
            failed(wal.close());
            failed(wal.close());
            let syncs = disk.journal().iter().filter(|e| matches!(e, Event::Sync(_))).count();
            assert!(syncs <= 3, "no sync is tried again");
        }
    }
}

#[test]
fn pressure_is_reported_and_goes_away() {
    let disk = FakeDisk::default();
    let options = Options { queue_bytes: 1000, ..small() };
    let wal = Wal::open_on(Arc::new(disk.clone()), Path::new("log"), options).unwrap();
    disk.hold();
    let log = wal.log(tag(1)).unwrap();
    assert!(!wal.pressure());
    let appended = start(|done| log.append(records(1, 1..=20, 1000), done));
    assert!(wal.pressure());
    disk.release();
    appended.recv_timeout(PATIENCE).unwrap().unwrap();
    until(|| !wal.pressure());
    wait(|done| log.append(records(1, 21..=40, 10), done)).unwrap();
    wal.close().unwrap();
    assert_eq!(wal.owner.shared.queue.bytes(), 0);
}

#[test]
fn a_panicking_callback_harms_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(dir.path(), small()).unwrap();
    let log = wal.log(tag(1)).unwrap();
    log.save_vote(Bytes::new(), Box::new(|_| panic!("on purpose")));
    wait(|done| log.append(records(1, 1..=2, 10), done)).unwrap();
    wal.close().unwrap();
}

#[test]
fn a_committed_position_is_never_ahead_of_the_entries_before_it() {
    let disk = FakeDisk::default();
    let wal = Wal::open_on(Arc::new(disk.clone()), Path::new("log"), small()).unwrap();
    let log = wal.log(tag(1)).unwrap();
    disk.hold();
    let first = start(|done| log.append(records(1, 1..=1, 10), done));
    disk.wait_for_sync();
    // Two batches of entries, and a position that speaks of the second.
    let second = start(|done| log.append(records(1, 2..=9, 1000), done));
    let third = start(|done| log.append(records(1, 10..=12, 1000), done));
    log.save_committed(Bytes::from_static(b"12"));
    disk.release();
    for done in [first, second, third] {
        done.recv_timeout(PATIENCE).unwrap().unwrap();
    }
    let journal = disk.journal();
    for end in 0..journal.len() {
        let files = FakeDisk::after_power_failure(&journal[..end], |_| true);
        let disk = FakeDisk::with(files);
        let found = Wal::open_on(Arc::new(disk), Path::new("log"), small()).unwrap();
        let state = found.log(tag(1)).unwrap().state();
        if state.committed.is_some() {
            assert_eq!(state.last, Some(position(1, 12)));
        }
    }
    assert!(log.state().committed.is_some());
}

#[test]
fn a_copy_of_an_entry_that_is_gone_is_not_written() {
    let disk = FakeDisk::default();
    let wal = Wal::open_on(Arc::new(disk.clone()), Path::new("log"), small()).unwrap();
    let log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 1..=3, 10), done)).unwrap();
    let entries = wal.owner.shared.groups()[0].lock().entries_in(1, usize::MAX);
    let copies = records(1, 1..=3, 10).into_iter().zip(entries.into_iter().map(|(_, home)| home));
    log.truncate_after(Some(position(1, 2)), Box::new(|_| ()));
    log.append(records(2, 3..=3, 10), Box::new(|_| ()));
    wait(|done| log.copy(copies.collect(), done)).unwrap();
    let expected = [records(1, 1..=2, 10), records(2, 3..=3, 10)].concat();
    assert_eq!(all(&log), expected);
    wal.close().unwrap();
    let wal = Wal::open_on(Arc::new(disk), Path::new("log"), small()).unwrap();
    assert_eq!(all(&wal.log(tag(1)).unwrap()), expected);
}

#[test]
fn usage_is_the_sum_of_all_logs() {
    let disk = FakeDisk::default();
    let wal = Wal::open_on(Arc::new(disk.clone()), Path::new("log"), small()).unwrap();
    let check = |wal: &Wal| {
        until_calm(&disk, wal);
        let logs: Vec<Log> = wal.tags().into_iter().map(|tag| wal.log(tag).unwrap()).collect();
        let usage = wal.usage();
        let entries: Vec<usize> = logs.iter().map(|log| all(log).len()).collect();
        assert_eq!(usage.entries, entries.iter().sum::<usize>() as u64);
        assert_eq!(usage.entries, logs.iter().map(Log::entries).sum::<u64>());
        assert_eq!(usage.live_bytes, logs.iter().map(Log::live_bytes).sum::<u64>());
        let files = disk.files();
        let bytes = |extension: &str| {
            let files = files.iter().filter(|(path, _)| path.extension().unwrap() == extension);
            files.map(|(_, bytes)| bytes.len() as u64).sum::<u64>()
        };
        assert_eq!((usage.bytes, usage.spare_bytes), (bytes("log"), bytes("free")));
    };
    for round in 1..=12 {
        for partition in 1..=3 {
            let log = wal.log(tag(partition)).unwrap();
            let first = log.state().last.map_or(1, |last| last.index + 1);
            wait(|done| log.append(records(round, first..=first + 3, 300), done)).unwrap();
            wait(|done| log.save_vote(Bytes::from(vec![1; 16]), done)).unwrap();
            if partition == 1 {
                wait(|done| log.truncate_after(Some(position(round, first + 1)), done)).unwrap();
            }
            if partition == 2
                && let Some(upto) = log.purgeable(2000)
            {
                wait(|done| log.purge(position(round, upto), done)).unwrap();
                assert!((2000..2340).contains(&(log.entries() * 340)), "{}", log.entries());
            }
        }
        check(&wal);
    }
    wait(|done| wal.log(tag(3)).unwrap().remove(done)).unwrap();
    check(&wal);
    wal.close().unwrap();
    let wal = Wal::open_on(Arc::new(disk.clone()), Path::new("log"), small()).unwrap();
    wait(|done| wal.log(tag(1)).unwrap().save_vote(Bytes::new(), done)).unwrap();
    check(&wal);
}
