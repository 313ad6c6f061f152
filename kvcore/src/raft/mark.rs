//! The mark: files that have arrived are to become a replica's state.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::staging::sync_dir;
use crate::engine::{Content, Family, Run};
use crate::types::{Error, Kind, Result};
use crate::wal::Position;

const FORMAT: u8 = 1;

/// What is to be installed, and as what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The place in the log that the state is of.
    pub(super) position: Option<Position>,
    /// How far the state is applied, as it is stored beside the data.
    pub(super) applied: Bytes,
    /// The runs, in order: whether each is of the data family, and its bytes.
    runs: Vec<(bool, u64)>,
}

/// Where a run lies.
pub(super) fn run_path(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("{index}.run"))
}

impl Mark {
    pub(super) const NAME: &'static str = "mark";

    pub(super) fn new(position: Option<Position>, applied: Bytes, runs: &[Run]) -> Mark {
        let runs = runs.iter().map(|run| {
            let bytes = match &run.content {
                Content::File { bytes, .. } => *bytes,
                Content::Memory(held) => held.len() as u64,
            };
            (run.family == Family::Data, bytes)
        });
        Mark { position, applied, runs: runs.collect() }
    }

    /// The files that the mark in that folder speaks of.
    pub(super) fn runs(&self, dir: &Path) -> Vec<Run> {
        let run = |(index, (data, bytes)): (usize, &(bool, u64))| Run {
            family: if *data { Family::Data } else { Family::Meta },
            content: Content::File { path: run_path(dir, index), bytes: *bytes },
        };
        self.runs.iter().enumerate().map(run).collect()
    }

    /// Writes the mark, whole or not at all, and durably.
    ///
    /// # Errors
    /// `StorageFull`, `Internal`.
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let mut bytes = postcard::to_extend(self, vec![FORMAT])
            .map_err(|error| Error::internal("mark cannot be encoded").because(error))?;
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let (new, path) = (dir.join("mark.new"), dir.join(Self::NAME));
        let written = || {
            let mut file = File::create(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            sync_dir(dir)
        };
        written().map_err(|error: std::io::Error| Error::from(error).with("file", path.display()))
    }

    /// The mark in a folder, if there is one.
    ///
    /// # Errors
    /// `Corruption` if it is damaged; `Unsupported` for one of a newer version; `Internal`.
    pub(super) fn read(dir: &Path) -> Result<Option<Mark>> {
        let path = dir.join(Self::NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::from(error).with("file", path.display())),
        };
        Self::decode(&bytes).map(Some).map_err(|error| error.with("file", path.display()))
    }

    fn decode(bytes: &[u8]) -> Result<Mark> {
        let damaged = || Error::new(Kind::Corruption, "the mark of a snapshot is damaged");
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return Err(damaged());
        }
        match body.split_first() {
            Some((&FORMAT, rest)) => {
                postcard::from_bytes(rest).map_err(|error| damaged().because(error))
            }
            other => {
                Err(Error::new(Kind::Unsupported, "the mark of a snapshot is of another version")
                    .with("format", other.map_or(0, |(format, _)| *format))
                    .with("known", FORMAT))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        let run =
            |family, bytes| Run { family, content: Content::File { path: PathBuf::new(), bytes } };
        Mark::new(
            Some(Position { term: 3, index: 9 }),
            Bytes::from_static(b"applied"),
            &[run(Family::Data, 70), run(Family::Meta, 5)],
        )
    }

    #[test]
    fn a_mark_reads_back_with_its_runs() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), None);
        mark().write(dir.path()).unwrap();
        let read = Mark::read(dir.path()).unwrap().unwrap();
        assert_eq!(read, mark());
        let runs = read.runs(dir.path());
        assert_eq!((runs[0].family, runs[1].family), (Family::Data, Family::Meta));
        let Content::File { path, bytes } = &runs[1].content else { panic!("a file") };
        assert_eq!((path, *bytes), (&dir.path().join("1.run"), 5));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found() {
        let dir = tempfile::tempdir().unwrap();
        mark().write(dir.path()).unwrap();
        let path = dir.path().join(Mark::NAME);
        let whole = fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).unwrap();
            assert_eq!(Mark::read(dir.path()).unwrap_err().kind(), Kind::Corruption, "bit {bit}");
        }
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(Mark::read(dir.path()).unwrap_err().kind(), Kind::Corruption, "cut {cut}");
        }
    }
}
