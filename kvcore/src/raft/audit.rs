//! What is stored of a replica, told without running it: for checks of a stopped node.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::log_store::{self, decode_position, decode_vote};
use super::mark::Mark;
use super::state_machine::Applied;
use super::types::position;
use crate::engine::{Content, Family, View, keys};
use crate::types::{Error, GroupId, Kind, ReplicaId, Result};
use crate::wal::{Position, Record};

/// What a replica's vote says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The newest term that the replica knows of.
    pub term: u64,
    /// The replica that it voted for in that term.
    pub voted_for: ReplicaId,
}

/// What a state says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Whose state it is.
    pub replica: ReplicaId,
    /// How far the log is applied.
    pub applied: Option<Position>,
    /// The voters of the group as of then.
    pub voters: Vec<ReplicaId>,
}

/// The vote in a log.
///
/// # Errors
/// `Corruption`.
pub fn vote(stored: &[u8]) -> Result<Vote> {
    let vote = decode_vote(stored)?;
    Ok(Vote { term: vote.leader_id.term, voted_for: ReplicaId(vote.leader_id.voted_for) })
}

/// The committed position in a log.
///
/// # Errors
/// `Corruption`.
pub fn committed(stored: &[u8]) -> Result<Position> {
    decode_position(stored)
}

/// What an entry carries for the floors above; nothing if it is Raft's own.
///
/// # Errors
/// `Corruption`.
pub fn payload(record: Record) -> Result<Option<Bytes>> {
    use openraft::impls::EntryPayload;
    match log_store::entry(record)?.payload {
        EntryPayload::Normal(payload) => Ok(Some(payload.0)),
        EntryPayload::Blank | EntryPayload::Membership(_) => Ok(None),
    }
}

/// What the state of a group says about itself.
///
/// # Errors
/// `Corruption`; what the view says.
pub fn stored(view: &dyn View, group: GroupId) -> Result<Option<Stored>> {
    let Some(owner) = view.get(Family::Meta, &keys::replica(group))? else { return Ok(None) };
    let owner: [u8; 8] = owner.as_ref().try_into().map_err(|_| {
        Error::new(Kind::Corruption, "the stored replica id has the wrong length")
            .with("group", group)
            .with("bytes", owner.len())
    })?;
    let applied = view.get(Family::Meta, &keys::applied(group))?;
    let applied = applied.map_or(Ok(Applied::default()), |bytes| Applied::decode(&bytes))?;
    let meta = applied.meta()?;
    let membership = meta.last_membership.membership();
    Ok(Some(Stored {
        replica: ReplicaId(u64::from_le_bytes(owner)),
        applied: meta.last_log_id.as_ref().map(position),
        voters: membership.voter_ids().map(ReplicaId).collect(),
    }))
}

/// A snapshot whose installation was interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// Its folder.
    pub folder: PathBuf,
    /// The place in the log that it is of.
    pub position: Option<Position>,
    /// Its files.
    pub runs: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// The snapshots in that directory whose installation was interrupted; the next start of the node goes on
/// with them. Each may be damaged.
///
/// # Errors
/// `Internal` if the directory cannot be read.
pub fn interrupted(dir: &Path) -> Result<Vec<Result<Interrupted>>> {
    let mut found = Vec::new();
    if !dir.is_dir() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(dir)? {
        let folder = entry?.path();
        match Mark::read(&folder) {
            Ok(None) => {}
            Ok(Some(mark)) => found.push(check(folder, &mark)),
            Err(error) => found.push(Err(error)),
        }
    }
    Ok(found)
}

fn check(folder: PathBuf, mark: &Mark) -> Result<Interrupted> {
    let runs = mark.runs(&folder);
    let mut total = 0;
    for run in &runs {
        let Content::File { path, bytes } = &run.content else { continue };
        let there = std::fs::metadata(path).map(|metadata| metadata.len()).unwrap_or_default();
        if there != *bytes {
            return Err(Error::new(Kind::Corruption, "a file of a snapshot has the wrong size")
                .with("file", path.display())
                .with("bytes", there)
                .with("expected", bytes));
        }
        total += bytes;
    }
    Ok(Interrupted { folder, position: mark.position, runs: runs.len(), bytes: total })
}
