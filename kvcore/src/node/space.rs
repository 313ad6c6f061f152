//! How much room the disk has, and what is held back for when it has none.
//!
//! A full disk is met in two steps. When little is left the node takes no more writes of its own and has
//! others lead, while it still follows: that is [`Level::Low`]. To clear up it needs room itself (tables
//! are written out, logs trimmed, files merged), so a part of the disk is held back all the time, in a
//! file of nothing, and given back at that moment. When not even the log gets its next segment, it
//! stops following as well: [`Level::Out`]. Reads go on in either case. As soon as there is room again
//! for what is held back and some more, it is held back again, and the node takes writes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use tokio::sync::watch;

use super::core::Core;
use super::storage::Storage;
use crate::types::config::StorageConfig;
use crate::types::{Error, Kind, Result};

/// How often the room is looked at. What is agreed on between two looks at a disk that has just filled up
/// must fit into tables in memory, or reads would wait for it as well.
const PERIOD: Duration = Duration::from_millis(50);
/// The file of what is held back.
const RESERVE: &str = "reserve";
/// What is held back is no more than one in so many bytes of the file system.
const SHARE: u64 = 16;
/// Room is low when less is free than one in so many bytes of what is held back.
const LOW: u64 = 4;

/// How much room there is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Level {
    /// Enough.
    Plenty,
    /// No more writes of the node's own.
    Low,
    /// Nothing more at all.
    Out,
}

/// The room there is, now and as it changes.
#[derive(Clone)]
pub(super) struct Space {
    level: watch::Receiver<Level>,
    room: watch::Receiver<Option<u64>>,
}

impl Space {
    /// The room there is.
    pub(super) fn level(&self) -> Level {
        *self.level.borrow()
    }

    /// What is free on the disk beyond what is held back, in bytes; None for a node in memory, or if the file
    /// system does not say.
    pub(super) fn room(&self) -> Option<u64> {
        *self.room.borrow()
    }

    /// Checks that a write can be taken; one that removes something may make room, and is taken as long
    /// as it can be written down.
    ///
    /// # Errors
    /// `StorageFull`.
    pub(super) fn admit(&self, removes: bool) -> Result<()> {
        match self.level() {
            Level::Plenty => Ok(()),
            Level::Low if removes => Ok(()),
            Level::Low | Level::Out => {
                Err(Error::new(Kind::StorageFull, "the disk of the partition's leader is full"))
            }
        }
    }
}

/// Looks after the room on the disk of one node. It is looked at by [`run`] only.
pub(super) struct Keeper {
    reserve: Option<Reserve>,
    level: watch::Sender<Level>,
    room: watch::Sender<Option<u64>>,
    /// Whether the file system did not say how much room there is when it was last asked.
    silent: bool,
}

/// What is held back.
struct Reserve {
    path: PathBuf,
    wanted: u64,
}

/// Gives back what is held back for a data directory, if its disk is too full to open what is there.
///
/// # Errors
/// `Internal` if the file system does not say how large it is.
pub(super) fn make_room(dir: &Path, config: &StorageConfig) -> Result<()> {
    Reserve::of(dir, config)?.look_before_opening()
}

impl Keeper {
    /// For a node with that storage; one in memory has all the room it wants.
    ///
    /// # Errors
    /// `Internal` if the file system does not say how large it is.
    pub(super) fn new(storage: &Storage) -> Result<(Keeper, Space)> {
        let reserve = match storage.directory() {
            None => None,
            Some(dir) => Some(Reserve::of(dir, storage.config())?),
        };
        let (sender, level) = watch::channel(Level::Plenty);
        let (of_room, room) = watch::channel(None);
        let mut keeper = Keeper { reserve, level: sender, room: of_room, silent: false };
        keeper.look(false);
        Ok((keeper, Space { level, room }))
    }

