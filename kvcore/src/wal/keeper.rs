//! The thread beside the writer: it prepares the next segment and frees old ones.
//!
//! A segment is freed when no group needs anything in it any more, oldest first, so that the records
//! that made others obsolete always outlive them. What is needed is read off the groups' memory, which
//! runs ahead of the disk: so before a file goes, the keeper waits until everything queued by then is
//! durable, and until the log itself says that the file may be missing.
//!
//! What is still alive in the oldest segment is written again at the end of the log where it is little,
//! and where all segments together hold more garbage than they may: then one after the other is
//! emptied, however much lives in it, until they do not. So a group that says nothing for months
//! pins no more garbage than that. Writing again reclaims nothing where there is nothing to reclaim,
//! as records never fill a segment to the last byte. So a segment is not emptied for the garbage's
//! sake as long as callers have stirred up little since it was begun: otherwise a log of large entries
//! could go round for ever.
//!
//! When the disk has no room for another segment, the keeper looks again every quarter of a second,
//! whatever it may be waiting for, and goes on freeing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Shared;
use super::disk::{DiskFile, fill};
use super::group::{Group, Mark};
use super::log::Log;
use super::read::fetch;
use super::segment::{Segment, Spare, spare_path};
use crate::types::{Error, Kind, Result};

/// Entries are written again, and spares filled, in portions of about this many bytes.
const PORTION_BYTES: u64 = 1 << 20;

/// A segment with less than one in so many bytes alive is emptied.
const SPARSE: u64 = 10;

/// Files kept to become segments.
pub(super) const SPARES: usize = 3;

/// A segment is emptied for the garbage's sake when callers have stirred up one in so many of the bytes
/// of garbage that there may be.
const STIRRED: u64 = 8;

/// How long after finding the disk full to look again.
const RETRY: Duration = Duration::from_millis(250);

/// What the keeper is asked to do.
#[derive(Debug, Default)]
pub(super) struct Signals {
    asked: Mutex<Asked>,
    wake: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    tidy: bool,
    prepare: bool,
    stop: bool,
    /// Nothing is asked, and what was is done.
    #[cfg(test)]
    idle: bool,
}

impl Signals {
    /// Asks for a look at what can be freed.
    pub fn tidy(&self) {
        self.asked.lock().tidy = true;
        self.wake.notify_one();
    }

    /// Asks for a spare.
    pub fn prepare(&self) {
        self.asked.lock().prepare = true;
        self.wake.notify_one();
    }

    /// Asks the keeper to end.
    pub fn stop(&self) {
        self.asked.lock().stop = true;
        self.wake.notify_one();
    }

    fn stopped(&self) -> bool {
        self.asked.lock().stop
    }

    /// Whether nothing is asked, and what was is done.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        let asked = self.asked.lock();
        asked.idle && !asked.tidy && !asked.prepare
    }

    /// Whether a spare was asked for; it is not any more.
    fn take_prepare(&self) -> bool {
        std::mem::take(&mut self.asked.lock().prepare)
    }

    /// Waits until something is asked, or `patience` is at its end.
    fn wait(&self, patience: Option<Duration>) -> Asked {
        let mut asked = self.asked.lock();
        #[cfg(test)]
        {
            asked.idle = true;
        }
        while !(asked.tidy || asked.prepare || asked.stop) {
            match patience {
                Some(patience) if self.wake.wait_for(&mut asked, patience).timed_out() => break,
                Some(_) => {}
                None => self.wake.wait(&mut asked),
            }
        }
        let taken = *asked;
        *asked = Asked { stop: taken.stop, ..Asked::default() };
        taken
    }
}

/// The keeper's own state.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    next_spare: u64,
    /// Whether it was told that no spare can be made, and why.
    told: bool,
}

impl Keeper {
    /// A keeper whose first spare file gets that number.
    pub fn new(shared: Arc<Shared>, next_spare: u64) -> Keeper {
        Keeper { shared, next_spare, told: false }
    }

