//! A whole group, given by one replica to another that lies behind its log.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::staging::Staged;
use crate::engine::{Content, Family, Run, View, keys};
use crate::types::{Error, GroupId, Result};

/// About how many bytes one chunk carries.
const CHUNK: usize = 1024 * 1024;

/// A snapshot in one of its places.
pub enum SnapshotData {
    /// On the replica that gives it: a view to read it from.
    View(Arc<dyn View>),
    /// On the replica that gets it: what has arrived.
    Staged(Staged),
    /// Where a log is trimmed: nothing is copied, as what the log is to forget lies in the engine.
    Here,
}

/// What of a group travels: all but what belongs to the replica itself.
pub(super) fn travelling(group: GroupId) -> Vec<(Family, Range<Vec<u8>>)> {
    vec![(Family::Data, keys::data_range(group)), (Family::Meta, keys::records_range(group))]
}

/// All that is stored of a group.
pub(super) fn stored(group: GroupId) -> Vec<(Family, Range<Vec<u8>>)> {
    vec![(Family::Data, keys::data_range(group)), (Family::Meta, keys::meta_range(group))]
}

/// Reads a run chunk by chunk. A run of nothing is one chunk of nothing.
pub(super) struct Chunks {
    content: Reading,
    at: u64,
    bytes: u64,
    begun: bool,
}

enum Reading {
    File(File),
    Memory(Bytes),
}

impl Chunks {
    /// The chunks of a run. Blocks.
    ///
    /// # Errors
    /// `Internal` if its file cannot be opened.
    pub(super) fn of(run: Run) -> Result<Chunks> {
        let (content, bytes) = match run.content {
            Content::File { path, bytes } => {
                let file = File::open(&path)
                    .map_err(|error| Error::from(error).with("file", path.display()))?;
                // It is read through this handle only, and need not outlive it.
                std::fs::remove_file(&path)
                    .map_err(|error| Error::from(error).with("file", path.display()))?;
                (Reading::File(file), bytes)
            }
            Content::Memory(held) => {
                let bytes = held.len() as u64;
                (Reading::Memory(held), bytes)
            }
        };
        Ok(Chunks { content, at: 0, bytes, begun: false })
    }

    /// The next chunk; nothing after the last one. Blocks.
    ///
    /// # Errors
    /// `Internal` if the file cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>> {
        let left = self.bytes - self.at;
        if left == 0 && self.begun {
            return Ok(None);
        }
        self.begun = true;
        let length = left.min(CHUNK as u64) as usize;
        let chunk = match &self.content {
            Reading::File(file) => {
                let mut buffer = vec![0; length];
                file.read_exact_at(&mut buffer, self.at)?;
                Bytes::from(buffer)
            }
            Reading::Memory(held) => held.slice(self.at as usize..self.at as usize + length),
        };
        self.at += length as u64;
        Ok(Some(chunk))
    }
}

/// The places in the log that snapshots under way are of: what lies behind them is still needed, or the
/// replicas that get them would need another one at once. Cheap to clone; clones share them.
#[derive(Clone, Default)]
pub(super) struct Pins(Arc<Mutex<BTreeMap<u64, usize>>>);

impl Pins {
    /// Holds a place until it is dropped.
    pub(super) fn hold(&self, index: u64) -> Pin {
        *self.0.lock().entry(index).or_default() += 1;
        Pin { pins: self.clone(), index }
    }

    /// The lowest of the places that are held.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.0.lock().keys().next().copied()
    }
}

/// One place that is held.
pub(super) struct Pin {
    pins: Pins,
    index: u64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock();
        if let Some(holders) = pins.get_mut(&self.index) {
            *holders -= 1;
            if *holders == 0 {
                pins.remove(&self.index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(run: Run) -> Vec<Bytes> {
        let mut chunks = Chunks::of(run).unwrap();
        std::iter::from_fn(|| chunks.next().unwrap()).collect()
    }

    #[test]
    fn a_run_comes_apart_and_together_again() {
        let dir = tempfile::tempdir().unwrap();
        for length in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let bytes: Vec<u8> = (0..length).map(|at| (at / 7) as u8).collect();
            let path = dir.path().join("run");
            std::fs::write(&path, &bytes).unwrap();
            for content in [
                Content::Memory(Bytes::from(bytes.clone())),
                Content::File { path: path.clone(), bytes: length as u64 },
            ] {
                let chunks = chunks(Run { family: Family::Data, content });
                assert_eq!(chunks.len(), length.div_ceil(CHUNK).max(1));
                assert_eq!(chunks.concat(), bytes);
            }
            assert!(!path.exists(), "a file that is sent takes no room");
        }
    }

    #[test]
    fn a_place_is_held_as_long_as_somebody_holds_it() {
        let pins = Pins::default();
        assert_eq!(pins.lowest(), None);
        let first = pins.hold(5);
        let second = pins.hold(5);
        let later = pins.hold(9);
        drop(first);
        assert_eq!(pins.lowest(), Some(5));
        drop(second);
        assert_eq!(pins.lowest(), Some(9));
        drop(later);
        assert_eq!(pins.lowest(), None);
    }
}
