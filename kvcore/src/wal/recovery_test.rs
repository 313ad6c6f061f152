//! Whatever the disk holds after a failure at any moment, what was acknowledged is there.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use crate::wal::fake_disk::{Event, FakeDisk};
use crate::wal::model::{
    Chronicle, DIR, Files, Model, NO_EVENT, Pace, Phase, Step, found, is_batch, is_empty_batch,
    open, phase, random, reused, several_segments, take, until_calm,
};
use crate::wal::segment::segment_path;
use crate::wal::tests::{all, records, tag, wait};

fn step() -> impl Strategy<Value = Step> {
    let tag = 0..4_u16;
    let size = prop_oneof![4 => 0..200_usize, 2 => 200..1500_usize, 1 => 4000..6000_usize];
    prop_oneof![
        12 => (tag.clone(), 1..6_u64, size)
            .prop_map(|(tag, count, size)| Step::Append { tag, count, size }),
        3 => (tag.clone(), 0..6_usize).prop_map(|(tag, back)| Step::Truncate { tag, back }),
        4 => (tag.clone(), 0..12_u64).prop_map(|(tag, ahead)| Step::Purge { tag, ahead }),
        2 => tag.clone().prop_map(|tag| Step::Vote { tag }),
        3 => tag.clone().prop_map(|tag| Step::Commit { tag }),
        1 => tag.prop_map(|tag| Step::Remove { tag }),
        2 => Just(Step::Hold),
        6 => Just(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_failure_at_any_moment_loses_nothing_acknowledged(
        lives in prop::collection::vec(prop::collection::vec(step(), 1..40), 1..5),
        seed in any::<u64>(),
    ) {
        let mut next = random(seed);
        let mut disk = FakeDisk::default();
        let mut chronicle = Chronicle::default();
        for steps in lives {
            let begin = disk.journal().len();
            let (_, journal) = chronicle.live(&disk, &steps, Pace::Brisk);
            for _ in 0..30 {
                let end = begin + (next() as usize) % (journal.len() - begin + 1);
                let happened = &journal[..end];
                for luck in [0, 1, 2] {
                    let chance = |_| match luck { 0 => false, 1 => true, _ => next() & 1 == 0 };
                    let left = FakeDisk::after_power_failure(happened, chance);
                    chronicle.check(happened, left).unwrap();
                }
            }
            let end = begin + (next() as usize) % (journal.len() - begin + 1);
            let happened = &journal[..end];
            if next() & 1 == 0 {
                disk = FakeDisk::after_kill(happened);
                chronicle.check(happened, disk.files()).unwrap();
            } else {
                let left = FakeDisk::after_power_failure(happened, |_| next() & 1 == 0);
                chronicle.check(happened, left.clone()).unwrap();
                disk = FakeDisk::with(left);
                chronicle = Chronicle::following(&chronicle);
            }
        }
    }
}

fn has(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

#[test]
fn a_batch_torn_at_any_byte_leaves_all_before_it() {
    let disk = FakeDisk::default();
    let mut chronicle = Chronicle::default();
    let (closing, journal) = chronicle.live(&disk, &several_segments(), Pace::Calm);
    assert!(reused(&journal) >= 3);
    let batches = (0..closing).filter(|at| is_batch(&journal[*at])).rev().take(26);
    let mut moments = 0;
    for at in batches {
        // The process is killed in the write: over zeroes, an older stamp, or older batches.
        let Event::Write { inode, offset, bytes } = &journal[at] else { unreachable!() };
        let before = FakeDisk::after_kill(&journal[..at]);
        let (path, from, end) = (before.path(*inode), *offset as usize, bytes.len());
        for cut in 0..=end {
            for part in [0..cut, cut..end] {
                let mut left = before.files();
                let file = left.get_mut(&path).unwrap();
                file[from + part.start..from + part.end].copy_from_slice(&bytes[part]);
                let whole = chronicle.check(&journal[..at], left);
                whole.unwrap_or_else(|why| panic!("{at} {cut}: {why}"));
                moments += 1;
            }
        }
    }
    println!("{moments} torn writes of 26 batches and stamps");
}

#[test]
fn a_tail_cut_or_zeroed_at_any_byte_keeps_every_batch_before() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let mut model = Model::new();
    let mut history = Vec::new();
    let steps = [
        Step::Append { tag: 1, count: 4, size: 900 },
        Step::Append { tag: 1, count: 3, size: 20 },
        Step::Append { tag: 2, count: 1, size: 600 },
        Step::Truncate { tag: 1, back: 1 },
        Step::Purge { tag: 1, ahead: 1 },
        Step::Append { tag: 3, count: 2, size: 100 },
    ];
    for (number, step) in steps.iter().enumerate() {
        wait(|done| take(step, number as u64 + 1, &wal, &mut model, done)).unwrap();
        until_calm(&disk, &wal);
        history.push((end_of_records(&disk.journal()), model.clone()));
    }
    let files = disk.files();
    let logs: Vec<_> = files.keys().filter(|path| has(path, "log")).collect();
    assert_eq!(logs.len(), 2, "the tail lies behind a change of segments");
    // The first step filled the first segment; the second segment is cut.
    history[0].0 = 0;
    let bytes = &files[logs[1]];
    let end = history.last().unwrap().0;
    for cut in 512..=end + 512 {
        let whole = history.iter().rposition(|(end, _)| *end <= cut).unwrap();
        for zeroed in [false, true] {
            let mut short = bytes[..cut].to_vec();
            if zeroed {
                short.resize(bytes.len(), 0);
            }
            let mut left = files.clone();
            left.insert(logs[1].clone(), short);
            let (model, _) = found(&open(&FakeDisk::with(left)).unwrap());
            let at = history.iter().rposition(|(_, after)| *after == model).unwrap();
            assert!(at == whole || at == whole + 1, "cut at {cut}: {at} of {whole}");
            // A batch may survive without its padding, but not without its last byte.
            let padded_only = history.get(at).is_some_and(|(end, _)| *end < cut + 512);
            assert!(at == whole || padded_only);
        }
    }
}

/// Where the last batch that has records ends in its file.
fn end_of_records(journal: &[Event]) -> usize {
    let is_record = |event: &&Event| is_batch(event) && !is_empty_batch(event);
    match journal.iter().rfind(is_record) {
        Some(Event::Write { offset, bytes, .. }) => *offset as usize + bytes.len(),
        _ => 0,
    }
}

#[test]
fn what_follows_a_torn_tail_survives_it_again_and_again() {
    let mut disk = FakeDisk::default();
    let mut expected = Model::new();
    for round in 0..5_u64 {
        let wal = open(&disk).unwrap();
        assert_eq!(found(&wal).0, expected);
        let step = Step::Append { tag: 2, count: 1, size: 30 };
        wait(|done| take(&step, 50 + round, &wal, &mut expected, done)).unwrap();
        // What was acknowledged stays, and the next write is torn.
        wait(|done| wal.log(tag(2)).unwrap().save_vote(Bytes::from(vec![7; 900]), done)).unwrap();
        let mut journal = disk.journal();
        let is_vote = |event: &Event| match event {
            Event::Write { bytes, .. } => bytes.windows(900).any(|part| part == [7; 900]),
            _ => false,
        };
        let last = journal.iter().rposition(is_vote).unwrap();
        journal.truncate(last + 1);
        let Some(Event::Write { bytes, .. }) = journal.last_mut() else { unreachable!() };
        bytes.truncate(520);
        disk = FakeDisk::after_kill(&journal);
    }
    assert_eq!(found(&open(&disk).unwrap()).0, expected);
}

#[test]
fn an_unsynced_batch_that_was_read_is_made_durable_before_anything_builds_on_it() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 1..=1, 10), done)).unwrap();
    // The process dies between the write and the sync: the bytes are with the kernel only.
    let journal = disk.journal();
    let batch = journal.iter().position(is_batch).unwrap();
    let killed = FakeDisk::after_kill(&journal[..=batch]);
    let wal = open(&killed).unwrap();
    assert_eq!(all(&wal.log(tag(1)).unwrap()), records(1, 1..=1, 10));
    let left = FakeDisk::after_power_failure(&killed.journal(), |_| false);
    let wal = open(&FakeDisk::with(left)).unwrap();
    assert_eq!(all(&wal.log(tag(1)).unwrap()), records(1, 1..=1, 10));
}