    /// Works until it is stopped.
    pub fn run(mut self) {
        loop {
            let full = self.shared.room.is_full();
            let asked = self.shared.keeper.wait(full.then_some(RETRY));
            if asked.stop {
                return;
            }
            if asked.prepare || full {
                // First, since the writer may be waiting for it.
                self.prepare();
            }
            if asked.tidy
                && let Err(error) = self.tidy()
                && error.kind() != Kind::Closed
            {
                // A failed log is reported by its writer; here nothing is lost but space.
                tracing::warn!(%error, "log segments could not be freed");
            }
        }
    }

    /// Sees to it that there is a spare.
    fn prepare(&mut self) {
        let wanted = self.shared.room.wanted();
        let size = self.shared.options.segment_bytes.max(wanted.unwrap_or_default());
        if self.shared.segments.has_spare(size) {
            return self.shared.room.found(size);
        }
        loop {
            match self.make_spare(size, wanted.is_none()) {
                Ok(Some(spare)) => {
                    self.told = false;
                    self.shared.segments.add_spare(spare);
                    return self.shared.room.found(size);
                }
                Ok(None) => return,
                // A batch that is waited for may be too large for the spares there are.
                Err(error) if error.kind() == Kind::StorageFull && self.give_up_spare() => {}
                Err(error) if error.kind() == Kind::StorageFull => return self.shared.room.lack(),
                Err(error) => {
                    if !std::mem::replace(&mut self.told, true) {
                        tracing::warn!(%error, "the next log segment could not be prepared");
                    }
                    return;
                }
            }
        }
    }

    /// Makes a file that has its bytes, and filled with zeroes if there is the time, so that a sync of
    /// what is later written into it has no metadata to write. `None` when the keeper is stopped.
    fn make_spare(&mut self, size: u64, filled: bool) -> Result<Option<Spare>> {
        let path = self.next_spare_path();
        let disk = &self.shared.disk;
        let file = disk.create(&path)?;
        let made = file.allocate(size).map_err(Error::from).and_then(|()| {
            let whole = !filled || self.fill(&*file, size)?;
            Ok(whole)
        });
        if !matches!(made, Ok(true)) {
            // Half a spare would only keep the disk full.
            disk.remove(&path)?;
        }
        Ok(made?.then_some(Spare { file, path, size }))
    }

    /// Fills a file with zeroes; whether it came to the end before the keeper was stopped.
    fn fill(&self, file: &dyn DiskFile, size: u64) -> Result<bool> {
        let mut at = 0;
        while at < size {
            if self.shared.keeper.stopped() {
                return Ok(false);
            }
            let end = size.min(at + PORTION_BYTES);
            fill(file, at, end)?;
            at = end;
        }
        file.sync_data()?;
        Ok(true)
    }

