//! Looks at the log of a stopped node and changes nothing: what is in it, and what is wrong with it.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use super::disk::{Disk, RealDisk};
use super::group::{Contents, Wanted};
use super::read::fetch;
use super::record::{Position, Record, Tag};
use super::scan::{Found, OnDamage, Scanned, list, open_segments};
use super::segment::{Segments, parse_name};
use crate::types::{Error, Kind, Result};

/// Entries are read in portions of about this many bytes.
const PORTION_BYTES: usize = 1 << 20;

/// What is in a log's directory.
#[derive(Debug)]
pub struct Inspection {
    /// The number of segments.
    pub segments: usize,
    /// Their size together, in bytes.
    pub bytes: u64,
    /// The number of files that wait to become segments.
    pub spares: usize,
    /// Their size together, in bytes.
    pub spare_bytes: u64,
    /// The number of batches that read well.
    pub batches: u64,
    /// How the log ends.
    pub end: End,
    /// What is wrong, in the order of the files: each names a file, and an offset where it has one, or a
    /// group. A thousand at most. The log opens if there is nothing.
    pub damage: Vec<Error>,
    /// The logs that hold something, in order; where there is damage, what could be read of them.
    pub groups: Vec<GroupLog>,
    contents: Vec<(Tag, Contents)>,
    files: Segments,
}

/// How a log ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// There is no batch, as in a log that was never written to.
    Empty,
    /// With a stamp, which says that there was nothing more and that the batch before it was durable:
    /// after a clean end, and after most crashes.
    Stamped,
    /// With a batch, or a segment that was begun and no more. If there was one more batch, and it was
    /// damaged, it could not be told from a write that was torn by a crash, which nobody was told of.
    Open,
}

/// What is in the log of one group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupLog {
    /// Whose log it is.
    pub tag: Tag,
    /// The last position that was purged.
    pub purged: Option<Position>,
    /// The first entry's position, if there is one.
    pub first: Option<Position>,
    /// The last entry's position; that of the last purged one when no entry is left.
    pub last: Option<Position>,
    /// The number of entries.
    pub entries: u64,
    /// Bytes of its records that must be kept on disk.
    pub live_bytes: u64,
    /// The vote as it was saved.
    pub vote: Option<Bytes>,
    /// The committed position as it was saved.
    pub committed: Option<Bytes>,
}

/// Reads the log in `dir` without writing, creating or removing anything. Nobody may have it open.
///
/// # Errors
/// `NotFound` when there is no such directory, `Unsupported` when a newer version wrote the log, else
/// what the file system says about the directory. Files that cannot be read are findings.
pub fn inspect(dir: &Path) -> Result<Inspection> {
    inspect_on(&RealDisk, dir)
}

/// Reads the log on another file system.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_on(disk: &dyn Disk, dir: &Path) -> Result<Inspection> {
    let names = list(disk, dir)?;
    let mut damage = OnDamage::Gather(Vec::new());
    let found = open_segments(dir, &names, |path| disk.open_to_read(path), &mut damage)?;
    let mut scanned = Scanned::read(&found, &mut damage)?;
    let mut contents = Vec::new();
    for (tag, replay) in scanned.replays.drain() {
        match replay.finish(tag) {
            Ok(found) if found.is_blank() => {}
            Ok(found) => contents.push((tag, found)),
            Err(error) => damage.report(error)?,
        }
    }
    contents.sort_by_key(|(tag, _)| *tag);
    let (mut spares, mut spare_bytes) = (0, 0);
    for name in names.iter().filter(|name| parse_name(name, "free").is_some()) {
        let path = dir.join(name);
        match disk.open_to_read(&path).and_then(|file| file.size()) {
            Ok(bytes) => {
                spares += 1;
                spare_bytes += bytes;
            }
            Err(error) => damage.report(Error::from(error).with("file", path.display()))?,
        }
    }
    let end = end(&found, &scanned);
    let by_number = found.into_iter().map(|found| (found.segment.number, found.segment));
    let files = Segments::new(by_number.collect(), VecDeque::new(), 0);
    let (segments, bytes) = files.total();
    Ok(Inspection {
        segments,
        bytes,
        spares,
        spare_bytes,
        batches: scanned.batches,
        end,
        damage: damage.into_findings(),
        groups: contents.iter().map(|(tag, contents)| GroupLog::of(*tag, contents)).collect(),
        contents,
        files,
    })
}

fn end(found: &[Found], scanned: &Scanned) -> End {
    match scanned.last {
        Some(last) if last.records == 0 => End::Stamped,
        None if found.is_empty() => End::Empty,
        _ => End::Open,
    }
}

impl GroupLog {
    fn of(tag: Tag, contents: &Contents) -> GroupLog {
        let state = contents.state();
        GroupLog {
            tag,
            purged: state.purged,
            first: contents.first(),
            last: state.last,
            entries: contents.count() as u64,
            live_bytes: contents.share().bytes(),
            vote: state.vote,
            committed: state.committed,
        }
    }
}

impl Inspection {
    /// Reads the entries of one group's log, in order. `visit` gets each, or in its place why it cannot be
    /// read: `Corruption` naming the file and the offset, or what the file system says.
    ///
    /// # Errors
    /// `NotFound` when the log is not among [`Inspection::groups`]; the first error of `visit`, which ends
    /// the reading.
    pub fn for_each(
        &self,
        tag: Tag,
        mut visit: impl FnMut(Result<Record>) -> Result<()>,
    ) -> Result<()> {
        let contents = self.contents.iter().find(|(held, _)| *held == tag);
        let Some((_, contents)) = contents else {
            return Err(Error::new(Kind::NotFound, "there is no log of this replica")
                .with("group", tag.group)
                .with("replica", tag.replica));
        };
        let Some(first) = contents.first() else { return Ok(()) };
        let mut next: Range<u64> = first.index..u64::MAX;
        loop {
            let wanted = contents.plan(next.clone(), PORTION_BYTES);
            let Some(last) = wanted.last() else { return Ok(()) };
            next.start = last.position.index.saturating_add(1);
            match fetch(&self.files, tag, &wanted) {
                Ok(records) => records.into_iter().try_for_each(|record| visit(Ok(record)))?,
                Err(_) => self.visit_singly(tag, &wanted, &mut visit)?,
            }
        }
    }

    fn visit_singly(
        &self,
        tag: Tag,
        wanted: &[Wanted],
        visit: &mut impl FnMut(Result<Record>) -> Result<()>,
    ) -> Result<()> {
        for one in wanted.chunks(1) {
            match fetch(&self.files, tag, one) {
                Ok(records) => records.into_iter().try_for_each(|record| visit(Ok(record)))?,
                Err(error) => visit(Err(error))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "inspect_test.rs"]
mod tests;
