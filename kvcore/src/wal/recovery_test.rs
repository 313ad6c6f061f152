//! Whatever the disk holds after a failure at any moment, what was acknowledged is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use crate::types::Kind;
use crate::wal::batch::{Batch, Stamp};
use crate::wal::fake_disk::{Event, FakeDisk, PATIENCE};
use crate::wal::tests::{all, position, record, records, small, start, tag, tag as tagged, wait};
use crate::wal::{Log, Options, Position, Record, Result, State, Tag, Wal};

const DIR: &str = "log";

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn open(disk: &FakeDisk) -> Result<Wal> {
    Wal::open_on(Arc::new(disk.clone()), Path::new(DIR), tiny())
}

fn tiny() -> Options {
    Options { segment_bytes: 4096, cache_bytes: 1500, batch_bytes: 1024, ..small() }
}

/// What one log should hold.
#[derive(Clone, PartialEq, Default, Debug)]
struct Expected {
    purged: Option<Position>,
    entries: Vec<Record>,
    vote: Option<Bytes>,
}

impl Expected {
    fn last(&self) -> Option<Position> {
        self.entries.last().map(|entry| entry.position).or(self.purged)
    }
}

/// All logs that hold something, with the step that saved the committed position if there is one.
type Model = BTreeMap<Tag, Expected>;

fn found(wal: &Wal) -> (Model, BTreeMap<Tag, u64>) {
    let mut model = Model::new();
    let mut committed = BTreeMap::new();
    for tag in wal.tags() {
        let log = wal.log(tag).unwrap();
        let State { purged, last, vote, committed: saved } = log.state();
        let expected = Expected { purged, entries: all(&log), vote };
        assert_eq!(expected.last(), last);
        if expected != Expected::default() {
            model.insert(tag, expected);
        }
        if let Some(saved) = saved {
            committed.insert(tag, u64::from_le_bytes(saved[..8].try_into().unwrap()));
        }
    }
    (model, committed)
}

#[derive(Clone, Debug)]
enum Step {
    Append { tag: u16, count: u64, size: usize },
    Truncate { tag: u16, back: usize },
    Purge { tag: u16, ahead: u64 },
    Vote { tag: u16 },
    Commit { tag: u16 },
    Remove { tag: u16 },
    Hold,
    Wait,
}

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

/// Takes one step on the log and on the model. `number` is the step's own.
fn take(step: &Step, number: u64, wal: &Wal, model: &mut Model, done: crate::wal::Done) {
    let of = |tag: &u16| (tagged(*tag), wal.log(tagged(*tag)));
    match step {
        Step::Append { tag, count, size } => {
            let (tag, log) = of(tag);
            let expected = model.entry(tag).or_default();
            let first = expected.last().map_or(0, |last| last.index + 1);
            let new = records(number, first..=first + count - 1, *size);
            expected.entries.extend(new.clone());
            log.unwrap().append(new, done);
        }
        Step::Truncate { tag, back } => {
            let (tag, log) = of(tag);
            let expected = model.entry(tag).or_default();
            let keep = expected.entries.len().saturating_sub(*back);
            expected.entries.truncate(keep);
            log.unwrap().truncate_after(expected.last(), done);
        }
        Step::Purge { tag, ahead } => {
            let (tag, log) = of(tag);
            let expected = model.entry(tag).or_default();
            let floor = expected.purged.map_or(0, |purged| purged.index) + ahead;
            let upto = expected.entries.iter().find(|entry| entry.position.index == floor);
            let upto = upto.map_or(position(number, floor), |entry| entry.position);
            if expected.purged.is_none_or(|purged| purged.index < upto.index) {
                expected.purged = Some(upto);
                expected.entries.retain(|entry| entry.position.index > floor);
            }
            log.unwrap().purge(upto, done);
        }
        Step::Vote { tag } => {
            let (tag, log) = of(tag);
            let vote = Bytes::from(number.to_le_bytes().repeat(4));
            model.entry(tag).or_default().vote = Some(vote.clone());
            log.unwrap().save_vote(vote, done);
        }
        Step::Commit { tag } => {
            of(tag).1.unwrap().save_committed(Bytes::from(number.to_le_bytes().to_vec()));
            done(Ok(()));
        }
        Step::Remove { tag } => {
            let (tag, log) = of(tag);
            model.remove(&tag);
            log.unwrap().remove(done);
        }
        Step::Hold | Step::Wait => done(Ok(())),
    }
    model.retain(|_, expected| *expected != Expected::default());
}

