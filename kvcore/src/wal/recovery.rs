//! Finds out what is on disk when the log is opened.
//!
//! Batches are numbered without a gap, each segment says which batch it begins with, and batch n+1 was
//! written only when batch n was durable. So what is no batch is one of two things. Behind the last
//! batch of the whole log it is the torn end of a write that nobody was told about: writing goes on in
//! a fresh segment, whose header from then on says that nothing is missing here. Anywhere else
//! something durable was lost, and that is `Corruption`.
//!
//! The last batch may have been written but not synced by a process that died: it reads well, but
//! may lie in the kernel's memory only, even marked as clean after a failed sync. It is therefore
//! written once more, and synced, before anything builds on it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::batch::{ALIGNMENT, BATCH_HEADER, Summary};
use super::disk::{Disk, DiskFile};
use super::group::Contents;
use super::keeper::SPARES;
use super::record::{Frame, Tag};
use super::replay::Replay;
use super::segment::{
    DATA_START, Segment, SegmentHeader, Spare, parse_name, segment_path, spare_path,
};
use crate::types::{Error, Kind, Result};

/// Files are read in portions of at least this many bytes.
const WINDOW_BYTES: usize = 1 << 20;

/// What was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub groups: HashMap<Tag, Contents>,
    pub segments: BTreeMap<u64, Arc<Segment>>,
    pub spares: VecDeque<Spare>,
    pub next_segment: u64,
    pub next_spare: u64,
    pub next_sequence: u64,
}

/// Reads the log in `dir`, which is created when it is not there.
///
/// # Errors
/// `Corruption`, naming the file and the offset; `Unsupported` when a newer version wrote the log;
/// what the file system says.
pub(super) fn recover(disk: &dyn Disk, dir: &Path, segment_bytes: u64) -> Result<Recovered> {
    let at_dir = |error: std::io::Error| Error::from(error).with("directory", dir.display());
    disk.create_dir(dir).map_err(at_dir)?;
    let names = disk.list(dir).map_err(at_dir)?;
    let segments = open_segments(disk, dir, &names)?;
    let mut replays = HashMap::new();
    let next_sequence = read_segments(&segments, &mut replays)?;
    let last_number = segments.last().map_or(0, |(segment, _)| segment.number);
    let spares = open_spares(disk, dir, &names, segment_bytes, segments.is_empty())?;
    let next_spare = names.iter().filter_map(|name| parse_name(name, "free")).max();
    disk.sync_dir(dir).map_err(at_dir)?;
    let mut groups = HashMap::new();
    for (tag, replay) in replays {
        groups.insert(tag, replay.finish(tag)?);
    }
    Ok(Recovered {
        groups,
        segments: segments.into_iter().map(|(segment, _)| (segment.number, segment)).collect(),
        spares,
        next_segment: last_number.saturating_add(1),
        next_spare: next_spare.map_or(0, |last| last.saturating_add(1)),
        next_sequence,
    })
}

type Opened = Vec<(Arc<Segment>, SegmentHeader)>;

fn open_segments(disk: &dyn Disk, dir: &Path, names: &[String]) -> Result<Opened> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| parse_name(name, "log")).collect();
    numbers.sort_unstable();
    let mut opened = Vec::with_capacity(numbers.len());
    for number in numbers {
        let path = segment_path(dir, number);
        let at_path = |error: std::io::Error| Error::from(error).with("file", path.display());
        let file = disk.open(&path).map_err(at_path)?;
        let header = SegmentHeader::read(&*file, &path)?;
        if header.number != number {
            return Err(Error::new(Kind::Corruption, "a log segment has another one's name")
                .with("file", path.display())
                .with("number", header.number));
        }
        let size = file.size().map_err(at_path)?;
        opened.push((Arc::new(Segment { number, file, path, size }), header));
    }
    Ok(opened)
}

/// Takes the spares that can still be used, and removes the rest. Without a segment none can: what is
/// in them might be taken for the first batches of a new log.
fn open_spares(
    disk: &dyn Disk,
    dir: &Path,
    names: &[String],
    size: u64,
    fresh: bool,
) -> Result<VecDeque<Spare>> {
    let mut spares = VecDeque::new();
    for name in names {
        let path = dir.join(name);
        if let Some(number) = parse_name(name, "free") {
            let path = spare_path(dir, number);
            let file = disk.open(&path)?;
            if !fresh && spares.len() < SPARES && file.size()? == size {
                spares.push_back(Spare { file, path, size });
            } else {
                disk.remove(&path)?;
            }
        } else if parse_name(name, "tmp").is_some() {
            disk.remove(&path)?;
        }
    }
    Ok(spares)
}

