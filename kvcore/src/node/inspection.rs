//! What is in the data directory of a node that does not run, and what is wrong with it. Nothing there is
//! changed.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::damage::{self, DAMAGED};
use super::identity::Identity;
use super::storage::{Directory, LOG, SNAPSHOTS, STATE};
use crate::engine::{Family, RocksEngine, StoppedEngine, View, keys};
use crate::metadata::{self, Change};
use crate::partition;
use crate::raft::audit;
use crate::types::{Error, GroupId, Kind, Result};
use crate::wal::{self, GroupLog, Position};

/// What is in a data directory.
#[derive(Debug, Default, Serialize)]
pub struct Inspection {
    /// The directory.
    pub directory: PathBuf,
    /// The node's id, in hexadecimal.
    pub node: Option<String>,
    /// Its cluster's, if it has come to one.
    pub cluster: Option<String>,
    /// The log's files.
    pub log: LogFiles,
    /// The state's files.
    pub state: StateFiles,
    /// What is kept of each group, partitions first.
    pub replicas: Vec<StoredReplica>,
    /// Snapshots whose installation was interrupted; the next start goes on with them.
    pub interrupted: Vec<String>,
    /// Replicas that were found damaged while the node ran, and have not been replaced yet.
    pub damaged: Vec<String>,
    /// What is wrong, one sentence each: empty for a sound directory.
    pub findings: Vec<String>,
}

/// The files of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogFiles {
    /// Segments.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that wait to become segments.
    pub spares: usize,
    /// Their bytes.
    pub spare_bytes: u64,
    /// Batches in the segments.
    pub batches: u64,
    /// Whether the end is known to be the end: else a last batch that a power failure damaged would not
    /// be told from one that was never acknowledged.
    pub stamped: bool,
}

/// The files of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StateFiles {
    /// How many hold data, or records about it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is kept of one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoredReplica {
    /// The group, `metadata` or `partition N`.
    pub group: String,
    /// The replica's id.
    pub replica: u64,
    /// The newest term that it knows of.
    pub term: Option<u64>,
    /// The index up to which its log was dropped.
    pub purged: Option<u64>,
    /// The index of the first entry in its log.
    pub first: Option<u64>,
    /// The index of the last one.
    pub last: Option<u64>,
    /// The index that was last known to be committed; it may lie further on.
    pub committed: Option<u64>,
    /// The index up to which its state on disk is applied.
    pub applied: Option<u64>,
    /// Entries in its log.
    pub entries: u64,
    /// Bytes of its log.
    pub log_bytes: u64,
    /// Keys in its state.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Its revision counter.
    pub revision: u64,
    /// Sessions that it remembers.
    pub sessions: usize,
}

/// Looks at a data directory; reads everything in it if `thorough`, and decodes it.
///
/// # Errors
/// `InvalidArgument` if there is no such directory or a process uses it, `NotFound` if no node has ever
/// used it, `Unsupported` if a newer version wrote it, `Internal`. Damage is no error but a finding.
pub fn inspect(dir: &Path, thorough: bool) -> Result<Inspection> {
    let _held = Directory::hold(dir)?;
    let mut inspection = Inspection { directory: dir.to_owned(), ..Inspection::default() };
    let metadata = inspection.identity(dir)?;
    let log = inspection.log(&dir.join(LOG), thorough)?;
    let state = inspection.open_state(&dir.join(STATE))?;
    if let Some(state) = &state {
        inspection.state(state, &log, thorough)?;
    }
    inspection.logs_without_state(&log);
    inspection.check_metadata(metadata);
    inspection.snapshots(&dir.join(SNAPSHOTS))?;
    inspection.notes(&dir.join(DAMAGED))?;
    let metadata_last = |replica: &StoredReplica| {
        let number = replica.group.rsplit(' ').next().and_then(|number| number.parse::<u32>().ok());
        (number.unwrap_or(u32::MAX), replica.replica)
    };
    inspection.replicas.sort_by_key(metadata_last);
    Ok(inspection)
}

