//! The one thread that writes: one write and one sync for everything that waits.
//!
//! Batch n+1 is written only when batch n is durable, so at most the last batch on disk can be torn.
//! The first failed write or sync ends all writing: after a failed sync nobody knows what is on disk,
//! and a second sync that succeeds would prove nothing.
//!
//! When nothing waits, an empty batch, the *stamp*, is written behind the last one, without a sync and
//! after everybody was told. It is written only because the batch before it is durable, so whoever
//! finds it knows that a bad batch before it is damage and no torn write. Nothing is lost with it: the
//! next batch takes its number and its place. It needs one sector, which no other batch may have of a
//! segment, so there is always room for it.
//!
//! A segment is written to only when all its bytes are allocated. Where there is no room for another
//! one the writer waits, see `room`.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Weak};

use super::Shared;
use super::batch::{ALIGNMENT, Batch, Label};
use super::disk::DiskFile;
use super::group::{Effect, Group, Mark};
use super::queue::Next;
use super::segment::{DATA_START, Segment, SegmentHeader, Spare, fresh_path, segment_path};
use crate::types::{Error, Kind, Result};

/// What keeping one entry in memory costs beside its payload, about, in bytes.
const ENTRY_OVERHEAD: usize = 128;

/// What a stamp takes in a segment, in bytes.
const STAMP_BYTES: u64 = ALIGNMENT as u64;

/// The writer's own state.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    next_segment: u64,
    next_sequence: u64,
    /// What the newest entries weigh, in the order they were written: the window of entries that
    /// stay in memory.
    recent: VecDeque<Recent>,
    recent_bytes: usize,
}

#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    offset: u64,
    spare_asked: bool,
    /// Whether nothing was written since the last stamp.
    stamped: bool,
}

impl Active {
    fn has_room_for(&self, bytes: u64) -> bool {
        self.offset + bytes + STAMP_BYTES <= self.segment.size
    }
}

#[derive(Debug)]
struct Recent {
    group: Weak<Group>,
    last: u64,
    bytes: usize,
}

/// Where a batch was written.
#[derive(Clone, Copy, Debug)]
struct Written {
    segment: u64,
    offset: u32,
}

impl Writer {
    /// A writer that begins a fresh segment with its first batch.
    pub fn new(shared: Arc<Shared>, next_segment: u64, next_sequence: u64) -> Writer {
        Writer {
            shared,
            active: None,
            next_segment,
            next_sequence,
            recent: VecDeque::new(),
            recent_bytes: 0,
        }
    }

