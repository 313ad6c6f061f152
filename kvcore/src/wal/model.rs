//! What logs should hold, kept beside them: for tests that fail the disk at any moment and ask whether
//! what was acknowledged is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use bytes::Bytes;

use super::fake_disk::{Event, FakeDisk, PATIENCE};
use super::tests::{all, position, records, small, start, tag as tagged, until};
use super::{Done, Options, Position, Record, Result, State, Tag, Wal};

pub(super) const DIR: &str = "log";

pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

pub(super) fn open(disk: &FakeDisk) -> Result<Wal> {
    Wal::open_on(Arc::new(disk.clone()), Path::new(DIR), tiny())
}

pub(super) fn tiny() -> Options {
    Options { segment_bytes: 4096, cache_bytes: 1500, batch_bytes: 1024, ..small() }
}

/// What one log should hold.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Expected {
    purged: Option<Position>,
    entries: Vec<Record>,
    vote: Option<Bytes>,
}

impl Expected {
    fn last(&self) -> Option<Position> {
        self.entries.last().map(|entry| entry.position).or(self.purged)
    }
}

/// All logs that hold something.
pub(super) type Model = BTreeMap<Tag, Expected>;

/// What the logs hold, and the steps that saved their committed positions.
pub(super) fn found(wal: &Wal) -> (Model, BTreeMap<Tag, u64>) {
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
pub(super) enum Step {
    Append {
        tag: u16,
        count: u64,
        size: usize,
    },
    Truncate {
        tag: u16,
        back: usize,
    },
    Purge {
        tag: u16,
        ahead: u64,
    },
    Vote {
        tag: u16,
    },
    Commit {
        tag: u16,
    },
    Remove {
        tag: u16,
    },
    /// Syncs wait from now on.
    Hold,
    /// Syncs go on, and everything so far is waited for.
    Wait,
}

/// Takes one step on the log and on the model. `number` is the step's own.
pub(super) fn take(step: &Step, number: u64, wal: &Wal, model: &mut Model, done: Done) {
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

/// What a test notes in the journal, in the lowest bits.
const ISSUED: u64 = 0;
const ACKNOWLEDGED: u64 = 1;
const OPENING: u64 = 2;
const OPENED: u64 = 3;
const CLOSING: u64 = 4;
const NOTHING: u64 = 5;

const fn note(number: u64, what: u64) -> u64 {
    number << 3 | what
}

/// An event that means nothing, to stand in the place of another.
pub(super) const NO_EVENT: Event = Event::Note(note(0, NOTHING));

/// What a log is in the middle of.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Phase {
    Opening,
    Open,
    Closing,
}

/// What the log is in the middle of behind these events.
pub(super) fn phase(happened: &[Event]) -> Phase {
    let phase = |event: &Event| match event {
        Event::Note(noted) => match noted & 7 {
            OPENING => Some(Phase::Opening),
            OPENED => Some(Phase::Open),
            CLOSING => Some(Phase::Closing),
            _ => None,
        },
        _ => None,
    };
    happened.iter().rev().find_map(phase).unwrap_or(Phase::Opening)
}

/// How a log is treated while it is open.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Pace {
    /// One step after the other.
    Brisk,
    /// Each only when everything that the one before brought about has come to an end.
    Calm,
}

/// What happened to a log from its first opening on: what it should hold after each step, for each
/// process that had it open.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    /// Its steps are numbered from here.
    base: u64,
    lives: Vec<Life>,
}

#[derive(Debug)]
struct Life {
    /// Where in the journal the log was opened.
    opened: usize,
    /// Its steps are numbered from here.
    base: u64,
    /// What there was at the beginning and after each step.
    models: Vec<Model>,
}

impl Chronicle {
    /// One whose steps are numbered behind those of `before`, and whose journal begins anew.
    pub fn following(before: &Chronicle) -> Chronicle {
        Chronicle { base: before.base + before.lives.len() as u64 * 1000, lives: Vec::new() }
    }