impl Inspection {
    fn finding(&mut self, error: &Error) {
        self.findings.push(error.to_string());
    }

    /// Takes what was read, or what is wrong with it. What newer versions wrote is not judged.
    fn take<T>(&mut self, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.kind() == Kind::Unsupported => Err(error),
            Err(error) => {
                self.finding(&error);
                Ok(None)
            }
        }
    }

    /// The node's replica of the metadata group, if it has a place in a cluster.
    fn identity(&mut self, dir: &Path) -> Result<Option<u64>> {
        let Some(identity) = self.take(Identity::load(dir))? else { return Ok(None) };
        let Some(identity) = identity else {
            if dir.join(LOG).exists() || dir.join(STATE).exists() {
                self.finding(&Error::new(Kind::Corruption, "the directory has lost its identity"));
                return Ok(None);
            }
            return Err(Error::new(Kind::NotFound, "no node has ever used this directory")
                .with("directory", dir.display()));
        };
        self.node = Some(identity.node.to_string());
        let Some(place) = identity.place else { return Ok(None) };
        self.cluster = Some(place.cluster.to_string());
        for part in [LOG, STATE] {
            if !dir.join(part).is_dir() {
                let lost = Error::new(Kind::Corruption, "the directory has lost a part");
                self.finding(&lost.with("missing", dir.join(part).display()));
            }
        }
        Ok(Some(place.metadata.0))
    }

    fn log(&mut self, dir: &Path, thorough: bool) -> Result<Vec<GroupLog>> {
        if !dir.is_dir() {
            return Ok(Vec::new());
        }
        let Some(log) = self.take(wal::inspect(dir))? else { return Ok(Vec::new()) };
        self.log = LogFiles {
            segments: log.segments,
            bytes: log.bytes,
            spares: log.spares,
            spare_bytes: log.spare_bytes,
            batches: log.batches,
            stamped: log.end != wal::End::Open,
        };
        for damage in &log.damage {
            self.finding(damage);
        }
        if thorough {
            for group in &log.groups {
                let checked = log.for_each(group.tag, |record| {
                    let Some(payload) = audit::payload(record?)? else { return Ok(()) };
                    match group.tag.group {
                        GroupId::Metadata => Change::decode(&payload).map(drop),
                        GroupId::Partition(_) => partition::audit_entry(&payload).map(drop),
                    }
                });
                let checked = checked.map_err(|error| {
                    error.with("group", group.tag.group).with("replica", group.tag.replica)
                });
                self.take(checked)?;
            }
        }
        Ok(log.groups)
    }

    fn open_state(&mut self, dir: &Path) -> Result<Option<StoppedEngine>> {
        if !dir.is_dir() {
            return Ok(None);
        }
        self.take(RocksEngine::open_read_only(dir))
    }

    fn state(&mut self, state: &StoppedEngine, log: &[GroupLog], thorough: bool) -> Result<()> {
        for family in [Family::Data, Family::Meta] {
            if let Some(files) = self.take(state.files(family))? {
                self.state.files += files.count;
                self.state.bytes += files.bytes;
            }
            if thorough {
                self.take(state.check(family))?;
            }
        }
        let view = state.view();
        let Some(stored) = self.take(keys::replicas(view.as_ref()))? else { return Ok(()) };
        for (group, _) in stored {
            let read = self.stored(view.as_ref(), group, log);
            self.take(read.map_err(|error| error.with("group", group)))?;
        }
        Ok(())
    }

    /// What is stored of a group, and whether it fits the log of its replica.
    fn stored(&mut self, view: &dyn View, group: GroupId, logs: &[GroupLog]) -> Result<()> {
        let Some(stored) = audit::stored(view, group)? else { return Ok(()) };
        let log =
            logs.iter().find(|log| log.tag.group == group && log.tag.replica == stored.replica);
        let mut replica = StoredReplica {
            group: group.to_string(),
            replica: stored.replica.0,
            applied: stored.applied.map(|position| position.index),
            ..StoredReplica::default()
        };
        if let Some(log) = log {
            let described = describe(&mut replica, log);
            self.take(described)?;
        }
        match group {
            GroupId::Metadata => drop(metadata::stored(view)?),
            GroupId::Partition(number) => {
                let tally = partition::audit(view, number);
                if let Some(tally) = self.take(tally.map_err(|e| e.with("group", group)))? {
                    replica.keys = tally.keys;
                    replica.bytes = tally.bytes;
                    replica.revision = tally.revision;
                    replica.sessions = tally.sessions;
                }
            }
        }
        self.replicas.push(replica);
        continues(stored.applied, log).map_err(|error| error.with("replica", stored.replica))
    }

    /// Logs whose replicas have no state: of such as have just come, or have left and are to be deleted.
    fn logs_without_state(&mut self, logs: &[GroupLog]) {
        for log in logs {
            let (group, id) = (log.tag.group.to_string(), log.tag.replica.0);
            if self.replicas.iter().any(|known| known.group == group && known.replica == id) {
                continue;
            }
            let mut replica = StoredReplica { group, replica: id, ..StoredReplica::default() };
            if let Err(error) = describe(&mut replica, log) {
                self.finding(&error);
            }
            self.replicas.push(replica);
        }
    }

    fn check_metadata(&mut self, expected: Option<u64>) {
        let metadata = GroupId::Metadata.to_string();
        let found = self.replicas.iter().find(|replica| replica.group == metadata);
        let found = found.map(|replica| replica.replica);
        if let (Some(expected), Some(found)) = (expected, found)
            && expected != found
        {
            let other = "the metadata group's state is another replica's than the identity says";
            self.finding(
                &Error::new(Kind::Corruption, other)
                    .with("expected", expected)
                    .with("found", found),
            );
        }
    }

    fn snapshots(&mut self, dir: &Path) -> Result<()> {
        for interrupted in audit::interrupted(dir)? {
            if let Some(interrupted) = self.take(interrupted)? {
                self.interrupted.push(format!(
                    "{}: {} files, {} bytes, up to index {}",
                    interrupted.folder.display(),
                    interrupted.runs,
                    interrupted.bytes,
                    interrupted.position.map_or(0, |position| position.index)
                ));
            }
        }
        Ok(())
    }

    fn notes(&mut self, dir: &Path) -> Result<()> {
        if !dir.is_dir() {
            return Ok(());
        }
        let Some(damaged) = self.take(damage::read(dir))? else { return Ok(()) };
        for (partition, replica) in damaged {
            self.damaged.push(format!("partition {partition} replica {replica}"));
        }
        Ok(())
    }
}

