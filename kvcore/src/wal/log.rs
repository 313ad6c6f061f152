//! The handle of one group's log.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::batch::Batch;
use super::group::{Contents, Effect, Group, Home, Mark, Moved, State};
use super::read::fetch;
use super::record::{Action, Frame, HEADER, Header, Position, Record, Tag};
use super::{Done, Shared};
use crate::types::{Error, Kind, Result};

/// The most that one append may weigh, in bytes.
const APPEND_BYTES: usize = 1 << 30;

/// How often a read is planned anew because the log changed under it.
const READ_ATTEMPTS: usize = 16;

/// One group's log. Cheap to clone; thread-safe; calls never wait for the disk, but for a read of
/// entries that are no longer in memory.
///
/// Calls that change something take effect at once for [`Log::state`] and [`Log::read`], and are on
/// stable storage when their [`Done`] is called with `Ok`, in the order in which they were made.
/// `done` is called exactly once: on a thread of the log, or, when the call is refused, on the
/// caller's before the call returns. It should be brief: all groups wait for it. A refused call
/// changes nothing. Every call may be refused with `Closed` when the log is closed or was removed,
/// and with `StorageFull` or `Internal` once writing failed. On a full disk nothing is refused, but
/// `done` may be long in coming: see [`Wal::is_full`](super::Wal::is_full).
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
    group: Arc<Group>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("tag", &self.group.tag).finish_non_exhaustive()
    }
}

impl Log {
    pub(super) fn new(shared: Arc<Shared>, group: Arc<Group>) -> Log {
        Log { shared, group }
    }

    /// Whose log it is.
    pub fn tag(&self) -> Tag {
        self.group.tag
    }

    /// Where the log begins and ends, and what it remembers.
    pub fn state(&self) -> State {
        self.group.lock().state()
    }

    /// Bytes of it that must be kept on disk, for whoever trims logs to a budget. What is still queued
    /// is not among them.
    pub fn live_bytes(&self) -> u64 {
        self.group.lock().share().bytes()
    }

    /// The number of its entries, those still queued among them.
    pub fn entries(&self) -> u64 {
        self.group.lock().count() as u64
    }

    /// How far it may be purged so that entries of at least `keep_bytes` on disk are left: the largest
    /// such index, `None` when nothing can go. Takes time for the entries that are left, not for those
    /// that go.
    pub fn purgeable(&self, keep_bytes: u64) -> Option<u64> {
        self.group.lock().purgeable(keep_bytes)
    }

    /// Adds entries. They can be read as soon as this returns, and are durable when `done` is called.
    /// The first may have any index when the log never held an entry; else each follows the one
    /// before.
    ///
    /// # Errors
    /// Through `done`: `InvalidArgument` for an entry that does not follow, `TooLarge` above 1 GiB.
    pub fn append(&self, records: Vec<Record>, done: Done) {
        // The checksums are made here, before anything is locked.
        let tag = self.group.tag;
        let bytes = records.iter().map(|record| HEADER + record.payload.len()).sum::<usize>();
        if bytes > APPEND_BYTES {
            return done(Err(Error::new(Kind::TooLarge, "an append is too large")
                .with("bytes", bytes)
                .with("limit", APPEND_BYTES)));
        }
        let header = |record| Frame::entry(Action::Entry, tag, record).header();
        let headers: Vec<Header> = records.iter().map(header).collect();
        self.submit(done, |contents, batch| {
            contents.check_follows(&records)?;
            let (Some(first), Some(last)) = (records.first(), records.last()) else {
                return Ok(Effect::None);
            };
            let (first, last) = (first.position.index, last.position.index);
            for (record, header) in records.into_iter().zip(&headers) {
                let home = batch.push(header, &record.payload);
                contents.push(record, home);
            }
            Ok(Effect::Entries { first, last })
        });
    }

    /// The entries with an index in `range` that are there: those purged or not yet appended are left
    /// out, so what comes back has no hole. It ends before the payloads exceed `limit_bytes`, but
    /// holds at least one entry if there is one.
    ///
    /// # Errors
    /// `Corruption` when an entry on disk is not what was written.
    pub fn read(&self, range: Range<u64>, limit_bytes: usize) -> Result<Vec<Record>> {
        let mut last_error = Error::internal("a read of the log was planned but never made");
        for _ in 0..READ_ATTEMPTS {
            self.shared.queue.check()?;
            let wanted = {
                let contents = self.group.lock();
                contents.check_present()?;
                contents.plan(range.clone(), limit_bytes)
            };
            match fetch(&self.shared.segments, self.group.tag, &wanted) {
                Ok(records) => return Ok(records),
                Err(error) if self.group.lock().still_holds(&wanted) => return Err(error),
                // What was to be read was purged, truncated or moved meanwhile.
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// Drops the entries behind `last`, all of them when it is `None`. Nothing happens when the log
    /// ends before.
    ///
    /// # Errors
    /// Through `done`: `InvalidArgument` when `last` lies below the purged position, or another entry
    /// stands at its index.
    pub fn truncate_after(&self, last: Option<Position>, done: Done) {
        self.submit(done, |contents, batch| {
            let keep = contents.check_truncate(last)?;
            if keep == contents.count() {
                return Ok(Effect::None);
            }
            let frame = Frame {
                position: last.unwrap_or(Position { term: 0, index: 0 }),
                kind: u8::from(last.is_some()),
                ..Frame::plain(Action::Truncate, self.group.tag, &[])
            };
            batch.push_frame(&frame);
            contents.truncate(keep);
            Ok(Effect::Released)
        });
    }

    /// Drops the entries up to and including `upto`, which may lie behind the last one: the log then
    /// goes on behind it. Nothing happens when that much is purged already.
    pub fn purge(&self, upto: Position, done: Done) {
        self.submit(done, |contents, batch| {
            if contents.purged().is_some_and(|purged| purged.index >= upto.index) {
                return Ok(Effect::None);
            }
            let home = batch.push_frame(&floor(self.group.tag, upto));
            contents.purge(upto, home);
            Ok(Effect::Mark(Mark::Floor, home))
        });
    }

    /// Replaces the vote.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        self.submit(done, |contents, batch| {
            let home = batch.push_frame(&Frame::plain(Action::Vote, self.group.tag, &vote));
            contents.state.vote = Some(vote);
            contents.rehome(Mark::Vote, home);
            Ok(Effect::Mark(Mark::Vote, home))
        });
    }

