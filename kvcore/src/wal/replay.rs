//! One group's log while its records are played back.
//!
//! The oldest segments may be gone, and with them records that later ones made obsolete. Copies of live
//! entries stand behind younger ones. So entries are gathered by index, and only at the end the log
//! must be without a hole.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::group::{Contents, Home, Mark, Marks, Place, Slot};
use super::record::{Action, Damage, Frame, HEADER, Position, Tag};
use crate::types::{Error, Kind, Result};

/// What the records so far come to.
#[derive(Debug, Default)]
pub(super) struct Replay {
    purged: Option<Position>,
    last: Option<Position>,
    slots: BTreeMap<u64, Slot>,
    marks: Marks,
    homes: BTreeMap<Mark, Home>,
}

impl Replay {
    /// Takes the next record, which lies there; whether the log is removed.
    pub fn apply(&mut self, frame: &Frame<'_>, segment: u64, at: u32) -> Result<bool, Damage> {
        let length = (HEADER + frame.payload.len()) as u32;
        let home = Home { place: Place::Stored { segment, at }, length };
        let Position { term, index } = frame.position;
        match frame.action {
            Action::Entry => {
                if self.last.is_some_and(|last| last.index >= index) {
                    return Err(Damage("an entry does not follow the last one of its log"));
                }
                self.slots.insert(index, Slot { term, home });
                self.last = Some(frame.position);
            }
            Action::Moved => {
                self.slots.insert(index, Slot { term, home });
                if self.last.is_none_or(|last| last.index < index) {
                    self.last = Some(frame.position);
                }
            }
            Action::Truncate if frame.kind == 0 => {
                self.slots.clear();
                self.last = self.purged;
            }
            Action::Truncate => {
                self.slots.split_off(&index.saturating_add(1));
                self.last = Some(frame.position);
            }
            Action::Purge => {
                self.slots = self.slots.split_off(&index.saturating_add(1));
                self.purged = Some(frame.position);
                if self.last.is_none_or(|last| last.index <= index) {
                    self.last = Some(frame.position);
                }
                self.homes.insert(Mark::Floor, home);
            }
            Action::Vote => {
                self.marks.vote = Some(Bytes::copy_from_slice(frame.payload));
                self.homes.insert(Mark::Vote, home);
            }
            Action::Commit => {
                self.marks.committed = Some(Bytes::copy_from_slice(frame.payload));
                self.homes.insert(Mark::Committed, home);
            }
            Action::Remove => return Ok(true),
        }
        Ok(false)
    }

    /// The log as it stands at the end.
    ///
    /// # Errors
    /// `Corruption` when entries are missing: a segment that was needed is gone.
    pub fn finish(self, tag: Tag) -> Result<Contents> {
        let missing = |index: u64| {
            Err(Error::new(Kind::Corruption, "an entry of the log is missing")
                .with("group", tag.group)
                .with("replica", tag.replica)
                .with("index", index))
        };
        let after_floor = self.purged.map(|purged| purged.index.saturating_add(1));
        let begin = after_floor.or_else(|| self.slots.keys().next().copied()).unwrap_or_default();
        let mut slots = VecDeque::with_capacity(self.slots.len());
        for (expected, (index, slot)) in (begin..).zip(self.slots) {
            if index != expected {
                return missing(expected);
            }
            slots.push_back(slot);
        }
        let end = match self.last.filter(|last| Some(*last) != self.purged) {
            Some(last) => last.index.saturating_add(1),
            None => begin,
        };
        if end != begin + slots.len() as u64 {
            return missing(begin + slots.len() as u64);
        }
        Ok(Contents::recovered(self.purged, begin, slots, self.marks, self.homes))
    }
}
