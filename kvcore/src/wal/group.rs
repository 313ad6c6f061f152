//! One group's log in memory: where every live entry lies, and the newest entries themselves.
//!
//! It changes at once in each call, ahead of the disk. A record that is still in the writer's queue
//! is known by its batch; when the batch is on disk the writer *settles* it, and the place becomes a
//! segment and an offset. The counts of live bytes by segment (`ledger`), which decide what may be
//! freed, speak of what this memory needs: whoever frees by them waits first until the queue as of
//! then is on disk.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::ledger::{Ledger, Share};
use super::record::{HEADER, Position, Record, Tag};
use crate::types::{Error, Kind, Result};

/// Where a record's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In a batch that is not on disk yet, that many bytes behind its start.
    Queued { batch: u64, at: u32 },
    /// On disk, at that offset of the segment.
    Stored { segment: u64, at: u32 },
}

/// Where a record is and how long it is, header included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Home {
    pub place: Place,
    pub length: u32,
}

impl Home {
    /// The segment, when it is on disk.
    pub fn segment(self) -> Option<u64> {
        match self.place {
            Place::Stored { segment, .. } => Some(segment),
            Place::Queued { .. } => None,
        }
    }
}

/// What a log remembers beside its entries. One record of each is live at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Mark {
    Vote,
    Floor,
    Committed,
}

impl Mark {
    pub const ALL: [Mark; 3] = [Mark::Vote, Mark::Floor, Mark::Committed];
}

/// A second copy of an entry, on its way to disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moved {
    pub index: u64,
    /// Where the first copy is; if it is no longer there, the second is of no account.
    pub from: Home,
    pub to: Home,
}

/// What an operation changes in memory once its batch is on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// Nothing, but earlier records became garbage.
    Released,
    /// The same, and the log is gone.
    Removed,
    /// These entries have their place.
    Entries { first: u64, last: u64 },
    /// This mark has its place, and the one before it became garbage.
    Mark(Mark, Home),
    /// These entries have another place.
    Moved(Vec<Moved>),
}

/// One live entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    pub term: u64,
    pub home: Home,
}

/// What a log says about itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// The last position that was purged.
    pub purged: Option<Position>,
    /// The last entry's position; that of the last purged one when no entry is left.
    pub last: Option<Position>,
    /// The vote as it was saved.
    pub vote: Option<Bytes>,
    /// The committed position as it was saved; after a crash it may be an older one.
    pub committed: Option<Bytes>,
}

/// An entry to be read, and where to get it from.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Wanted {
    pub position: Position,
    pub source: Source,
}

/// Where to get an entry from.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Source {
    Memory(Record),
    Disk(Home),
}

/// A group's log, shared between its handles, the writer and the keeper.
#[derive(Debug)]
pub(super) struct Group {
    pub tag: Tag,
    contents: Mutex<Contents>,
}

impl Group {
    pub fn new(tag: Tag, contents: Contents) -> Group {
        Group { tag, contents: Mutex::new(contents) }
    }

    /// Locks the log. The queue may be locked under it, never the other way round.
    pub fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock()
    }
}

/// What is in a group's log.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub state: Marks,
    purged: Option<Position>,
    /// The index of the first slot; without meaning when there is none.
    first: u64,
    slots: VecDeque<Slot>,
    /// The newest entries: those of the last `cached.len()` slots.
    cached: VecDeque<Record>,
    homes: BTreeMap<Mark, Home>,
    /// Bytes of the slots' records.
    weight: u64,
    share: Share,
    removed: bool,
}

/// The marks' values, but for the floor, which is a position.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub vote: Option<Bytes>,
    pub committed: Option<Bytes>,
}

impl Contents {
    /// A log that holds nothing, and counts in that ledger.
    pub fn blank(ledger: Arc<Ledger>) -> Contents {
        Contents { share: Share::of(ledger), ..Contents::default() }
    }

    /// A log as it was found on disk. The slots follow on from `first`.
    pub fn recovered(
        purged: Option<Position>,
        first: u64,
        slots: VecDeque<Slot>,
        state: Marks,
        homes: BTreeMap<Mark, Home>,
    ) -> Contents {
        let mut contents = Contents { state, purged, first, slots, homes, ..Contents::default() };
        contents.weight = contents.slots.iter().map(|slot| u64::from(slot.home.length)).sum();
        contents.enter(Arc::default());
        contents
    }

    /// Counts in that ledger from now on.
    pub fn enter(&mut self, ledger: Arc<Ledger>) {
        self.share = Share::of(ledger);
        self.share.set_entries(self.slots.len());
        let entries = self.slots.iter().map(|slot| slot.home);
        self.share.add(entries.chain(self.homes.values().copied()));
    }

    pub fn state(&self) -> State {
        State {
            purged: self.purged,
            last: self.last(),
            vote: self.state.vote.clone(),
            committed: self.state.committed.clone(),
        }
    }