    /// Replaces the committed position. It goes out with one of the next syncs, never ahead of the
    /// entries appended before; nobody waits for it, and a crash may bring back an older one. It is
    /// dropped when the log is closed or failed.
    pub fn save_committed(&self, committed: Bytes) {
        let mut contents = self.group.lock();
        if contents.check_present().is_err() {
            return;
        }
        if let Ok(mut queue) = self.shared.queue.open() {
            contents.state.committed = Some(committed.clone());
            queue.set_committed(&self.group, committed);
        }
    }

    /// Forgets the log: the replica is destroyed. All handles of it answer `Closed` from now on.
    pub fn remove(&self, done: Done) {
        // Under the table's lock, so that whoever asks for the tag meanwhile gets the old log or a
        // new one whose records stand behind this one's end.
        let mut groups = self.shared.groups.lock();
        let tag = self.group.tag;
        let refused = self.try_submit(done, |contents, batch| {
            batch.push_frame(&Frame::plain(Action::Remove, tag, &[]));
            contents.remove();
            groups.remove(&tag);
            Ok(Effect::Removed)
        });
        drop(groups);
        refuse(refused);
    }

    fn submit(&self, done: Done, change: impl FnOnce(&mut Contents, &mut Batch) -> Result<Effect>) {
        refuse(self.try_submit(done, change));
    }

    /// Changes memory and puts the records into the queue, in one step. `change` must do nothing when
    /// it fails. What is refused comes back, to be told when nothing is locked.
    fn try_submit(
        &self,
        done: Done,
        change: impl FnOnce(&mut Contents, &mut Batch) -> Result<Effect>,
    ) -> Option<(Done, Error)> {
        let mut done = Some(done);
        let mut contents = self.group.lock();
        let result = contents.check_present().and_then(|()| {
            let queue = self.shared.queue.open()?;
            queue.add(Some(&self.group), &mut done, |batch| change(&mut contents, batch))
        });
        done.zip(result.err())
    }

    /// Writes a second copy of these entries, as far as they still lie where they were read.
    pub(super) fn copy(&self, records: Vec<(Record, Home)>, done: Done) {
        let tag = self.group.tag;
        self.submit(done, |contents, batch| {
            batch.mark_upkeep();
            let mut moved = Vec::with_capacity(records.len());
            for (record, from) in &records {
                let index = record.position.index;
                if contents.lies_at(index, *from) {
                    let to = batch.push_frame(&Frame::entry(Action::Moved, tag, record));
                    moved.push(Moved { index, from: *from, to });
                }
            }
            Ok(Effect::Moved(moved))
        });
    }

    /// Writes a second copy of a mark, if its record lies in that segment.
    pub(super) fn copy_mark(&self, mark: Mark, segment: u64, done: Done) {
        let tag = self.group.tag;
        self.submit(done, |contents, batch| {
            batch.mark_upkeep();
            if !contents.mark_in(mark, segment) {
                return Ok(Effect::None);
            }
            let marks = &contents.state;
            let home = match (mark, &marks.vote, &marks.committed, contents.purged()) {
                (Mark::Vote, Some(vote), _, _) => {
                    batch.push_frame(&Frame::plain(Action::Vote, tag, vote))
                }
                (Mark::Committed, _, Some(committed), _) => {
                    batch.push_frame(&Frame::plain(Action::Commit, tag, committed))
                }
                (Mark::Floor, _, _, Some(purged)) => batch.push_frame(&floor(tag, purged)),
                _ => return Err(Error::internal("a log holds the place of a mark it has not")),
            };
            contents.move_mark(mark, home);
            Ok(Effect::Mark(mark, home))
        });
    }
}

fn floor(tag: Tag, upto: Position) -> Frame<'static> {
    Frame { position: upto, ..Frame::plain(Action::Purge, tag, &[]) }
}

fn refuse(refused: Option<(Done, Error)>) {
    if let Some((done, error)) = refused {
        done(Err(error));
    }
}