const ISSUED: u64 = 0;
const ACKNOWLEDGED: u64 = 1;

/// Takes the steps on what `files` hold, which is `model`; returns the models after each step and the
/// journal. Notes in it tell which steps were issued and acknowledged.
fn run(files: Files, model: Model, base: u64, steps: &[Step]) -> (Vec<Model>, Vec<Event>) {
    let disk = FakeDisk::with(files);
    let wal = open(&disk).unwrap();
    let mut models = vec![model];
    let mut waiting = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let number = at as u64 + 1;
        match step {
            Step::Hold => disk.hold(),
            Step::Wait => {
                disk.release();
                let all = std::mem::take(&mut waiting);
                all.iter().for_each(|r: &std::sync::mpsc::Receiver<Result<()>>| {
                    r.recv_timeout(PATIENCE).unwrap().unwrap();
                });
            }
            _ => {}
        }
        let mut model = models.last().unwrap().clone();
        disk.note(number << 1 | ISSUED);
        let noted = disk.clone();
        let waits = !matches!(step, Step::Hold | Step::Wait | Step::Commit { .. });
        waiting.push(start(|done| {
            let done: crate::wal::Done = Box::new(move |result| {
                if waits {
                    noted.note(number << 1 | ACKNOWLEDGED);
                }
                done(result);
            });
            take(step, base + number, &wal, &mut model, done);
        }));
        models.push(model);
    }
    disk.release();
    waiting.iter().for_each(|r| r.recv_timeout(PATIENCE).unwrap().unwrap());
    let (memory, _) = found(&wal);
    assert_eq!(&memory, models.last().unwrap());
    let journal = disk.journal();
    wal.close().unwrap();
    (models, journal)
}