#[test]
fn opening_stamps_the_last_batch_only_when_it_is_durable() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    wait(|done| wal.log(tag(1)).unwrap().append(records(1, 1..=1, 10), done)).unwrap();
    let journal = disk.journal();
    let batch = journal.iter().position(is_batch).unwrap();
    let killed = FakeDisk::after_kill(&journal[..=batch]);
    drop(open(&killed).unwrap());
    let after: Vec<Event> = killed.journal().split_off(batch + 1);
    let at = |wanted: &dyn Fn(&Event) -> bool| after.iter().position(wanted).unwrap();
    let again = at(&|event| is_batch(event) && !is_empty_batch(event));
    let synced = at(&|event| matches!(event, Event::Sync(_)));
    let stamp = at(&is_empty_batch);
    assert!(again < synced && synced < stamp, "{after:?}");
    // A log that ends with a stamp gets no other one.
    let stamped = FakeDisk::with(killed.files());
    for _ in 0..3 {
        drop(open(&stamped).unwrap());
    }
    assert_eq!(stamped.files(), killed.files());
}

#[test]
fn a_spare_without_its_log_is_not_taken_for_a_log() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(1)).unwrap();
    for first in [1, 4, 7] {
        wait(|done| log.append(records(1, first..=first + 2, 20), done)).unwrap();
    }
    let files = disk.files();
    let path = segment_path(Path::new(DIR), 1);
    let disk = FakeDisk::with(Files::from([(path.with_extension("free"), files[&path].clone())]));
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(9)).unwrap();
    // As long as the first batch that was there, so that the second would follow on.
    wait(|done| log.append(records(1, 1..=3, 20), done)).unwrap();
    let (model, _) = found(&open(&FakeDisk::with(disk.files())).unwrap());
    assert_eq!(model.keys().copied().collect::<Vec<_>>(), [tag(9)]);
}

