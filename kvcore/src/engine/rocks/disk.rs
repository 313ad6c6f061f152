//! The engine of a node on disk: a [`RocksEngine`] that can be opened anew where it stands, and rid of what
//! is damaged in it.
//!
//! Everybody holds the one engine of a node, so it cannot be replaced by another; what it is made of can.
//! After a failure that RocksDB does not get over, [`Engine::reopen`] closes the database and opens what
//! is on disk. If files of it turned out to be damaged that would fail again as soon as they are merged, so
//! [`Engine::salvage`] copies what can be read, group by group, into a new database, and puts that in the
//! place of the old one in a single step.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::RwLock;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{RocksEngine, RocksOptions};
use crate::engine::{Batch, Engine, Family, Part, Ranges, Run, Runs, View};
use crate::types::{Error, Kind, Result};

/// How long to wait for views to be let go of.
const RELEASE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// An engine over one directory that outlives failures of its database.
pub struct DiskEngine {
    dir: PathBuf,
    options: RocksOptions,
    /// None while it is opened anew, and after that has failed.
    open: RwLock<Option<Arc<RocksEngine>>>,
}

impl DiskEngine {
    /// As [`RocksEngine::open`].
    ///
    /// # Errors
    /// As [`RocksEngine::open`].
    pub fn open(dir: &Path, options: RocksOptions) -> Result<DiskEngine> {
        remove(&salvaged(dir))?;
        let engine = RocksEngine::open(dir, options.clone())?;
        Ok(DiskEngine { dir: dir.to_owned(), options, open: RwLock::new(Some(Arc::new(engine))) })
    }

    fn engine(&self) -> Result<Arc<RocksEngine>> {
        self.open.read().clone().ok_or_else(|| {
            Error::new(Kind::Unavailable, "the state is being opened anew")
                .with("directory", self.dir.display())
        })
    }

    /// Takes the database away from everybody else; gives it back if somebody does not let go of it. None
    /// if there is none.
    fn take(&self) -> Result<Option<Arc<RocksEngine>>> {
        let Some(engine) = self.open.write().take() else { return Ok(None) };
        let since = Instant::now();
        while Arc::strong_count(&engine) > 1 || engine.viewers() > 0 {
            if since.elapsed() > RELEASE {
                let viewers = engine.viewers();
                *self.open.write() = Some(engine);
                return Err(Error::new(Kind::Overloaded, "the state is still in use")
                    .with("views", viewers));
            }
            sleep(PAUSE);
        }
        Ok(Some(engine))
    }

    fn open_again(&self) -> Result<()> {
        let engine = RocksEngine::open(&self.dir, self.options.clone())?;
        *self.open.write() = Some(Arc::new(engine));
        Ok(())
    }

    /// Copies into a new database what can be read of the old one.
    fn copy(
        &self,
        old: &Arc<RocksEngine>,
        groups: &[Ranges],
        damaged: &mut dyn FnMut(usize, Error) -> Result<()>,
    ) -> Result<()> {
        let new = salvaged(&self.dir);
        remove(&new)?;
        let fresh = RocksEngine::open(&new, self.options.clone())?;
        let runs_dir = new.join("runs");
        for (number, ranges) in groups.iter().enumerate() {
            remove(&runs_dir)?;
            fs::create_dir(&runs_dir)?;
            let runs: Result<Vec<Run>> =
                old.export(old.view()?, ranges.clone(), &runs_dir).collect();
            match runs {
                Ok(runs) => fresh.import(ranges, &runs, &Batch::new())?,
                Err(error) if error.kind() == Kind::Corruption || error.is_unreadable() => {
                    damaged(number, error)?;
                }
                Err(error) => return Err(error),
            }
        }
        remove(&runs_dir)?;
        fresh.flush()
    }
}

/// Where the copy is made: beside the directory, so that the two can change places.
fn salvaged(dir: &Path) -> PathBuf {
    dir.with_extension("salvaged")
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::from(error).with("directory", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Has two directories change places, durably and in one step.
fn exchange(one: &Path, other: &Path) -> Result<()> {
    let exchanged = || {
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
        fs::File::open(one.parent().unwrap_or(one))?.sync_all()
    };
    exchanged().map_err(|error: io::Error| Error::from(error).with("directory", one.display()))
}

impl std::fmt::Debug for DiskEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskEngine").field("directory", &self.dir).finish_non_exhaustive()
    }
}

impl Engine for DiskEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.engine()?.get(family, key)
    }

    fn get_persisted(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.engine()?.get_persisted(family, key)
    }

    fn write(&self, batch: &Batch) -> Result<()> {
        self.engine()?.write(batch)
    }

    fn failure(&self) -> Option<Error> {
        match self.engine() {
            Ok(engine) => engine.failure(),
            Err(error) => Some(error.into_kind(Kind::Internal)),
        }
    }

    fn reopen(&self) -> Result<()> {
        drop(self.take()?);
        self.open_again()
    }

    fn salvage(
        &self,
        groups: &[Ranges],
        damaged: &mut dyn FnMut(usize, Error) -> Result<()>,
    ) -> Result<()> {
        if self.open.read().is_none() {
            self.open_again()?;
        }
        let Some(old) = self.take()? else {
            return Err(Error::internal("there is no state open to be salvaged"));
        };
        if let Err(error) = self.copy(&old, groups, damaged) {
            *self.open.write() = Some(old);
            return Err(error);
        }
        drop(old);
        exchange(&self.dir, &salvaged(&self.dir))?;
        remove(&salvaged(&self.dir))?;
        self.open_again()
    }

    fn view(&self) -> Result<Arc<dyn View>> {
        self.engine()?.view()
    }

    fn flush(&self) -> Result<()> {
        self.engine()?.flush()
    }

    fn export(&self, view: Arc<dyn View>, ranges: Ranges, dir: &Path) -> Runs {
        match self.engine() {
            Ok(engine) => engine.export(view, ranges, dir),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn import(&self, ranges: &[Part], runs: &[Run], last: &Batch) -> Result<()> {
        self.engine()?.import(ranges, runs, last)
    }

    fn approximate_bytes(&self, family: Family, range: std::ops::Range<Vec<u8>>) -> Result<u64> {
        self.engine()?.approximate_bytes(family, range)
    }
}

#[cfg(test)]
#[path = "disk_test.rs"]
mod tests;
