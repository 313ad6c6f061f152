//! Replicas on this node whose log or state is damaged.
//!
//! Such a replica has forgotten something that it promised: it must neither vote nor lead any more, not
//! after a restart either. So it is written down, as an empty file in `damaged/`, before anything else
//! is done about it, and forgotten only when the map has another replica in its place.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::types::{Error, GroupId, Kind, PartitionId, ReplicaId, Result};

/// The folder of the notes.
pub(super) const DAMAGED: &str = "damaged";

/// So many times the disk may refuse to read a replica's log or state before it counts as damaged: one that
/// could not be reached for a moment is no reason to give up what is on it.
const DOUBTS: u32 = 3;
/// Refusals that follow each other sooner are one.
const APART: Duration = Duration::from_secs(10);
/// One that is so long ago is forgotten.
const LONG_AGO: Duration = Duration::from_secs(3600);

/// What is known to be damaged. Thread-safe.
pub(super) struct Damage {
    dir: Option<PathBuf>,
    known: Mutex<BTreeMap<PartitionId, ReplicaId>>,
    doubts: Mutex<BTreeMap<PartitionId, Doubts>>,
}

/// How often the disk has refused to read what a replica has, and when it last did.
#[derive(Clone, Copy)]
struct Doubts {
    replica: ReplicaId,
    count: u32,
    last: Instant,
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
        Ok(Damage { dir, known: Mutex::new(known), doubts: Mutex::default() })
    }

    /// The disk has refused to read what a replica has: whether that has happened often enough by now to
    /// take it for damaged.
    pub(super) fn doubt(&self, partition: PartitionId, replica: ReplicaId, now: Instant) -> bool {
        let mut all = self.doubts.lock();
        let first = Doubts { replica, count: 1, last: now };
        let doubts = all.entry(partition).or_insert(first);
        let since = now.saturating_duration_since(doubts.last);
        if doubts.replica != replica || since > LONG_AGO {
            *doubts = first;
        } else if since >= APART {
            *doubts = Doubts { replica, count: doubts.count + 1, last: now };
        }
        doubts.count >= DOUBTS
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

    /// Notes what was found when the state was looked through. Blocks.
    ///
    /// # Errors
    /// The damage itself, if it is the metadata group's: without the map the node is nothing. Else as
    /// [`note`](Damage::note).
    pub(super) fn salvaged(&self, group: GroupId, replica: ReplicaId, damage: Error) -> Result<()> {
        match group {
            GroupId::Partition(partition) => {
                tracing::error!(%partition, %replica, error = %damage, "replica is damaged");
                self.note(partition, replica)
            }
            GroupId::Metadata => Err(damage),
        }
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
    /// `Internal`; it is forgotten all the same, until the next start.
    pub(super) fn forget(&self, partition: PartitionId) -> Result<()> {
        let Some(replica) = self.known.lock().remove(&partition) else { return Ok(()) };
        let Some(dir) = &self.dir else { return Ok(()) };
        let path = path(dir, partition, replica);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::from(error).with("file", path.display()))
            }
            _ => sync(dir).map_err(|error| Error::from(error).with("directory", dir.display())),
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

    #[test]
    fn a_disk_that_refuses_for_a_moment_is_no_damage() {
        let damage = Damage::load(None).unwrap();
        let (one, other) = (ReplicaId(30), ReplicaId(31));
        let mut now = Instant::now();
        for _ in 0..100 {
            assert!(!damage.doubt(P, one, now), "at the same time");
        }
        now += APART;
        assert!(!damage.doubt(P, one, now));
        assert!(!damage.doubt(PartitionId(8), one, now), "another partition");
        assert!(damage.doubt(P, one, now + APART), "again and again");
        assert!(!damage.doubt(P, other, now + APART), "its successor");
        assert!(!damage.doubt(P, other, now + APART * 2));
        assert!(!damage.doubt(P, other, now + APART * 3 + LONG_AGO), "long ago");
    }
}
