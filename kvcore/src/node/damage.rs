//! Replicas on this node whose log or state is damaged.
//!
//! Such a replica has forgotten something that it promised: it must neither vote nor lead any more, not
//! after a restart either. So it is written down, as an empty file in `damaged/`, before anything else
//! is done about it, and forgotten only when the map has another replica in its place.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::types::{Error, Kind, PartitionId, ReplicaId, Result};

/// The folder of the notes.
pub(super) const DAMAGED: &str = "damaged";

/// What is known to be damaged. Thread-safe.
pub(super) struct Damage {
    dir: Option<PathBuf>,
    known: Mutex<BTreeMap<PartitionId, ReplicaId>>,
}

impl Damage {
    /// What was noted in that data directory; nothing if there is none.
    ///
    /// # Errors
    /// `Internal` if the notes cannot be read.
    pub(super) fn load(data_dir: Option<&Path>) -> Result<Damage> {
        let dir = data_dir.map(|data_dir| data_dir.join(DAMAGED));
        let known = match &dir {
            Some(dir) if dir.is_dir() => {
                read(dir).map_err(|error| error.with("directory", dir.display()))?
            }
            _ => BTreeMap::new(),
        };
        Ok(Damage { dir, known: Mutex::new(known) })
    }

    /// Notes, durably, that a replica is damaged. Blocks.
    ///
    /// # Errors
    /// `StorageFull`, `Internal`; it is known all the same, as long as this process lives.
    pub(super) fn note(&self, partition: PartitionId, replica: ReplicaId) -> Result<()> {
        self.known.lock().insert(partition, replica);
        let Some(dir) = &self.dir else { return Ok(()) };
        let written = || {
            if !dir.is_dir() {
                fs::create_dir(dir)?;
                sync(dir.parent().unwrap_or(dir))?;
            }
            File::create(path(dir, partition, replica))?.sync_all()?;
            sync(dir)
        };
        written().map_err(|error| Error::from(error).with("directory", dir.display()))
    }

    /// The replica of that partition that is damaged, if one is.
    pub(super) fn of(&self, partition: PartitionId) -> Option<ReplicaId> {
        self.known.lock().get(&partition).copied()
    }

    /// All that is damaged.
    pub(super) fn all(&self) -> BTreeMap<PartitionId, ReplicaId> {
        self.known.lock().clone()
    }

    /// Forgets a replica that has been replaced. Blocks.
    ///
    /// # Errors
    /// `Internal`; it is forgotten all the same.
    pub(super) fn forget(&self, partition: PartitionId) -> Result<()> {
        let Some(replica) = self.known.lock().remove(&partition) else { return Ok(()) };
        let Some(dir) = &self.dir else { return Ok(()) };
        let path = path(dir, partition, replica);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::from(error).with("file", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// What the notes in that folder speak of.
///
/// # Errors
/// `Corruption` for a file that is no note; `Internal`.
pub(super) fn read(dir: &Path) -> Result<BTreeMap<PartitionId, ReplicaId>> {
    let mut known = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let parsed = name.split_once('-').and_then(|(partition, replica)| {
            Some((PartitionId(partition.parse().ok()?), ReplicaId(replica.parse().ok()?)))
        });
        let (partition, replica) = parsed.ok_or_else(|| {
            Error::new(Kind::Corruption, "not the note of a damaged replica").with("name", &name)
        })?;
        known.insert(partition, replica);
    }
    Ok(known)
}

fn path(dir: &Path, partition: PartitionId, replica: ReplicaId) -> PathBuf {
    dir.join(format!("{partition}-{replica}"))
}

fn sync(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId(7);

    #[test]
    fn what_is_noted_is_known_after_a_restart_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let damage = Damage::load(Some(dir.path())).unwrap();
        assert_eq!(damage.of(P), None);
        damage.note(P, ReplicaId(30)).unwrap();
        damage.note(PartitionId(8), ReplicaId(31)).unwrap();
        let again = Damage::load(Some(dir.path())).unwrap();
        assert_eq!(again.of(P), Some(ReplicaId(30)));
        assert_eq!(again.all().len(), 2);
        again.forget(P).unwrap();
        assert_eq!(Damage::load(Some(dir.path())).unwrap().of(P), None);
        // And without a directory, as long as the process lives.
        let memory = Damage::load(None).unwrap();
        memory.note(P, ReplicaId(30)).unwrap();
        assert_eq!(memory.of(P), Some(ReplicaId(30)));
    }
}