/// What a log says of its replica.
fn describe(replica: &mut StoredReplica, log: &GroupLog) -> Result<()> {
    let index = |position: &Position| position.index;
    replica.purged = log.purged.as_ref().map(index);
    replica.first = log.first.as_ref().map(index);
    replica.last = log.last.as_ref().map(index);
    replica.entries = log.entries;
    replica.log_bytes = log.live_bytes;
    let vote = log.vote.as_deref().map(audit::vote).transpose();
    let committed = log.committed.as_deref().map(audit::committed).transpose();
    let at = |error: Error| error.with("group", log.tag.group).with("replica", log.tag.replica);
    replica.term = vote.map_err(at)?.map(|vote| vote.term);
    replica.committed = committed.map_err(at)?.as_ref().map(index);
    Ok(())
}

/// Checks that the log has everything behind what is applied: all that is missing there is lost.
fn continues(applied: Option<Position>, log: Option<&GroupLog>) -> Result<()> {
    let Some(log) = log else {
        return match applied {
            None => Ok(()),
            Some(_) => Err(Error::new(Kind::Corruption, "the replica has a state but no log")),
        };
    };
    let applied = applied.map_or(0, |position| position.index);
    match log.purged {
        Some(purged) if purged.index > applied => {
            Err(Error::new(Kind::Corruption, "the log has forgotten what the state does not have")
                .with("purged", purged.index)
                .with("applied", applied))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "inspection_test.rs"]
mod tests;