    /// Writes until the queue is closed and empty, or something fails.
    pub fn run(mut self) {
        let shared = self.shared.clone();
        match catch_unwind(AssertUnwindSafe(|| self.work())) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => shared.fail(&error, Vec::new()),
            Err(_) => shared.fail(&Error::internal("the writer of the log panicked"), Vec::new()),
        }
    }

    fn work(&mut self) -> Result<()> {
        loop {
            if self.shared.queue.is_idle() {
                self.stamp()?;
            }
            match self.shared.queue.next() {
                Next::Batch(batch) => {
                    if !self.handle(batch) {
                        return Ok(());
                    }
                }
                Next::Closed => return self.close(),
                Next::Failed => return Ok(()),
            }
        }
    }

    /// Writes a batch and tells everyone who waits for it. Whether to go on.
    fn handle(&mut self, mut batch: Batch) -> bool {
        let queued = batch.bytes();
        let ops = std::mem::take(&mut batch.ops);
        let number = batch.number;
        if batch.is_empty() {
            ops.into_iter().for_each(|op| op.tell(Ok(())));
            self.shared.queue.finished(queued, batch.into_buffer());
            return true;
        }
        let written = match self.write(&mut batch) {
            Ok(Some(written)) => written,
            Ok(None) if ops.iter().all(|op| op.done.is_none()) => {
                // Committed positions only, which may be lost.
                self.shared.queue.finished(queued, batch.into_buffer());
                return true;
            }
            Ok(None) => {
                let error = "the log was closed before the disk had room for what was waiting";
                let error = Error::new(Kind::StorageFull, error);
                self.shared.fail(&error, ops);
                return false;
            }
            Err(error) => {
                self.shared.fail(&error, ops);
                return false;
            }
        };
        self.shared.queue.finished(queued, batch.into_buffer());
        let released = ops.iter().any(|op| {
            matches!(op.effect, Effect::Released | Effect::Removed | Effect::Mark(Mark::Floor, _))
        });
        for op in ops {
            if let Some(group) = &op.group {
                self.settle(group, &op.effect, number, written);
            }
            op.tell(Ok(()));
        }
        self.evict();
        if released {
            self.shared.keeper.tidy();
        }
        true
    }

    fn settle(&mut self, group: &Arc<Group>, effect: &Effect, batch: u64, written: Written) {
        let mut contents = group.lock();
        contents.settle(effect, batch, written.segment, written.offset);
        if let Effect::Entries { first, last } = effect {
            let bytes = contents.weight(*first, *last, ENTRY_OVERHEAD);
            self.recent.push_back(Recent { group: Arc::downgrade(group), last: *last, bytes });
            self.recent_bytes += bytes;
        }
    }

    /// Lets the oldest of the recent entries go from memory.
    fn evict(&mut self) {
        while self.recent_bytes > self.shared.options.cache_bytes {
            let Some(oldest) = self.recent.pop_front() else { return };
            self.recent_bytes -= oldest.bytes;
            if let Some(group) = oldest.group.upgrade() {
                group.lock().evict(oldest.last);
            }
        }
    }

    /// Writes a batch durably; where. `None` when the log was closed before there was room.
    fn write(&mut self, batch: &mut Batch) -> Result<Option<Written>> {
        let bytes = batch.stored_bytes() as u64;
        if self.active.as_ref().is_none_or(|active| !active.has_room_for(bytes)) {
            match self.begin_segment(bytes)? {
                Some(active) => {
                    self.leave_segment(batch);
                    self.active = Some(active);
                }
                None => return Ok(None),
            }
        }
        let (shared, sequence) = (&self.shared, self.next_sequence);
        let Some(active) = &mut self.active else {
            return Err(Error::internal("the log has no segment to write to"));
        };
        let upkeep = batch.is_upkeep();
        active.put(batch, sequence, shared.segments.oldest())?;
        active.segment.file.sync_data().map_err(|error| active.failed(error))?;
        let (segment, offset) = (active.segment.number, active.offset as u32);
        active.offset += bytes;
        active.stamped = false;
        self.next_sequence += 1;
        shared.segments.set_rest(active.segment.size - active.offset);
        if !upkeep {
            shared.ledger.stir(bytes);
        }
        // Early: if there is no room for the next one, this one is left.
        if active.offset > active.segment.size / 4 && !active.spare_asked {
            active.spare_asked = true;
            shared.keeper.prepare();
        }
        Ok(Some(Written { segment, offset }))
    }

    /// What is not written of the segment so far never will be, for want of room for this batch.
    fn leave_segment(&mut self, batch: &Batch) {
        if let Some(active) = self.active.take()
            && !batch.is_upkeep()
        {
            self.shared.ledger.stir(active.segment.size - active.offset);
        }
    }

    /// Writes the stamp, unless it is there.
    fn stamp(&mut self) -> Result<()> {
        if let Some(active) = self.active.as_mut().filter(|active| !active.stamped) {
            let oldest = self.shared.segments.oldest();
            active.put(&mut Batch::new(0, Vec::new()), self.next_sequence, oldest)?;
            active.stamped = true;
        }
        Ok(())
    }

    /// Makes the next segment, with room for a batch of that many bytes; `None` when the log was closed
    /// before the disk had room.
    fn begin_segment(&mut self, bytes: u64) -> Result<Option<Active>> {
        let needed = DATA_START + bytes + STAMP_BYTES;
        let size = self.shared.options.segment_bytes.max(needed);
        loop {
            let finds = self.shared.room.finds();
            if let Some(file) = unless_full(self.take_file(size))?
                && let Some(active) = self.name_segment(file)?
            {
                return Ok(Some(active));
            }
            self.stamp()?;
            self.shared.room.want(size);
            self.shared.keeper.prepare();
            if !self.shared.room.wait(finds) {
                self.sync_stamp()?;
                return Ok(None);
            }
        }
    }

    /// A file that a segment can be made of, all its bytes allocated.
    fn take_file(&self, size: u64) -> Result<Spare> {
        let Shared { disk, dir, segments, .. } = &*self.shared;
        let spare = match segments.take_spare(size) {
            Some(spare) => spare,
            None => {
                let path = fresh_path(dir, self.next_segment);
                let file = disk.create(&path).map_err(|error| failed(error, "creating", &path))?;
                Spare { file, path, size }
            }
        };
        if let Err(error) = spare.file.allocate(spare.size) {
            // A part of a segment would only keep the disk full.
            let removed = disk.remove(&spare.path);
            removed.map_err(|error| failed(error, "removing", &spare.path))?;
            return Err(failed(error, "allocating", &spare.path));
        }
        Ok(spare)
    }

    /// Makes the file the active segment; `None`, with the file among the spares, when the disk is too full
    /// to name it. It gets its name only when its header is durable, so a header that cannot be read is
    /// never an accident of a crash.
    fn name_segment(&mut self, spare: Spare) -> Result<Option<Active>> {
        let Shared { disk, dir, segments, ledger, .. } = &*self.shared;
        let number = self.next_segment;
        let path = segment_path(dir, number);
        let header = SegmentHeader { number, first_sequence: self.next_sequence }.encode();
        let written = write_header(&*spare.file, &header);
        written.map_err(|error| failed(error, "writing", &spare.path))?;
        let named = disk.rename(&spare.path, &path);
        if unless_full(named.map_err(|error| failed(error, "naming", &path)))?.is_none() {
            segments.add_spare(spare);
            return Ok(None);
        }
        disk.sync_dir(dir).map_err(|error| failed(error, "naming", &path))?;
        self.next_segment += 1;
        let Spare { file, size, .. } = spare;
        let segment = Arc::new(Segment { number, file, path, size, churn: ledger.churn() });
        segments.activate(segment.clone());
        segments.set_rest(size - DATA_START);
        self.shared.keeper.tidy();
        Ok(Some(Active { segment, offset: DATA_START, spare_asked: false, stamped: true }))
    }

    /// Ends a clean run with a durable stamp.
    fn close(&mut self) -> Result<()> {
        self.stamp()?;
        self.sync_stamp()
    }

    fn sync_stamp(&self) -> Result<()> {
        match &self.active {
            Some(active) => active.segment.file.sync_data().map_err(|error| active.failed(error)),
            None => Ok(()),
        }
    }
}

impl Active {
    /// Writes a batch behind the last one.
    fn put(&self, batch: &mut Batch, sequence: u64, oldest: u64) -> Result<()> {
        let (segment, offset) = (self.segment.number, self.offset);
        let stored = batch.finish(Label { sequence, oldest, segment, offset });
        self.segment.file.write_all_at(stored, offset).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: std::io::Error) -> Error {
        failed(error, "writing", &self.segment.path)
    }
}

/// Nothing, when the disk has no room for it.
fn unless_full<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == Kind::StorageFull => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_header(file: &dyn DiskFile, header: &[u8]) -> std::io::Result<()> {
    file.write_all_at(header, 0)?;
    file.sync_data()
}

fn failed(error: std::io::Error, what: &str, path: &Path) -> Error {
    let kind = Error::from(std::io::Error::from(error.kind())).kind();
    Error::new(kind, format!("{what} a log segment failed"))
        .with("file", path.display())
        .because(error)
}

#[cfg(test)]
#[path = "writer_test.rs"]
mod tests;
