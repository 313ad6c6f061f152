//! Reads the batches of a log in their order: for `recovery`, which refuses a damaged log, and for
//! `inspect`, which says what is wrong and reads on.
//!
//! Batches are numbered without a gap, each segment says which batch it begins with, and batch n+1 was
//! written only when batch n was durable. So what is no batch is one of two things. Behind the last
//! batch of the whole log it is the torn end of a write that nobody was told about. Anywhere else
//! something durable was lost.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::batch::{ALIGNMENT, BATCH_HEADER, Summary};
use super::disk::{Disk, DiskFile};
use super::record::{Frame, Tag};
use super::replay::Replay;
use super::segment::{DATA_START, Segment, SegmentHeader, parse_name, segment_path};
use crate::types::{Error, Kind, Result};

/// Files are read in portions of at least this many bytes.
const WINDOW_BYTES: usize = 1 << 20;

/// The most findings that are gathered.
const MOST_GATHERED: usize = 1000;

/// What is done about damage.
#[derive(Debug)]
pub(super) enum OnDamage {
    /// It ends the reading.
    Refuse,
    /// It is written down, and reading goes on behind it.
    Gather(Vec<Error>),
}

impl OnDamage {
    /// Something is wrong.
    ///
    /// # Errors
    /// The same, when it is to end the reading.
    pub fn report(&mut self, error: Error) -> Result<()> {
        match self {
            OnDamage::Refuse => Err(error),
            OnDamage::Gather(found) => {
                if found.len() < MOST_GATHERED {
                    found.push(error);
                }
                Ok(())
            }
        }
    }

    /// What was gathered.
    pub fn into_findings(self) -> Vec<Error> {
        match self {
            OnDamage::Refuse => Vec::new(),
            OnDamage::Gather(found) => found,
        }
    }
}

/// A segment that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub segment: Arc<Segment>,
    /// The batch that it says it begins with, when it says so.
    first_sequence: Option<u64>,
}

/// The last batch of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub offset: u64,
    /// Its bytes without the padding.
    pub length: usize,
    pub records: u32,
    pub oldest: u64,
}

/// What all batches together say.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub replays: HashMap<Tag, Replay>,
    pub batches: u64,
    /// The number that the next batch gets.
    pub next_sequence: u64,
    /// The last batch, when it lies in the last segment.
    pub last: Option<Last>,
    /// Whose records make no sense any more, because of earlier damage.
    broken: Vec<Tag>,
}

/// Opens the segments among the files in `dir`, oldest first.
///
/// # Errors
/// `Corruption` and what the file system says, unless that is gathered; `Unsupported` when a newer version
/// wrote the log.
pub(super) fn open_segments(
    dir: &Path,
    names: &[String],
    open: impl Fn(&Path) -> std::io::Result<Arc<dyn DiskFile>>,
    damage: &mut OnDamage,
) -> Result<Vec<Found>> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| parse_name(name, "log")).collect();
    numbers.sort_unstable();
    let mut found = Vec::with_capacity(numbers.len());
    for number in numbers {
        let path = segment_path(dir, number);
        let opened = open(&path).and_then(|file| file.size().map(|size| (file, size)));
        let (file, size) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                damage.report(Error::from(error).with("file", path.display()))?;
                continue;
            }
        };
        let segment = Arc::new(Segment { number, file, path, size, churn: 0 });
        let first_sequence = match first_sequence(&segment) {
            Ok(first) => Some(first),
            Err(error) if error.kind() == Kind::Unsupported => return Err(error),
            Err(error) => {
                damage.report(error)?;
                // Its first batch says so as well.
                let first = Reader::new(&segment).later_than(0).ok().flatten();
                first.map(|(_, sequence)| sequence)
            }
        };
        found.push(Found { segment, first_sequence });
    }
    Ok(found)
}

fn first_sequence(segment: &Segment) -> Result<u64> {
    let Segment { number, file, path, .. } = segment;
    let header = SegmentHeader::read(&**file, path)?;
    if header.number != *number {
        return Err(Error::new(Kind::Corruption, "a log segment has another one's name")
            .with("file", path.display())
            .with("number", header.number));
    }
    Ok(header.first_sequence)
}

impl Scanned {
    /// Plays all batches back.
    ///
    /// # Errors
    /// `Corruption`, unless that is gathered; what the file system says, likewise.
    pub fn read(found: &[Found], damage: &mut OnDamage) -> Result<Scanned> {
        let mut scanned = Scanned {
            next_sequence: found.iter().find_map(|found| found.first_sequence).unwrap_or(1),
            ..Scanned::default()
        };
        let mut oldest = None;
        let mut rest = found;
        while let Some((next, following)) = rest.split_first() {
            rest = following;
            let end = following.first().map(|next| next.first_sequence);
            let mut reader = Reader::new(&next.segment);
            if let Err(error) = scanned.read_segment(next, end, &mut reader, damage) {
                damage.report(error)?;
            }
            scanned.last = reader.last;
            oldest = reader.last.map(|last| last.oldest).or(oldest);
        }
        // The log knows itself which of its oldest segments were freed.
        if let (Some(first), Some(oldest)) = (found.first(), oldest)
            && first.segment.number > oldest
        {
            damage.report(
                Error::new(Kind::Corruption, "segments of the log are missing")
                    .with("first", first.segment.number)
                    .with("needed", oldest)
                    .with("file", first.segment.path.display()),
            )?;
        }
        Ok(scanned)
    }