/// Checks what is left after a power failure: a state that some step led to, not before the last
/// acknowledged one. Returns it.
fn check(models: &[Model], journal: &[Event], base: u64, files: &Files) -> Model {
    let mut issued = 0;
    let mut acknowledged = 0;
    for event in journal {
        if let Event::Note(note) = event {
            let (number, what) = (note >> 1, note & 1);
            if what == ISSUED { issued = number } else { acknowledged = acknowledged.max(number) }
        }
    }
    let wal = open(&FakeDisk::with(files.clone())).unwrap();
    let (model, committed) = found(&wal);
    let fits = |at: &u64| models[*at as usize] == model;
    let at = (acknowledged..=issued).rev().find(fits);
    assert!(at.is_some(), "after {acknowledged} to {issued} steps: {model:#?}");
    for saved in committed.values() {
        assert!(*saved <= base + at.unwrap(), "a committed position ahead of the log");
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_power_failure_at_any_moment_loses_nothing_acknowledged(
        lives in prop::collection::vec(prop::collection::vec(step(), 1..40), 1..4),
        seed in any::<u64>(),
    ) {
        let mut random = seed | 1;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut files = Files::new();
        let mut model = Model::new();
        for (life, steps) in lives.iter().enumerate() {
            let base = life as u64 * 1000;
            // The journal begins with the making of the files; opening is already under threat.
            let setup = files.len() * 3 + 1;
            let (models, journal) = run(files, model, base, steps);
            for _ in 0..30 {
                let end = setup + (next() as usize) % (journal.len() - setup + 1);
                let happened = &journal[..end];
                for luck in [0, 1, 2] {
                    let mut chance = || match luck { 0 => false, 1 => true, _ => next() & 1 == 0 };
                    let left = FakeDisk::after_power_failure(happened, &mut chance);
                    check(&models, happened, base, &left);
                }
            }
            let end = setup + (next() as usize) % (journal.len() - setup + 1);
            files = FakeDisk::after_power_failure(&journal[..end], &mut || next() & 1 == 0);
            model = check(&models, &journal[..end], base, &files);
        }
    }
}

/// A log with a few batches of several groups, each acknowledged before the next, not closed.
fn sample() -> (Files, Vec<(usize, Model)>) {
    let disk = FakeDisk::default();
    let wal = Wal::open_on(Arc::new(disk.clone()), Path::new(DIR), Options::default()).unwrap();
    let mut model = Model::new();
    let mut history = vec![(0, model.clone())];
    let steps = [
        Step::Append { tag: 1, count: 3, size: 20 },
        Step::Append { tag: 2, count: 1, size: 600 },
        Step::Vote { tag: 1 },
        Step::Append { tag: 1, count: 2, size: 0 },
        Step::Truncate { tag: 1, back: 1 },
        Step::Purge { tag: 1, ahead: 1 },
        Step::Append { tag: 1, count: 4, size: 300 },
    ];
    for (number, step) in steps.iter().enumerate() {
        wait(|done| take(step, number as u64 + 1, &wal, &mut model, done)).unwrap();
        history.push((segment(&disk.files()).1.len(), model.clone()));
    }
    (disk.files(), history)
}

fn segment(files: &Files) -> (&PathBuf, &Vec<u8>) {
    files.iter().find(|(path, _)| path.extension().unwrap() == "log").unwrap()
}

#[test]
fn a_tail_cut_or_zeroed_at_any_byte_keeps_every_batch_before() {
    let (files, history) = sample();
    let (path, bytes) = segment(&files);
    for cut in 512..=bytes.len() {
        let whole = history.iter().rposition(|(end, _)| *end <= cut).unwrap();
        let mut short = bytes[..cut].to_vec();
        for zeroed in [false, true] {
            if zeroed {
                short.resize(bytes.len(), 0);
            }
            let left = Files::from([(path.clone(), short.clone())]);
            let (model, _) = found(&open(&FakeDisk::with(left)).unwrap());
            let at = history.iter().rposition(|(_, after)| *after == model).unwrap();
            assert!(at == whole || at == whole + 1, "cut at {cut}: {at} of {whole}");
            // A batch may survive without its padding, but not without its last byte.
            let padded_only = history.get(at).is_some_and(|(end, _)| *end < cut + 512);
            assert!(at == whole || padded_only);
        }
    }
}

#[test]
fn what_follows_a_torn_tail_survives_it_again_and_again() {
    let (files, history) = sample();
    let (path, bytes) = segment(&files);
    let (whole, expected) = &history[history.len() - 2];
    let torn = Files::from([(path.clone(), bytes[..whole + 700].to_vec())]);
    let mut files = torn;
    let mut expected = expected.clone();
    for round in 0..4_u64 {
        let disk = FakeDisk::with(files);
        let wal = open(&disk).unwrap();
        assert_eq!(found(&wal).0, expected);
        let step = Step::Append { tag: 2, count: 1, size: 30 };
        wait(|done| take(&step, 50 + round, &wal, &mut expected, done)).unwrap();
        files = disk.files();
        // What was acknowledged stays, and the next write is torn as well.
        wait(|done| wal.log(tag(2)).unwrap().save_vote(Bytes::from(vec![7; 900]), done)).unwrap();
        let torn = disk.files();
        let newest = torn.keys().rfind(|path| path.extension().unwrap() == "log").unwrap();
        let keep = files[newest].len() + 520;
        files.insert(newest.clone(), torn[newest][..keep].to_vec());
    }
    assert_eq!(found(&open(&FakeDisk::with(files)).unwrap()).0, expected);
}

/// Opens and reads everything; what is found, unless it is refused as damaged.
fn read_damaged(files: Files) -> Option<Model> {
    let refused = |error: crate::types::Error| {
        let kind = error.kind();
        assert!(matches!(kind, Kind::Corruption | Kind::Unsupported), "{error:?}");
    };
    let wal = open(&FakeDisk::with(files)).map_err(refused).ok()?;
    Some(found(&wal).0)
}

#[test]
fn a_flipped_bit_in_a_log_closed_cleanly_is_found_or_harmless() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let mut model = Model::new();
    for number in 1..=20 {
        let step = Step::Append { tag: number as u16 % 3, count: 2, size: 150 };
        wait(|done| take(&step, number, &wal, &mut model, done)).unwrap();
    }
    wal.close().unwrap();
    let files = disk.files();
    assert!(files.len() > 2, "the sample has several segments");
    let mut found_out = 0;
    for (path, bytes) in &files {
        for at in (0..bytes.len()).step_by(3) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let mut files = files.clone();
            files.insert(path.clone(), damaged);
            match read_damaged(files) {
                Some(left) => assert_eq!(left, model, "{path:?} {at}"),
                None => found_out += 1,
            }
        }
    }
    assert!(found_out > 1000, "{found_out} flips were found");
}

