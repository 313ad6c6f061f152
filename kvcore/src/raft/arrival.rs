//! One snapshot while it arrives.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::mark;
use super::staging::{Folder, Staged, sync_dir};
use crate::engine::{Content, Family, Run};
use crate::rpc::message::SnapshotChunk;
use crate::types::{Error, Kind, Result};

/// Runs that a snapshot may have. One is about 64 MiB on disk.
const RUNS: usize = 1 << 16;

/// A snapshot, as far as it is here.
pub(super) struct Arrival {
    transfer: u64,
    folder: Option<Folder>,
    memory_bytes: usize,
    runs: Vec<Arriving>,
    chunks: u32,
    bytes: u64,
    last: Instant,
    place: OwnedSemaphorePermit,
}

/// A run, as far as it is here.
struct Arriving {
    family: Family,
    bytes: u64,
    place: Place,
}

enum Place {
    File { path: PathBuf, file: File },
    Memory(Vec<u8>),
}

impl Arrival {
    /// The beginning of a transfer, into a folder or into memory.
    pub(super) fn new(
        transfer: u64,
        folder: Option<Folder>,
        memory_bytes: usize,
        place: OwnedSemaphorePermit,
    ) -> Arrival {
        let last = Instant::now();
        Arrival {
            transfer,
            folder,
            memory_bytes,
            runs: Vec::new(),
            chunks: 0,
            bytes: 0,
            last,
            place,
        }
    }

    pub(super) fn transfer(&self) -> u64 {
        self.transfer
    }

    /// How long ago the last chunk came.
    pub(super) fn idle(&self) -> Duration {
        self.last.elapsed()
    }

    /// Takes the next chunk. Blocks.
    ///
    /// # Errors
    /// As [`Staging::take`](super::staging::Staging::take).
    pub(super) fn take(&mut self, chunk: SnapshotChunk) -> Result<()> {
        let index = chunk.run as usize;
        let next_run = index == self.runs.len() && index < RUNS;
        if chunk.chunk != self.chunks || !(next_run || index + 1 == self.runs.len()) {
            return Err(Error::new(Kind::InvalidArgument, "snapshot chunk out of order")
                .with("chunk", chunk.chunk)
                .with("expected", self.chunks)
                .with("run", chunk.run));
        }
        if crc32c::crc32c(&chunk.data) != chunk.checksum {
            return Err(Error::new(Kind::Corruption, "snapshot chunk was damaged on its way")
                .with("chunk", chunk.chunk));
        }
        if next_run {
            let family = if chunk.data_family { Family::Data } else { Family::Meta };
            let place = self.begin_run()?;
            self.runs.push(Arriving { family, bytes: 0, place });
        }
        self.bytes += chunk.data.len() as u64;
        let (folder, bytes, limit) = (&self.folder, self.bytes, self.memory_bytes);
        let Some(run) = self.runs.last_mut() else {
            return Err(Error::internal("a snapshot chunk belongs to no run"));
        };
        run.bytes += chunk.data.len() as u64;
        match &mut run.place {
            Place::File { path, file } => file
                .write_all(&chunk.data)
                .map_err(|error| Error::from(error).with("file", path.display()))?,
            Place::Memory(_) if folder.is_none() && bytes > limit as u64 => {
                return Err(Error::new(Kind::TooLarge, "snapshot is too large for this node")
                    .with("limit", limit));
            }
            Place::Memory(held) => held.extend_from_slice(&chunk.data),
        }
        self.chunks += 1;
        self.last = Instant::now();
        Ok(())
    }

    fn begin_run(&self) -> Result<Place> {
        let Some(folder) = &self.folder else { return Ok(Place::Memory(Vec::new())) };
        let path = mark::run_path(folder.path(), self.runs.len());
        let file =
            File::create(&path).map_err(|error| Error::from(error).with("file", path.display()))?;
        Ok(Place::File { path, file })
    }

    /// The whole snapshot, its files synced. Blocks.
    ///
    /// # Errors
    /// As [`Staging::complete`](super::staging::Staging::complete).
    pub(super) fn complete(self, chunks: u32) -> Result<Staged> {
        if chunks != self.chunks {
            return Err(Error::new(Kind::InvalidArgument, "chunks of a snapshot are missing")
                .with("chunks", self.chunks)
                .with("expected", chunks));
        }
        let mut runs = Vec::with_capacity(self.runs.len());
        for Arriving { family, bytes, place } in self.runs {
            let content = match place {
                Place::File { path, file } => {
                    file.sync_data()
                        .map_err(|error| Error::from(error).with("file", path.display()))?;
                    Content::File { path, bytes }
                }
                Place::Memory(held) => Content::Memory(Bytes::from(held)),
            };
            runs.push(Run { family, content });
        }
        if let Some(folder) = &self.folder {
            let parent = folder.path().parent().unwrap_or(folder.path());
            sync_dir(folder.path())
                .and_then(|()| sync_dir(parent))
                .map_err(|error| Error::from(error).with("directory", folder.path().display()))?;
        }
        Ok(Staged::new(self.folder, runs, self.place))
    }
}
