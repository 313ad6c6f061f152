//! Finds out what is on disk when the log is opened, and makes sure of it.
//!
//! `scan` reads the batches. The end of the log may be torn by a power failure: writing goes on in a
//! fresh segment, whose header from then on says that nothing is missing there.
//!
//! The last batch may have been written but not synced by a process that died: it reads well, but
//! may lie in the kernel's memory only, even marked as clean after a failed sync. It is therefore
//! written once more, and synced, before anything builds on it. So may names in the directory. Once
//! that is done, the last batch gets a stamp as from the writer, unless it is one: damage to it is then
//! found even if nobody writes before the next time.
//!
//! None of it needs more room on the disk.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::batch::{ALIGNMENT, Batch, Label};
use super::disk::Disk;
use super::group::Contents;
use super::keeper::SPARES;
use super::record::Tag;
use super::scan::{Last, OnDamage, Scanned, list, open_segments};
use super::segment::{Segment, Spare, parse_name, spare_path};
use crate::types::{Error, Result};

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
    let names = list(disk, dir)?;
    let mut strictly = OnDamage::Refuse;
    let found = open_segments(dir, &names, |path| disk.open(path), &mut strictly)?;
    let scanned = Scanned::read(&found, &mut strictly)?;
    if let (Some(found), Some(last)) = (found.last(), scanned.last) {
        harden(&found.segment, last, scanned.next_sequence)?;
    }
    let last_number = found.last().map_or(0, |found| found.segment.number);
    let spares = open_spares(disk, dir, &names, segment_bytes, found.is_empty())?;
    let next_spare = names.iter().filter_map(|name| parse_name(name, "free")).max();
    disk.sync_dir(dir).map_err(at_dir)?;
    let mut groups = HashMap::new();
    for (tag, replay) in scanned.replays {
        groups.insert(tag, replay.finish(tag)?);
    }
    let segments = found.into_iter().map(|found| (found.segment.number, found.segment));
    Ok(Recovered {
        groups,
        segments: segments.collect(),
        spares,
        next_segment: last_number.saturating_add(1),
        next_spare: next_spare.map_or(0, |last| last.saturating_add(1)),
        next_sequence: scanned.next_sequence,
    })
}

/// Writes the last batch once more and syncs, then stamps it. The stamp must not come first: it says that
/// the batch before it is durable.
fn harden(segment: &Segment, last: Last, next_sequence: u64) -> Result<()> {
    let Segment { number, file, path, size, .. } = segment;
    let at_path = |error: std::io::Error| Error::from(error).with("file", path.display());
    let mut bytes = vec![0; last.length];
    file.read_exact_at(&mut bytes, last.offset).map_err(at_path)?;
    file.write_all_at(&bytes, last.offset).map_err(at_path)?;
    file.sync_data().map_err(at_path)?;
    let offset = last.offset + last.length.next_multiple_of(ALIGNMENT) as u64;
    if last.records > 0 && offset + ALIGNMENT as u64 <= *size {
        let (sequence, oldest) = (next_sequence, last.oldest);
        let label = Label { sequence, oldest, segment: *number, offset };
        file.write_all_at(Batch::new(0, Vec::new()).finish(label), offset).map_err(at_path)?;
    }
    Ok(())
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

#[cfg(test)]
#[path = "recovery_test.rs"]
mod tests;