    /// Removes a spare to make room on the disk; whether there was one.
    fn give_up_spare(&self) -> bool {
        let Some(spare) = self.shared.segments.take_spare(0) else { return false };
        match self.shared.disk.remove(&spare.path) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "a spare log segment could not be removed");
                false
            }
        }
    }

    fn next_spare_path(&mut self) -> PathBuf {
        self.next_spare += 1;
        spare_path(&self.shared.dir, self.next_spare - 1)
    }

    /// Frees what can be freed.
    fn tidy(&mut self) -> Result<()> {
        while !self.shared.keeper.stopped() {
            if self.shared.keeper.take_prepare() {
                self.prepare();
            }
            // First the segments, then what is needed of them: a segment that is written to no more
            // cannot come to be needed afterwards.
            let closed = self.shared.segments.closed();
            let live = self.shared.ledger.live();
            let needed = |segment: &Arc<Segment>| live.contains_key(&segment.number);
            let free = closed.iter().take_while(|segment| !needed(segment));
            let free: Vec<Arc<Segment>> = free.cloned().collect();
            if let Some(last) = free.last() {
                self.shared.segments.release_through(last.number);
                self.barrier()?;
                for segment in &free {
                    self.free(segment)?;
                }
            }
            let Some(oldest) = closed.get(free.len()) else { return Ok(()) };
            if !self.worth_emptying(oldest) || !self.empty(oldest.number)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn worth_emptying(&self, oldest: &Segment) -> bool {
        let Shared { options, segments, ledger, room, .. } = &*self.shared;
        let here = ledger.live_in(oldest.number);
        if room.is_full() && here > segments.rest() / 2 {
            // It would take what is left for what must be written.
            return false;
        }
        let sparse = here.saturating_mul(SPARSE) < oldest.size.max(options.segment_bytes);
        let bound = options.garbage_bound();
        let stirred = ledger.churn().saturating_sub(oldest.churn) > bound / STIRRED;
        sparse || (stirred && self.shared.garbage() > bound)
    }

    /// Writes what lives in that segment again; whether nothing does any more.
    fn empty(&mut self, segment: u64) -> Result<bool> {
        let groups = self.shared.groups().into_iter();
        for group in groups.filter(|group| group.lock().share().live().contains_key(&segment)) {
            while !self.shared.keeper.stopped() {
                match self.empty_some(&group, segment) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) if group.lock().check_present().is_err() => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(self.shared.ledger.live_in(segment) == 0)
    }

    /// Writes a portion of what a group has in that segment again; whether there was something.
    fn empty_some(&mut self, group: &Arc<Group>, segment: u64) -> Result<bool> {
        let log = Log::new(self.shared.clone(), group.clone());
        let (entries, marks) = {
            let contents = group.lock();
            let marks = Mark::ALL.into_iter().filter(|mark| contents.mark_in(*mark, segment));
            (contents.entries_in(segment, self.portion()), marks.collect::<Vec<_>>())
        };
        if entries.is_empty() && marks.is_empty() {
            return Ok(false);
        }
        for mark in marks {
            self.wait(|done| log.copy_mark(mark, segment, done))?;
        }
        let (wanted, homes): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        let records = match fetch(&self.shared.segments, group.tag, &wanted) {
            Ok(records) => records,
            Err(error) if group.lock().still_holds(&wanted) => return Err(error),
            Err(_) => return Ok(true),
        };
        self.wait(|done| log.copy(records.into_iter().zip(homes).collect(), done))?;
        Ok(true)
    }

    /// Waits until everything queued so far is durable, and word of which segments are needed.
    fn barrier(&mut self) -> Result<()> {
        let shared = self.shared.clone();
        self.wait(|done| shared.barrier(done))
    }

    /// Makes a call and waits for its outcome. The writer may be waiting for room meanwhile.
    fn wait(&mut self, call: impl FnOnce(super::Done)) -> Result<()> {
        let (sender, receiver) = mpsc::sync_channel(1);
        call(Box::new(move |result| {
            // There is room for one, and the receiver waits below.
            if sender.try_send(result).is_err() {
                tracing::debug!("the keeper of the log no longer waits");
            }
        }));
        loop {
            match receiver.recv_timeout(RETRY) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) if self.shared.room.is_full() => self.prepare(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::internal("the writer of the log ended"));
                }
            }
        }
    }

    /// How many bytes to write again at once.
    fn portion(&self) -> usize {
        PORTION_BYTES.min(self.shared.options.segment_bytes / 8) as usize
    }

    /// Frees a segment. Its name must be gone for good before that of a younger one, and before the file
    /// is written to under another.
    fn free(&mut self, segment: &Segment) -> Result<()> {
        let recycled = self.recycle(segment)?;
        let Shared { disk, dir, segments, room, .. } = &*self.shared;
        if recycled.is_none() {
            disk.remove(&segment.path)?;
        }
        if let Err(error) = disk.sync_dir(dir) {
            let error = Error::from(error).with("directory", dir.display());
            self.shared.fail(&error, Vec::new());
            return Err(error);
        }
        segments.forget(segment.number);
        if let Some(spare) = recycled {
            segments.add_spare(spare);
            room.found(segment.size);
        }
        Ok(())
    }

    /// Gives a segment's file the name of a spare, if it can be one.
    fn recycle(&mut self, segment: &Segment) -> Result<Option<Spare>> {
        let (spares, _) = self.shared.segments.spares();
        if segment.size != self.shared.options.segment_bytes || spares >= SPARES {
            return Ok(None);
        }
        let path = self.next_spare_path();
        let Segment { file, size, .. } = segment;
        match self.shared.disk.rename(&segment.path, &path).map_err(Error::from) {
            Ok(()) => Ok(Some(Spare { file: file.clone(), path, size: *size })),
            Err(error) if error.kind() == Kind::StorageFull => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
#[path = "keeper_test.rs"]
mod tests;