    /// Plays the batches of one segment back. `end` is there when another segment follows: the batch
    /// that one begins with, if it says so.
    fn read_segment(
        &mut self,
        found: &Found,
        end: Option<Option<u64>>,
        reader: &mut Reader<'_>,
        damage: &mut OnDamage,
    ) -> Result<()> {
        let segment = &found.segment;
        if let Some(first) = found.first_sequence.filter(|first| *first != self.next_sequence) {
            let what = "a log segment begins with another batch than expected";
            damage.report(lost(segment, 0, what))?;
            self.next_sequence = first;
        }
        let end = end.map(|end| end.unwrap_or(u64::MAX));
        while end.is_none_or(|end| self.next_sequence < end) {
            let expected = self.next_sequence;
            if self.read_batch(reader, damage)? {
                self.next_sequence += 1;
                continue;
            }
            let later = reader.later_than(expected)?;
            if later.is_none() && end.is_none_or(|end| end == u64::MAX) {
                return Ok(());
            }
            let what = "a batch of the log is damaged or missing";
            damage.report(lost(segment, reader.offset, what))?;
            match later {
                Some((offset, sequence)) if end.is_none_or(|end| sequence < end) => {
                    reader.offset = offset;
                    self.next_sequence = sequence;
                }
                _ => self.next_sequence = end.unwrap_or(expected),
            }
        }
        Ok(())
    }

    /// Plays the next batch back if it is there and has the expected number.
    fn read_batch(&mut self, reader: &mut Reader<'_>, damage: &mut OnDamage) -> Result<bool> {
        let (segment, offset) = (reader.segment, reader.offset);
        let Some((summary, mut records)) = reader.next(self.next_sequence)? else {
            return Ok(false);
        };
        for _ in 0..summary.records {
            let at = offset + (summary.bytes() - records.len()) as u64;
            match Frame::decode(records) {
                Ok((frame, rest)) => {
                    records = rest;
                    if let Err(what) = self.play(&frame, segment.number, at as u32) {
                        damage.report(
                            lost(segment, at, what)
                                .with("group", frame.tag.group)
                                .with("replica", frame.tag.replica)
                                .with("index", frame.position.index),
                        )?;
                    }
                }
                Err(what) => {
                    damage.report(lost(segment, at, what.0))?;
                    break;
                }
            }
        }
        let whole = records.is_empty();
        self.batches += 1;
        reader.pass(&summary);
        if !whole {
            damage.report(lost(segment, offset, "a batch is longer than its records"))?;
        }
        Ok(true)
    }

    fn play(&mut self, frame: &Frame<'_>, segment: u64, at: u32) -> Result<(), &'static str> {
        if self.broken.contains(&frame.tag) {
            return Ok(());
        }
        match self.replays.entry(frame.tag).or_default().apply(frame, segment, at) {
            Ok(false) => {}
            Ok(true) => drop(self.replays.remove(&frame.tag)),
            Err(what) => {
                self.broken.push(frame.tag);
                return Err(what.0);
            }
        }
        Ok(())
    }
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
    /// The last good one.
    last: Option<Last>,
}

impl<'a> Reader<'a> {
    fn new(segment: &'a Segment) -> Reader<'a> {
        let window = Window { segment, start: 0, bytes: Vec::new() };
        Reader { segment, window, offset: DATA_START, last: None }
    }

    /// The next batch and its records, if it is there and has that number.
    fn next(&mut self, expected: u64) -> Result<Option<(Summary, &[u8])>> {
        let (number, offset) = (self.segment.number, self.offset);
        let Some(summary) = self.window.summary(offset)? else { return Ok(None) };
        if summary.sequence != expected {
            return Ok(None);
        }
        let Some(bytes) = self.window.get(offset, summary.bytes())? else { return Ok(None) };
        Ok(summary.verify(bytes, number, offset).ok().map(|records| (summary, records)))
    }

    /// Goes on behind the next batch, which is good.
    fn pass(&mut self, batch: &Summary) {
        self.last = Some(Last {
            offset: self.offset,
            length: batch.bytes(),
            records: batch.records,
            oldest: batch.oldest,
        });
        self.offset += batch.bytes().next_multiple_of(ALIGNMENT) as u64;
    }

    /// The next good batch with a higher number than `expected`: its offset and number.
    fn later_than(&mut self, expected: u64) -> Result<Option<(u64, u64)>> {
        let mut offset = self.offset;
        while offset < self.segment.size {
            if let Some(summary) = self.window.summary(offset)?
                && summary.sequence > expected
                && let Some(bytes) = self.window.get(offset, summary.bytes())?
                && summary.verify(bytes, self.segment.number, offset).is_ok()
            {
                return Ok(Some((offset, summary.sequence)));
            }
            offset += ALIGNMENT as u64;
        }
        Ok(None)
    }
}

/// A part of a segment in memory.
struct Window<'a> {
    segment: &'a Segment,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// That part of the file, if the file is long enough.
    fn get(&mut self, offset: u64, length: usize) -> Result<Option<&[u8]>> {
        let Segment { file, path, size, .. } = self.segment;
        if offset.saturating_add(length as u64) > *size {
            return Ok(None);
        }
        let held =
            offset >= self.start && offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            let wanted = (length.max(WINDOW_BYTES) as u64).min(size - offset);
            self.bytes.resize(wanted as usize, 0);
            self.start = offset;
            if let Err(error) = file.read_exact_at(&mut self.bytes, offset) {
                self.bytes.clear();
                return Err(Error::from(error).with("file", path.display()).with("offset", offset));
            }
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

/// The names of the files in `dir`.
///
/// # Errors
/// What the file system says; `NotFound` when there is no such directory.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>> {
    disk.list(dir).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let error = Error::from(error).with("directory", dir.display());
        if missing { error.into_kind(Kind::NotFound) } else { error }
    })
}

#[cfg(test)]
#[path = "scan_test.rs"]
mod tests;