    /// Whether nothing was ever written to it.
    pub fn is_blank(&self) -> bool {
        self.slots.is_empty() && self.homes.is_empty() && self.state().committed.is_none()
    }

    /// # Errors
    /// `Closed` when the log was removed.
    pub fn check_present(&self) -> Result<()> {
        if self.removed {
            return Err(Error::new(Kind::Closed, "the log of this replica was removed"));
        }
        Ok(())
    }

    pub fn purged(&self) -> Option<Position> {
        self.purged
    }

    pub fn last(&self) -> Option<Position> {
        match self.slots.back() {
            Some(slot) => Some(Position { term: slot.term, index: self.end() - 1 }),
            None => self.purged,
        }
    }

    /// The number of live entries.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// The first entry's position.
    pub fn first(&self) -> Option<Position> {
        self.slots.front().map(|slot| Position { term: slot.term, index: self.first })
    }

    /// The largest index behind which entries of at least `keep` bytes on disk are left.
    pub fn purgeable(&self, keep: u64) -> Option<u64> {
        if self.weight < keep {
            return None;
        }
        let mut kept = 0;
        let mut newest = self.slots.iter().rev();
        let mut begin = self.end();
        while kept < keep
            && let Some(slot) = newest.next()
        {
            kept += u64::from(slot.home.length);
            begin -= 1;
        }
        (begin > self.first).then(|| begin - 1)
    }

    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn slot(&self, index: u64) -> Option<&Slot> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.slots.get(at)
    }

    /// # Errors
    /// `InvalidArgument` unless the records follow on from the last entry.
    pub fn check_follows(&self, records: &[Record]) -> Result<()> {
        let mut last = self.last().map(|last| last.index);
        for record in records {
            let index = record.position.index;
            if last.is_some_and(|last| last.checked_add(1) != Some(index)) || index == u64::MAX {
                return Err(Error::new(
                    Kind::InvalidArgument,
                    "an entry does not follow the last one",
                )
                .with("index", index)
                .with("last", last.unwrap_or_default()));
            }
            last = Some(index);
        }
        Ok(())
    }

    /// Adds an entry that follows the last one.
    pub fn push(&mut self, record: Record, home: Home) {
        if self.slots.is_empty() {
            self.first = record.position.index;
        }
        self.slots.push_back(Slot { term: record.position.term, home });
        self.cached.push_back(record);
        self.weight += u64::from(home.length);
        self.share.set_entries(self.slots.len());
    }

    /// How many entries stay when those behind `last` go.
    ///
    /// # Errors
    /// `InvalidArgument` when `last` is purged, or another entry stands at its index.
    pub fn check_truncate(&self, last: Option<Position>) -> Result<usize> {
        let Some(last) = last.filter(|last| Some(*last) != self.purged) else { return Ok(0) };
        if self.last().is_none_or(|end| last.index > end.index) {
            return Ok(self.slots.len());
        }
        if self.slot(last.index).is_none_or(|slot| slot.term != last.term) {
            return Err(Error::new(Kind::InvalidArgument, "the log has no such entry to end with")
                .with("term", last.term)
                .with("index", last.index));
        }
        Ok((last.index - self.first + 1) as usize)
    }

    /// Drops all but the first `keep` entries.
    pub fn truncate(&mut self, keep: usize) {
        let dropped = self.slots.split_off(keep.min(self.slots.len()));
        self.cached.truncate(self.cached.len().saturating_sub(dropped.len()));
        self.bury(dropped);
    }

    /// Drops the entries up to and including `upto`, which becomes the floor.
    pub fn purge(&mut self, upto: Position, home: Home) {
        let dropped = upto.index.saturating_add(1).saturating_sub(self.first);
        let dropped = usize::try_from(dropped).unwrap_or(usize::MAX).min(self.slots.len());
        let dropped: VecDeque<Slot> = self.slots.drain(..dropped).collect();
        self.first += dropped.len() as u64;
        self.bury(dropped);
        let uncached = self.cached.len().saturating_sub(self.slots.len());
        self.cached.drain(..uncached);
        self.purged = Some(upto);
        self.rehome(Mark::Floor, home);
    }

    /// These slots are no longer there.
    fn bury(&mut self, dropped: VecDeque<Slot>) {
        let bytes: u64 = dropped.iter().map(|slot| u64::from(slot.home.length)).sum();
        self.weight = self.weight.saturating_sub(bytes);
        self.share.set_entries(self.slots.len());
        self.share.bury(dropped.into_iter().map(|slot| slot.home));
    }

    /// Forgets everything; no more is taken.
    pub fn remove(&mut self) {
        self.share.clear();
        *self = Contents { removed: true, ..Contents::default() };
    }

    /// A mark has another live record.
    pub fn rehome(&mut self, mark: Mark, home: Home) {
        self.share.add([home]);
        if let Some(before) = self.homes.insert(mark, home) {
            self.share.bury([before]);
        }
    }

    /// A mark has another record, which says the same.
    pub fn move_mark(&mut self, mark: Mark, home: Home) {
        if let Some(before) = self.homes.insert(mark, home) {
            self.share.move_out(before);
        }
        self.share.add([home]);
    }

    /// The batch is on disk, at `base` of the segment.
    pub fn settle(&mut self, effect: &Effect, batch: u64, segment: u64, base: u32) {
        let stored = |home: Home| match home.place {
            Place::Queued { at, .. } => {
                Home { place: Place::Stored { segment, at: base + at }, ..home }
            }
            Place::Stored { .. } => home,
        };
        match effect {
            Effect::None | Effect::Released | Effect::Removed => {}
            Effect::Entries { first, last } => {
                let from = (*first).max(self.first) - self.first;
                let end = last.saturating_add(1).min(self.end()).saturating_sub(self.first);
                let slots = self.slots.iter_mut().take(end as usize).skip(from as usize);
                self.share.add(slots.filter_map(|slot| {
                    // An entry that took this one's index since then waits for its own batch.
                    let its =
                        matches!(slot.home.place, Place::Queued { batch: b, .. } if b == batch);
                    its.then(|| {
                        slot.home = stored(slot.home);
                        slot.home
                    })
                }));
            }
            // A committed position is buffered outside the order of the queue, so it takes its
            // predecessor's place only here.
            Effect::Mark(Mark::Committed, home) if !self.removed => {
                self.rehome(Mark::Committed, stored(*home));
            }
            Effect::Mark(mark, home) => {
                if self.homes.get(mark) == Some(home) {
                    self.rehome(*mark, stored(*home));
                }
            }
            Effect::Moved(all) => all.iter().for_each(|moved| {
                let Some(at) = moved.index.checked_sub(self.first) else { return };
                let Some(slot) = self.slots.get_mut(at as usize) else { return };
                if slot.home == moved.from {
                    self.share.move_out(slot.home);
                    slot.home = stored(moved.to);
                    self.share.add([slot.home]);
                }
            }),
        }
    }

    /// About what these entries take in memory, in bytes, given what each costs beside its payload.
    pub fn weight(&self, first: u64, last: u64, overhead: usize) -> usize {
        (first..=last)
            .map(|index| overhead + self.slot(index).map_or(0, |slot| slot.home.length as usize))
            .sum()
    }

    /// Drops the entries up to and including that index from memory, as far as they are on disk.
    pub fn evict(&mut self, through: u64) {
        while let Some(oldest) = self.cached.front() {
            let index = oldest.position.index;
            let on_disk = self.slot(index).is_some_and(|slot| slot.home.segment().is_some());
            if index > through || !on_disk {
                return;
            }
            self.cached.pop_front();
        }
    }

    /// What to read for the entries of `range` that are there: at least one, then while their
    /// payloads stay within `limit` bytes.
    pub fn plan(&self, range: Range<u64>, limit: usize) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let mut bytes = 0;
        for index in range.start.max(self.first)..range.end.min(self.end()) {
            let Some(slot) = self.slot(index) else { break };
            bytes += slot.home.length as usize - HEADER;
            if bytes > limit && !wanted.is_empty() {
                break;
            }
            wanted.push(self.wanted(index, slot));
        }
        wanted
    }

    fn wanted(&self, index: u64, slot: &Slot) -> Wanted {
        let uncached = self.slots.len() - self.cached.len();
        let record = ((index - self.first) as usize)
            .checked_sub(uncached)
            .and_then(|at| self.cached.get(at));
        let source = match record {
            Some(record) => Source::Memory(record.clone()),
            None => Source::Disk(slot.home),
        };
        Wanted { position: Position { term: slot.term, index }, source }
    }

    /// Whether all that was to be read from disk still lies where it was.
    pub fn still_holds(&self, wanted: &[Wanted]) -> bool {
        wanted.iter().all(|wanted| match wanted.source {
            Source::Memory(_) => true,
            Source::Disk(home) => self.slot(wanted.position.index).is_some_and(|s| s.home == home),
        })
    }

    /// The entries that lie in that segment, with their places, up to about `limit` bytes.
    pub fn entries_in(&self, segment: u64, limit: usize) -> Vec<(Wanted, Home)> {
        let mut bytes = 0;
        (self.first..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.home.segment() == Some(segment))
            .take_while(|(_, slot)| {
                let fits = bytes < limit;
                bytes += slot.home.length as usize;
                fits
            })
            .map(|(index, slot)| (self.wanted(index, slot), slot.home))
            .collect()
    }

    /// Whether that entry is live and lies there.
    pub fn lies_at(&self, index: u64, home: Home) -> bool {
        self.slot(index).is_some_and(|slot| slot.home == home)
    }

    /// Whether that mark's live record lies in that segment.
    pub fn mark_in(&self, mark: Mark, segment: u64) -> bool {
        self.homes.get(&mark).and_then(|home| home.segment()) == Some(segment)
    }

    /// What is live, by segment.
    pub fn share(&self) -> &Share {
        &self.share
    }
}

#[cfg(test)]
#[path = "group_test.rs"]
mod tests;
