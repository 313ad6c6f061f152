//! The thread beside the writer: it prepares the next segment and frees old ones.
//!
//! A segment is freed when no group needs anything in it any more, oldest first, so that the records
//! that made others obsolete always outlive them. What is needed is read off the groups' memory, which
//! runs ahead of the disk: so before a file goes, the keeper waits until everything queued by then is
//! durable, and until the log itself says that the file may be missing. Where little of the oldest segment is alive, or the log as a whole is too large and
//! mostly garbage, the live records are written again at the end of the log; so a group that says
//! nothing for months pins nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;

use parking_lot::{Condvar, Mutex};

use super::Shared;
use super::group::{Group, Mark};
use super::log::Log;
use super::read::fetch;
use super::segment::{Segment, Spare, spare_path};
use crate::types::{Error, Kind, Result};

/// Entries are written again, and spares filled, in portions of about this many bytes.
const PORTION_BYTES: usize = 1 << 20;

/// A segment with less than one in so many bytes alive is emptied.
const SPARSE: u64 = 10;

/// Files kept to become segments.
pub(super) const SPARES: usize = 3;

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

    fn wait(&self) -> Asked {
        let mut asked = self.asked.lock();
        while !(asked.tidy || asked.prepare || asked.stop) {
            self.wake.wait(&mut asked);
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
}

impl Keeper {
    /// A keeper whose first spare file gets that number.
    pub fn new(shared: Arc<Shared>, next_spare: u64) -> Keeper {
        Keeper { shared, next_spare }
    }

    /// Works until it is stopped or the log fails.
    pub fn run(mut self) {
        loop {
            let asked = self.shared.keeper.wait();
            if asked.stop {
                return;
            }
            if asked.tidy
                && let Err(error) = self.tidy()
                && error.kind() != Kind::Closed
            {
                // A failed log is reported by its writer; here nothing is lost but space.
                tracing::warn!(%error, "log segments could not be freed");
            }
            if asked.prepare
                && let Err(error) = self.prepare()
            {
                tracing::warn!(%error, "the next log segment could not be prepared");
            }
        }
    }

    /// Writes a file full of zeroes, so that a sync of what is later written into it has no metadata
    /// to write.
    fn prepare(&mut self) -> Result<()> {
        let Shared { disk, dir, options, segments, .. } = &*self.shared;
        if segments.spares() > 0 {
            return Ok(());
        }
        let path = spare_path(dir, self.next_spare);
        self.next_spare += 1;
        let size = options.segment_bytes;
        let file = disk.create(&path)?;
        let zeroes = vec![0; PORTION_BYTES];
        let mut written = 0;
        let filled = loop {
            if written == size || self.shared.keeper.stopped() {
                break Ok(());
            }
            let length = (size - written).min(zeroes.len() as u64);
            let portion = zeroes.get(..length as usize).unwrap_or_default();
            if let Err(error) = file.write_all_at(portion, written) {
                break Err(error);
            }
            written += length;
        };
        let ready = filled.and_then(|()| file.sync_data());
        if ready.is_err() || written < size {
            // Most likely the disk is full, and half a spare would only keep it so.
            disk.remove(&path)?;
            return Ok(ready?);
        }
        segments.add_spare(Spare { file, path, size });
        Ok(())
    }

    /// Frees what can be freed.
    fn tidy(&mut self) -> Result<()> {
        while !self.shared.keeper.stopped() {
            // First the segments, then what is needed of them: a segment that is written to no more
            // cannot come to be needed afterwards.
            let closed = self.shared.segments.closed();
            let live = self.shared.live();
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
            if !self.worth_emptying(oldest, &live) || !self.empty(oldest.number)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn worth_emptying(&self, oldest: &Segment, live: &BTreeMap<u64, u64>) -> bool {
        let options = &self.shared.options;
        let here = live.get(&oldest.number).copied().unwrap_or_default();
        let sparse = here.saturating_mul(SPARSE) < oldest.size.max(options.segment_bytes);
        // Each restart begins a segment. The short ones count in full, or they would pile up.
        let (_, bytes) = self.shared.segments.total(options.segment_bytes);
        let all_live: u64 = live.values().sum();
        sparse || (bytes > options.max_bytes && all_live < bytes / 2)
    }

    /// Writes what lives in that segment again; whether nothing does any more.
    fn empty(&self, segment: u64) -> Result<bool> {
        for group in self.shared.groups() {
            while !self.shared.keeper.stopped() {
                match self.empty_some(&group, segment) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) if group.lock().check_present().is_err() => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(!self.shared.live().contains_key(&segment))
    }

    /// Writes a portion of what a group has in that segment again; whether there was something.
    fn empty_some(&self, group: &Arc<Group>, segment: u64) -> Result<bool> {
        let log = Log::new(self.shared.clone(), group.clone());
        let (entries, marks) = {
            let contents = group.lock();
            let marks = Mark::ALL.into_iter().filter(|mark| contents.mark_in(*mark, segment));
            (contents.entries_in(segment, PORTION_BYTES), marks.collect::<Vec<_>>())
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
    fn barrier(&self) -> Result<()> {
        self.wait(|done| self.shared.barrier(done))
    }

    fn wait(&self, call: impl FnOnce(super::Done)) -> Result<()> {
        let (sender, receiver) = mpsc::sync_channel(1);
        call(Box::new(move |result| {
            // There is room for one, and the receiver waits below.
            if sender.try_send(result).is_err() {
                tracing::debug!("the keeper of the log no longer waits");
            }
        }));
        receiver.recv().map_err(|_| Error::internal("the writer of the log ended"))?
    }

    /// Frees a segment. Its name must be gone for good before that of a younger one.
    fn free(&mut self, segment: &Segment) -> Result<()> {
        let Shared { disk, dir, options, segments, .. } = &*self.shared;
        // One that was never filled with zeroes first is not worth keeping.
        let whole = segment.file.size()? == options.segment_bytes;
        if whole && segments.spares() < SPARES {
            let path = spare_path(dir, self.next_spare);
            self.next_spare += 1;
            disk.rename(&segment.path, &path)?;
            disk.sync_dir(dir)?;
            segments.forget(segment.number);
            segments.add_spare(Spare { file: segment.file.clone(), path, size: segment.size });
        } else {
            disk.remove(&segment.path)?;
            disk.sync_dir(dir)?;
            segments.forget(segment.number);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "keeper_test.rs"]
mod tests;