/// A log through all that syncs: segments are begun, prepared, freed and used again; it is opened
/// after a process was killed in the midst of writing a batch, and of freeing, and after a clean end.
fn journal_of_everything() -> (Chronicle, Vec<Event>) {
    let mut chronicle = Chronicle::default();
    let (_, mut journal) = chronicle.live(&FakeDisk::default(), &several_segments(), Pace::Calm);
    // Killed between the write of the last step and its sync.
    let last = journal.iter().rposition(|event| is_batch(event) && !is_empty_batch(event));
    journal.truncate(last.unwrap() + 1);
    let disk = FakeDisk::after_kill(&journal);
    let begin = journal.len();
    let more = [
        Step::Append { tag: 1, count: 2, size: 700 },
        Step::Append { tag: 3, count: 2, size: 600 },
        Step::Append { tag: 1, count: 1, size: 900 },
        Step::Append { tag: 3, count: 1, size: 900 },
        Step::Purge { tag: 1, ahead: 6 },
        Step::Purge { tag: 3, ahead: 11 },
    ];
    let (_, mut journal) = chronicle.live(&disk, &more, Pace::Calm);
    // Killed when the first of these segments had lost its name, but not for good.
    let lost = |event: &Event| matches!(event, Event::Rename(from, _) | Event::Remove(from) if has(from, "log"));
    let freed = begin + journal[begin..].iter().position(lost).unwrap();
    journal.truncate(freed + 1);
    let disk = FakeDisk::after_kill(&journal);
    let mut again = several_segments();
    again.push(Step::Purge { tag: 1, ahead: 20 });
    chronicle.live(&disk, &again, Pace::Calm);
    // And once more behind a clean end.
    let (_, journal) = chronicle.live(&disk, &again[..12], Pace::Calm);
    (chronicle, journal)
}