    /// Opens the log, takes the steps and closes it. Returns the journal from the beginning of the disk
    /// up to where the closing begins, and up to the end.
    pub fn live(&mut self, disk: &FakeDisk, steps: &[Step], pace: Pace) -> (usize, Vec<Event>) {
        disk.note(note(0, OPENING));
        let wal = open(disk).unwrap();
        let opened = disk.journal().len();
        disk.note(note(0, OPENED));
        let base = self.base + self.lives.len() as u64 * 1000;
        let mut models = vec![found(&wal).0];
        let mut waiting: Vec<Receiver<Result<()>>> = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let number = at as u64 + 1;
            match step {
                Step::Hold => disk.hold(),
                Step::Wait => {
                    disk.release();
                    waiting.drain(..).for_each(|r| r.recv_timeout(PATIENCE).unwrap().unwrap());
                }
                _ => {}
            }
            let mut model = models.last().unwrap().clone();
            disk.note(note(number, ISSUED));
            let noted = disk.clone();
            let waits = !matches!(step, Step::Hold | Step::Wait | Step::Commit { .. });
            let outcome = start(|done| {
                let done: Done = Box::new(move |result| {
                    if waits {
                        noted.note(note(number, ACKNOWLEDGED));
                    }
                    done(result);
                });
                take(step, base + number, &wal, &mut model, done);
            });
            models.push(model);
            if pace == Pace::Calm {
                outcome.recv_timeout(PATIENCE).unwrap().unwrap();
                until_calm(disk, &wal);
            } else {
                waiting.push(outcome);
            }
        }
        disk.release();
        waiting.iter().for_each(|r| r.recv_timeout(PATIENCE).unwrap().unwrap());
        assert_eq!(&found(&wal).0, models.last().unwrap());
        self.lives.push(Life { opened, base, models });
        let closing = disk.journal().len();
        disk.note(note(0, CLOSING));
        wal.close().unwrap();
        (closing, disk.journal())
    }

    /// Whether what is left of a disk holds everything that was acknowledged when the events of `happened`
    /// had happened, and nothing but what was asked for; what it holds.
    pub fn check(&self, happened: &[Event], left: Files) -> Result<Model, String> {
        let begun = |life: &&Life| life.opened < happened.len();
        let Some(life) = self.lives.iter().rev().find(begun) else {
            let wal = open(&FakeDisk::with(left)).map_err(|error| error.to_string())?;
            let (model, _) = found(&wal);
            let begun_with = self.lives.first().map(|life| &life.models[0]);
            return match begun_with {
                Some(begun_with) if *begun_with != model => Err(format!("{model:#?}")),
                _ => Ok(model),
            };
        };
        let (mut issued, mut acknowledged) = (0, 0);
        for event in &happened[life.opened..] {
            if let Event::Note(noted) = event {
                match (noted >> 3, noted & 7) {
                    (number, ISSUED) => issued = number,
                    (number, ACKNOWLEDGED) => acknowledged = acknowledged.max(number),
                    _ => {}
                }
            }
        }
        let wal = open(&FakeDisk::with(left)).map_err(|error| error.to_string())?;
        let (model, committed) = found(&wal);
        let fits = |at: &u64| life.models[*at as usize] == model;
        let Some(at) = (acknowledged..=issued).rev().find(fits) else {
            return Err(format!("after {acknowledged} to {issued} steps: {model:#?}"));
        };
        if committed.values().any(|saved| *saved > life.base + at) {
            return Err(format!("a committed position is ahead: {committed:?} of {at}"));
        }
        Ok(model)
    }
}

/// Waits until the writer has stamped the log and the keeper has nothing to do.
pub(super) fn until_calm(disk: &FakeDisk, wal: &Wal) {
    until(|| {
        let before = disk.journal().len();
        stamped(&disk.journal()) && wal.owner.shared.keeper.is_idle() && {
            let journal = disk.journal();
            journal.len() == before && stamped(&journal)
        }
    });
}

/// Whether the last batch written is a stamp: an empty one that nobody synced.
fn stamped(journal: &[Event]) -> bool {
    let last = journal.iter().rposition(is_batch);
    let Some(last) = last else { return true };
    let Event::Write { inode, .. } = &journal[last] else { return false };
    is_empty_batch(&journal[last]) && !journal[last..].contains(&Event::Sync(*inode))
}

/// Whether a batch is written.
pub(super) fn is_batch(event: &Event) -> bool {
    matches!(event, Event::Write { bytes, .. } if bytes.starts_with(b"dkvbatch"))
}

/// Whether a batch without records is written.
pub(super) fn is_empty_batch(event: &Event) -> bool {
    is_batch(event) && matches!(event, Event::Write { bytes, .. } if bytes[28..32] == [0; 4])
}

/// Batches of several groups, each acknowledged before the next, through several segments. The first of
/// these are used again for the last ones.
pub(super) fn several_segments() -> Vec<Step> {
    let mut steps = vec![
        Step::Append { tag: 0, count: 2, size: 40 },
        Step::Vote { tag: 0 },
        Step::Purge { tag: 0, ahead: 0 },
    ];
    for _ in 0..9 {
        steps.push(Step::Append { tag: 1, count: 1, size: 900 });
        steps.push(Step::Append { tag: 2, count: 2, size: 90 });
    }
    steps.push(Step::Purge { tag: 1, ahead: 9 });
    steps.push(Step::Purge { tag: 2, ahead: 17 });
    for _ in 0..6 {
        steps.push(Step::Append { tag: 1, count: 1, size: 600 });
        steps.push(Step::Append { tag: 3, count: 3, size: 30 });
        steps.push(Step::Vote { tag: 2 });
    }
    steps.push(Step::Purge { tag: 1, ahead: 2 });
    steps.push(Step::Purge { tag: 3, ahead: 6 });
    steps.push(Step::Truncate { tag: 3, back: 2 });
    steps
}

/// How often a file that was a segment became one again.
pub(super) fn reused(journal: &[Event]) -> usize {
    let has = |path: &Path, extension| path.extension().is_some_and(|found| found == extension);
    let mut freed = Vec::new();
    let reused = journal.iter().filter(|event| match event {
        Event::Rename(from, to) if has(from, "log") => {
            freed.push(to.clone());
            false
        }
        Event::Rename(from, to) => has(to, "log") && freed.contains(from),
        _ => false,
    });
    reused.count()
}

/// Random numbers that are the same in every run with the same seed.
pub(super) fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}
