//! Reads entries back: from memory where they still are, else from their segments, verified.

use bytes::Bytes;

use super::group::{Home, Place, Source, Wanted};
use super::record::{Action, Frame, HEADER, Position, Record, Tag};
use super::segment::Segments;
use crate::types::{Error, Kind, Result};

/// Neighbours on disk are read together up to about this many bytes.
const RUN_BYTES: usize = 1 << 20;

/// Reads the entries of `tag`'s log that were planned.
///
/// # Errors
/// `Corruption` when the bytes on disk are not those that were written. As a log changes while it is
/// read, an error is real only if the plan still holds.
pub(super) fn fetch(segments: &Segments, tag: Tag, wanted: &[Wanted]) -> Result<Vec<Record>> {
    let mut records = Vec::with_capacity(wanted.len());
    let mut rest = wanted;
    while let Some((next, others)) = rest.split_first() {
        rest = match &next.source {
            Source::Memory(record) => {
                records.push(record.clone());
                others
            }
            Source::Disk(home) => {
                let count = run_length(rest);
                let (run, others) = rest.split_at(count);
                fetch_run(segments, tag, *home, run, &mut records)?;
                others
            }
        };
    }
    Ok(records)
}

/// How many of the first entries lie behind each other in one segment. At least one.
fn run_length(wanted: &[Wanted]) -> usize {
    let mut bytes = 0;
    let mut count = 0;
    let mut expected = None;
    for next in wanted {
        let Source::Disk(Home { place: Place::Stored { segment, at }, length }) = next.source
        else {
            break;
        };
        if expected.is_some_and(|place| place != (segment, at)) || bytes > RUN_BYTES {
            break;
        }
        bytes += length as usize;
        count += 1;
        expected = Some((segment, at.saturating_add(length)));
    }
    count.max(1)
}

fn fetch_run(
    segments: &Segments,
    tag: Tag,
    start: Home,
    run: &[Wanted],
    records: &mut Vec<Record>,
) -> Result<()> {
    let Place::Stored { segment: number, at } = start.place else {
        return Err(Error::internal("an entry is neither in memory nor on disk"));
    };
    let Some(segment) = segments.get(number) else {
        return Err(
            Error::internal("an entry lies in a segment that was freed").with("segment", number)
        );
    };
    let length = run.iter().map(|wanted| match wanted.source {
        Source::Disk(home) => home.length as usize,
        Source::Memory(_) => 0,
    });
    let mut buffer = vec![0; length.sum()];
    segment.file.read_exact_at(&mut buffer, u64::from(at)).map_err(|error| {
        let unreadable = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
        let error = Error::from(error).with("file", segment.path.display()).with("offset", at);
        if unreadable { error.unreadable() } else { error }
    })?;
    let buffer = Bytes::from(buffer);
    let mut offset = 0;
    for wanted in run {
        let Some(record) = decode(&buffer, offset, tag, wanted.position) else {
            return Err(Error::new(Kind::Corruption, "an entry on disk is not what was written")
                .with("file", segment.path.display())
                .with("offset", at as usize + offset)
                .with("group", tag.group)
                .with("index", wanted.position.index));
        };
        offset += HEADER + record.payload.len();
        records.push(record);
    }
    Ok(())
}

/// The entry at that offset, if it is the one that should be there.
fn decode(buffer: &Bytes, offset: usize, tag: Tag, position: Position) -> Option<Record> {
    let (frame, _) = Frame::decode(buffer.get(offset..)?).ok()?;
    let is_entry = matches!(frame.action, Action::Entry | Action::Moved);
    let expected = is_entry && frame.tag == tag && frame.position == position;
    expected.then(|| Record {
        position,
        kind: frame.kind,
        payload: buffer.slice_ref(frame.payload),
    })
}