#[test]
fn after_a_crash_a_flipped_bit_loses_the_last_batch_at_most() {
    let (files, history) = sample();
    let (path, bytes) = segment(&files);
    let (model, before) = (&history[history.len() - 1].1, &history[history.len() - 2].1);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        if let Some(left) = read_damaged(Files::from([(path.clone(), damaged)])) {
            let last_begins = history[history.len() - 2].0;
            assert!(left == *model || (left == *before && at >= last_begins), "{at}");
        }
    }
}

#[test]
fn damage_while_the_log_is_open_is_found_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(dir.path(), Options { cache_bytes: 0, ..Options::default() }).unwrap();
    let log: Log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 1..=3, 100), done)).unwrap();
    let path = super::segment_path(dir.path(), 1);
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
        assert_eq!(open(&FakeDisk::with(files)).unwrap_err().kind(), Kind::Corruption);
    }
}

#[test]
fn an_unsynced_batch_that_was_read_is_made_durable_before_anything_builds_on_it() {
    let disk = FakeDisk::default();
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(1)).unwrap();
    wait(|done| log.append(records(1, 1..=1, 10), done)).unwrap();
    // The process dies between the write and the sync: the bytes are with the kernel only.
    let journal = disk.journal();
    let last_sync = journal.iter().rposition(|event| matches!(event, Event::Sync(_))).unwrap();
    let mut synced = true;
    let unsynced = FakeDisk::after_power_failure(&journal[..last_sync], &mut || {
        std::mem::replace(&mut synced, true)
    });
    let before = FakeDisk::with(unsynced);
    let wal = open(&before).unwrap();
    assert_eq!(all(&wal.log(tag(1)).unwrap()), records(1, 1..=1, 10));
    let journal = before.journal();
    let written = journal.iter().rposition(|event| matches!(event, Event::Write { .. })).unwrap();
    assert!(matches!(journal[written + 1], Event::Sync(_)), "the last batch is written and synced");
    assert!(written >= 4, "that is after the log was opened again");
}

#[test]
fn a_spare_without_its_log_is_not_taken_for_a_log() {
    let (files, history) = sample();
    let (path, bytes) = segment(&files);
    let mut bytes = bytes.clone();
    bytes.resize(4096, 0);
    assert!(history[2].0 < 4096, "there are old batches in it");
    let disk = FakeDisk::with(Files::from([(path.with_extension("free"), bytes)]));
    let wal = open(&disk).unwrap();
    let log = wal.log(tag(9)).unwrap();
    // As long as the first batch that was there, so that the second would follow on.
    wait(|done| log.append(records(1, 1..=3, 20), done)).unwrap();
    let (model, _) = found(&open(&FakeDisk::with(disk.files())).unwrap());
    assert_eq!(model.keys().copied().collect::<Vec<_>>(), [tag(9)]);
}

#[test]
fn batches_out_of_sequence_are_refused() {
    let header = super::SegmentHeader { number: 1, first_sequence: 1 };
    let mut bytes = header.encode().to_vec();
    for (at, sequence) in [1, 3].into_iter().enumerate() {
        let offset = 512 * (at as u64 + 1);
        let stamp = Stamp { sequence, oldest: 1, segment: 1, offset };
        bytes.extend_from_slice(Batch::new(1, Vec::new()).finish(stamp));
    }
    let file = |length: usize| {
        let path = super::segment_path(Path::new(DIR), 1);
        FakeDisk::with(Files::from([(path, bytes[..length].to_vec())]))
    };
    assert!(open(&file(1024)).is_ok());
    let error = open(&file(1536)).unwrap_err();
    assert_eq!(error.kind(), Kind::Corruption);
    assert!(error.message().contains("offset=`1024`"), "{error}");
}
