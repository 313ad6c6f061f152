//! The one thread that writes: one write and one sync for everything that waits.
//!
//! Batch n+1 is written only when batch n is durable, so at most the last batch on disk can be torn.
//! The first failed write or sync ends all writing: after a failed sync nobody knows what is on disk,
//! and a second sync that succeeds would prove nothing.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Weak};

use super::Shared;
use super::batch::{Batch, Op, Stamp};
use super::disk::DiskFile;
use super::group::{Effect, Group, Mark};
use super::queue::{Failure, Next};
use super::segment::{DATA_START, Segment, SegmentHeader, Spare, fresh_path, segment_path};
use crate::types::{Error, Result};

/// What keeping one entry in memory costs beside its payload, about, in bytes.
const ENTRY_OVERHEAD: usize = 128;

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
}

#[derive(Debug)]
struct Recent {
    group: Weak<Group>,
    last: u64,
    bytes: usize,
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
        if catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            fail(&shared, &Error::internal("the writer of the log panicked"), Vec::new());
        }
    }

    fn work(&mut self) {
        loop {
            match self.shared.queue.next() {
                Next::Batch(batch) => {
                    if !self.handle(batch) {
                        return;
                    }
                }
                Next::Closed => return self.close(),
                Next::Failed => return,
            }
        }
    }

    /// Writes a batch and tells everyone who waits for it. Whether to go on.
    fn handle(&mut self, mut batch: Batch) -> bool {
        let queued = batch.bytes();
        let ops = std::mem::take(&mut batch.ops);
        let number = batch.number;
        if batch.is_empty() {
            ops.into_iter().for_each(|op| tell(op, Ok(())));
            self.shared.queue.finished(queued, batch.into_buffer());
            return true;
        }
        let (segment, base) = match self.write(&mut batch) {
            Ok(place) => place,
            Err(error) => {
                fail(&self.shared, &error, ops);
                return false;
            }
        };
        self.shared.queue.finished(queued, batch.into_buffer());
        let released = ops.iter().any(|op| {
            matches!(op.effect, Effect::Released | Effect::Removed | Effect::Mark(Mark::Floor, _))
        });
        for op in ops {
            if let Some(group) = &op.group {
                self.settle(group, &op.effect, number, segment, base);
            }
            tell(op, Ok(()));
        }
        self.evict();
        if released {
            self.shared.keeper.tidy();
        }
        true
    }

    fn settle(&mut self, group: &Arc<Group>, effect: &Effect, batch: u64, segment: u64, base: u32) {
        let mut contents = group.lock();
        contents.settle(effect, batch, segment, base);
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

    /// Writes a batch durably; its segment and offset.
    fn write(&mut self, batch: &mut Batch) -> Result<(u64, u32)> {
        let bytes = batch.stored_bytes() as u64;
        let active = match self.active.take() {
            Some(active) if active.offset + bytes <= active.segment.size => active,
            _ => self.begin_segment(bytes)?,
        };
        let active = self.active.insert(active);
        let offset = active.offset;
        let number = active.segment.number;
        let (sequence, oldest) = (self.next_sequence, self.shared.segments.oldest());
        let stored = batch.finish(Stamp { sequence, oldest, segment: number, offset });
        let failed = |error| failed(error, "writing", &active.segment.path);
        active.segment.file.write_all_at(stored, offset).map_err(failed)?;
        active.segment.file.sync_data().map_err(failed)?;
        self.next_sequence += 1;
        active.offset += bytes;
        if active.offset > active.segment.size / 2 && !active.spare_asked {
            active.spare_asked = true;
            self.shared.keeper.prepare();
        }
        Ok((number, offset as u32))
    }

    /// Makes the next segment, with room for a batch of that many bytes. It gets its name only when
    /// its header is durable, so a header that cannot be read is never an accident of a crash.
    fn begin_segment(&mut self, bytes: u64) -> Result<Active> {
        let Shared { disk, dir, options, segments, .. } = &*self.shared;
        let number = self.next_segment;
        let size = options.segment_bytes.max(DATA_START + bytes);
        let path = segment_path(dir, number);
        let Spare { file, path: before, size } = match segments.take_spare(size) {
            Some(spare) => spare,
            None => {
                let fresh = fresh_path(dir, number);
                let file =
                    disk.create(&fresh).map_err(|error| failed(error, "creating", &fresh))?;
                Spare { file, path: fresh, size }
            }
        };
        let header = SegmentHeader { number, first_sequence: self.next_sequence }.encode();
        write_header(&*file, &header).map_err(|error| failed(error, "writing", &before))?;
        disk.rename(&before, &path).map_err(|error| failed(error, "naming", &path))?;
        disk.sync_dir(dir).map_err(|error| failed(error, "naming", &path))?;
        self.next_segment += 1;
        let segment = Arc::new(Segment { number, file, path, size });
        segments.activate(segment.clone());
        self.shared.keeper.tidy();
        Ok(Active { segment, offset: DATA_START, spare_asked: false })
    }

    /// Ends a clean run with an empty batch: behind it, damage to the last one that says something is
    /// told from a torn write.
    fn close(&mut self) {
        if self.active.is_none() {
            return;
        }
        if let Err(error) = self.write(&mut Batch::new(0, Vec::new())) {
            fail(&self.shared, &error, Vec::new());
        }
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

/// Stops all writing and tells everyone who waits.
fn fail(shared: &Shared, error: &Error, ops: Vec<Op>) {
    tracing::error!(%error, "the log failed and takes no more writes");
    let failure = Failure::new(error);
    let waiting = shared.queue.fail(failure.clone());
    for op in ops.into_iter().chain(waiting) {
        tell(op, Err(failure.error()));
    }
}

/// Calls back. A panic there must not end the writer, which serves everyone.
fn tell(op: Op, result: Result<()>) {
    let Some(waiter) = op.done else { return };
    if catch_unwind(AssertUnwindSafe(|| (waiter.0)(result))).is_err() {
        tracing::error!("a callback of the log panicked");
    }
}