/// Plays all batches back; the sequence number that the next batch gets.
fn read_segments(segments: &Opened, replays: &mut HashMap<Tag, Replay>) -> Result<u64> {
    let mut expected = segments.first().map_or(1, |(_, header)| header.first_sequence);
    let mut oldest = None;
    let mut following = segments.iter().skip(1).map(|(_, header)| header.first_sequence);
    for (segment, header) in segments {
        if header.first_sequence != expected {
            return Err(lost(segment, 0, "a log segment begins with another batch than expected"));
        }
        let mut reader = Reader::new(segment)?;
        match following.next() {
            Some(end) => {
                while expected < end {
                    reader.batch(expected, replays)?.ok_or_else(|| {
                        lost(segment, reader.offset, "a batch of the log is damaged or missing")
                    })?;
                    expected += 1;
                }
            }
            None => {
                while reader.batch(expected, replays)?.is_some() {
                    expected += 1;
                }
                if reader.finds_later_than(expected)? {
                    return Err(lost(segment, reader.offset, "a batch of the log is damaged"));
                }
                reader.harden()?;
            }
        }
        oldest = reader.oldest.or(oldest);
    }
    // The log knows itself which of its oldest segments were freed.
    if let (Some((first, _)), Some(oldest)) = (segments.first(), oldest)
        && first.number > oldest
    {
        return Err(Error::new(Kind::Corruption, "segments of the log are missing")
            .with("first", first.number)
            .with("needed", oldest)
            .with("file", first.path.display()));
    }
    Ok(expected)
}

fn lost(segment: &Segment, offset: u64, what: &str) -> Error {
    Error::new(Kind::Corruption, what).with("file", segment.path.display()).with("offset", offset)
}

/// Reads one segment, batch by batch.
struct Reader<'a> {
    segment: &'a Segment,
    window: Window<'a>,
    /// Where the next batch begins.
    offset: u64,
    /// Where the last good one begins, and its length.
    last: Option<(u64, usize)>,
    /// The oldest segment that the last good one needs.
    oldest: Option<u64>,
}

impl<'a> Reader<'a> {
    fn new(segment: &'a Segment) -> Result<Reader<'a>> {
        let window =
            Window { file: &*segment.file, size: segment.size, start: 0, bytes: Vec::new() };
        Ok(Reader { segment, window, offset: DATA_START, last: None, oldest: None })
    }

    /// Plays the next batch back if it is there and has that number.
    fn batch(&mut self, expected: u64, replays: &mut HashMap<Tag, Replay>) -> Result<Option<()>> {
        let (number, offset) = (self.segment.number, self.offset);
        let Some(summary) = self.window.summary(offset)? else { return Ok(None) };
        if summary.sequence != expected {
            return Ok(None);
        }
        let Some(bytes) = self.window.get(offset, summary.bytes())? else { return Ok(None) };
        let Ok(mut records) = summary.verify(bytes, number, offset) else { return Ok(None) };
        for _ in 0..summary.records {
            let at = offset + (summary.bytes() - records.len()) as u64;
            let (frame, rest) =
                Frame::decode(records).map_err(|damage| lost(self.segment, at, damage.0))?;
            let replay = replays.entry(frame.tag).or_default();
            if replay.apply(&frame, number, at as u32).map_err(|e| lost(self.segment, at, e.0))? {
                replays.remove(&frame.tag);
            }
            records = rest;
        }
        if !records.is_empty() {
            return Err(lost(self.segment, offset, "a batch is longer than its records"));
        }
        self.last = Some((offset, summary.bytes()));
        self.oldest = Some(summary.oldest);
        self.offset += summary.bytes().next_multiple_of(ALIGNMENT) as u64;
        Ok(Some(()))
    }

    /// Whether a good batch with a higher number than `expected` lies behind.
    fn finds_later_than(&mut self, expected: u64) -> Result<bool> {
        let mut offset = self.offset;
        while offset < self.segment.size {
            if let Some(summary) = self.window.summary(offset)?
                && summary.sequence > expected
                && let Some(bytes) = self.window.get(offset, summary.bytes())?
                && summary.verify(bytes, self.segment.number, offset).is_ok()
            {
                return Ok(true);
            }
            offset += ALIGNMENT as u64;
        }
        Ok(false)
    }

    /// Writes the last batch once more and syncs.
    fn harden(&mut self) -> Result<()> {
        let Segment { file, path, .. } = self.segment;
        let at_path = |error: std::io::Error| Error::from(error).with("file", path.display());
        if let Some((offset, length)) = self.last
            && let Some(bytes) = self.window.get(offset, length)?
        {
            file.write_all_at(bytes, offset).map_err(at_path)?;
            file.sync_data().map_err(at_path)?;
        }
        Ok(())
    }
}

/// A part of a file in memory.
struct Window<'a> {
    file: &'a dyn DiskFile,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// That part of the file, if the file is long enough.
    fn get(&mut self, offset: u64, length: usize) -> Result<Option<&[u8]>> {
        if offset.saturating_add(length as u64) > self.size {
            return Ok(None);
        }
        let held =
            offset >= self.start && offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            let wanted = (length.max(WINDOW_BYTES) as u64).min(self.size - offset);
            self.bytes.resize(wanted as usize, 0);
            self.start = offset;
            self.file.read_exact_at(&mut self.bytes, offset)?;
        }
        let from = (offset - self.start) as usize;
        Ok(self.bytes.get(from..from + length))
    }

    /// What looks like the header of a batch there.
    fn summary(&mut self, offset: u64) -> Result<Option<Summary>> {
        let header = self.get(offset, BATCH_HEADER)?;
        Ok(header.and_then(|header| Summary::decode(header.first_chunk()?)))
    }
}

#[cfg(test)]
#[path = "recovery_test.rs"]
mod tests;