    /// Looks at the room there is. Blocks, for as long as it takes to allocate the reserve.
    fn look(&mut self, log_is_full: bool) {
        let Some(reserve) = &self.reserve else { return };
        let level = match reserve.look() {
            Ok(level) if log_is_full => level.max(Level::Out),
            Ok(level) => level,
            Err(error) => {
                if !std::mem::replace(&mut self.silent, true) {
                    tracing::warn!(%error, "the room on the disk is not known");
                }
                return;
            }
        };
        self.silent = false;
        self.room.send_replace(reserve.room().ok());
        self.level.send_if_modified(|known| {
            let changed = *known != level;
            if changed && level == Level::Plenty {
                tracing::info!("the disk has room again: writes are taken");
            } else if changed {
                tracing::warn!(?level, "the disk is full: no writes are taken");
            }
            *known = level;
            changed
        });
    }
}

impl Reserve {
    fn of(dir: &Path, config: &StorageConfig) -> Result<Reserve> {
        let (_, size) = room(dir)?;
        Ok(Reserve { path: dir.join(RESERVE), wanted: config.disk_reserve.min(size / SHARE) })
    }

    fn look_before_opening(&self) -> Result<()> {
        let (free, _) = room(self.path.parent().unwrap_or(Path::new(".")))?;
        if free > self.wanted / LOW { Ok(()) } else { release(&self.path) }
    }

    fn look(&self) -> Result<Level> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let (free, _) = room(dir)?;
        let held = held(&self.path)?;
        let low = self.wanted / LOW;
        if held >= self.wanted {
            if free > low {
                return Ok(Level::Plenty);
            }
            // Now it is needed. It may be gone already if somebody cleared up by hand.
            release(&self.path)?;
            return Ok(Level::Low);
        }
        // With some room to spare, so that it does not go to and fro.
        if free > self.wanted + 2 * low && self.hold_back()? {
            return Ok(Level::Plenty);
        }
        Ok(Level::Low)
    }

    /// What is free beyond the reserve, whether or not that is held back just now.
    fn room(&self) -> Result<u64> {
        let (free, _) = room(self.path.parent().unwrap_or(Path::new(".")))?;
        let lacking = self.wanted.saturating_sub(held(&self.path)?);
        Ok(free.saturating_sub(lacking))
    }

    /// Allocates the reserve; whether it could be had.
    fn hold_back(&self) -> Result<bool> {
        let at_path = |error: std::io::Error| Error::from(error).with("file", self.path.display());
        let file = File::create(&self.path).map_err(at_path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, self.wanted) {
            Ok(()) => Ok(true),
            // A file system that cannot hold anything back is still watched.
            Err(Errno::OPNOTSUPP) => file.set_len(self.wanted).map(|()| true).map_err(at_path),
            Err(error) => {
                release(&self.path)?;
                let error = at_path(error.into());
                if error.kind() == Kind::StorageFull { Ok(false) } else { Err(error) }
            }
        }
    }
}

/// What is free for this process, and the size of the file system, in bytes.
fn room(dir: &Path) -> Result<(u64, u64)> {
    let stat = statvfs(dir).map_err(std::io::Error::from);
    let stat = stat.map_err(|error| Error::from(error).with("directory", dir.display()))?;
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

fn held(path: &Path) -> Result<u64> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::from(error).with("file", path.display())),
    }
}

fn release(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::from(error).with("file", path.display()))
        }
        _ => Ok(()),
    }
}

/// Runs until it is dropped.
pub(super) async fn run(core: Arc<Core>, mut keeper: Keeper) {
    if keeper.reserve.is_none() {
        return;
    }
    loop {
        let full = core.storage.log_is_full();
        let looked = tokio::task::spawn_blocking(move || {
            keeper.look(full);
            keeper
        });
        keeper = match looked.await {
            Ok(keeper) => keeper,
            // Only the end of the node ends it.
            Err(_) => return,
        };
        tokio::time::sleep(PERIOD).await;
    }
}

#[cfg(test)]
#[path = "space_test.rs"]
mod tests;