/// What a sync is for, judged by what happened before it.
fn purpose(journal: &[Event], at: usize) -> &'static str {
    let before = &journal[..at];
    let phase = phase(before);
    let Event::Sync(synced) = &journal[at] else {
        let name =
            before.iter().rfind(|event| matches!(event, Event::Rename(..) | Event::Remove(_)));
        return match name {
            _ if phase == Phase::Opening => "the names found when a log is opened",
            Some(Event::Rename(_, to)) if has(to, "log") => "the name of a segment",
            _ => "the lost name of a segment",
        };
    };
    let its = |event: &&Event| matches!(event, Event::Write { inode, .. } if inode == synced);
    let Some(Event::Write { offset, bytes, .. }) = before.iter().rfind(its) else {
        panic!("nothing to sync at {at}");
    };
    match phase {
        Phase::Opening => "the last batch when a log is opened",
        _ if bytes.iter().all(|byte| *byte == 0) => "the zeroes of a spare",
        _ if *offset == 0 => "the header of a segment",
        Phase::Closing => "the stamp of a clean end",
        Phase::Open => "a batch",
    }
}

/// What may survive of what was not synced: what came before the event, what came behind it, and such.
fn fates(at: usize) -> [Box<dyn Fn(usize) -> bool>; 6] {
    let by_chance = |seed: u64| {
        let sectors = std::cell::RefCell::new(random(seed + at as u64));
        Box::new(move |_| sectors.borrow_mut()() & 1 == 0) as Box<dyn Fn(usize) -> bool>
    };
    [
        Box::new(|_| false),
        Box::new(move |number| number > at),
        Box::new(|_| true),
        Box::new(move |number| number < at),
        by_chance(1),
        by_chance(2),
    ]
}

#[test]
fn taking_out_a_sync_loses_something() {
    let (chronicle, mut journal) = journal_of_everything();
    // That much is kept whatever happens as long as nothing is taken out.
    let mut next = random(7);
    for end in 0..=journal.len() {
        for fate in fates(end.saturating_sub(next() as usize % 20)) {
            let left = FakeDisk::after_power_failure(&journal[..end], fate);
            chronicle.check(&journal[..end], left).unwrap();
        }
    }
    let mut needed: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for at in 0..journal.len() {
        if !matches!(journal[at], Event::Sync(_) | Event::SyncDir) {
            continue;
        }
        let counts = needed.entry(purpose(&journal, at)).or_default();
        let taken_out = std::mem::replace(&mut journal[at], NO_EVENT);
        let ends = at + 1..=journal.len().min(at + 50);
        let loses = ends.into_iter().any(|end| {
            let happened = &journal[..end];
            fates(at).into_iter().any(|fate| {
                let left = FakeDisk::after_power_failure(happened, fate);
                chronicle.check(happened, left).is_err()
            })
        });
        journal[at] = taken_out;
        counts.0 += usize::from(loses);
        counts.1 += 1;
    }
    for (purpose, (loses, all)) in needed {
        println!("{purpose}: {loses} of {all} syncs cannot be left out");
        match purpose {
            // Buys time: the first batches in that file need not wait for its zeroes.
            "the zeroes of a spare" => assert_eq!(loses, 0),
            // Has damage to the last batch found after a power failure as well, which
            // `scan_test.rs` holds it to; nothing is lost without it.
            "the stamp of a clean end" => assert_eq!(loses, 0),
            // Needed where the last batch, or the last change of a name, was not synced by a process that
            // was killed, which the next one cannot know.
            "the last batch when a log is opened" | "the names found when a log is opened" => {
                assert!(loses >= 1);
            }
            // Needed where another name is lost next, or the file is written to under another name,
            // before the directory is synced for something else.
            "the lost name of a segment" => assert!(loses >= 1),
            "the header of a segment" | "the name of a segment" | "a batch" => {
                assert_eq!(loses, all);
            }
            other => panic!("what is this sync for? {other}"),
        }
    }
}
