//! What a replica hears from the others of its group.
//!
//! Appends must reach openraft in the order in which they came over the link, so each is handed over
//! by the link's reading task itself; only its answer is waited for elsewhere. A snapshot's chunks go to
//! the staging until all are in.

use futures::FutureExt;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest,
};
use openraft::storage::Snapshot;
use tokio::time::Instant;

use super::group::Raft;
use super::log_store;
use super::snapshot::SnapshotData;
use super::staging::Staging;
use super::types::{
    Consensus, SnapshotMeta, StoredMembership, Vote, missing, position_from_wire, position_to_wire,
    vote_from_wire, vote_to_wire,
};
use crate::rpc::Answer;
use crate::rpc::message::{self, reply, request};
use crate::types::{Error, Kind, Result};
use crate::wal::{Position, Record, Tag};

/// The door of one replica.
pub(super) struct Inbox {
    tag: Tag,
    raft: Raft,
    staging: Staging,
    quiet: Quiet,
}

/// What a replica that starts still owes the leader whom it followed before: that leader may be reading by
/// its lease, of which openraft forgets over a restart that it was granted.
pub(super) struct Quiet {
    /// The vote of that leader, if it had one.
    pub(super) vote: Option<Vote>,
    /// Until then no other one gets this replica's vote.
    pub(super) until: Instant,
}

impl Inbox {
    pub(super) fn new(tag: Tag, raft: Raft, staging: Staging, quiet: Quiet) -> Inbox {
        Inbox { tag, raft, staging, quiet }
    }

    /// Takes one message; in order, as far as order matters.
    pub(super) fn take(&self, request: request::Body) -> Answer {
        let answer = match request {
            request::Body::Append(append) => self.append(append),
            request::Body::AskVote(ask) => self.ask_vote(&ask),
            request::Body::SnapshotChunk(chunk) => Ok(self.chunk(chunk)),
            request::Body::SnapshotInstall(install) => self.install(install),
            request::Body::HandOver(hand_over) => self.hand_over(&hand_over),
            _ => Err(Error::internal("not a message between replicas")),
        };
        answer.unwrap_or_else(|error| Box::pin(std::future::ready(Err(error))))
    }

    fn append(&self, append: message::Append) -> Result<Answer> {
        let request = append_from_wire(append)?;
        let previous = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(previous);
        let raft = self.raft.clone();
        let mut outcome = Box::pin(async move { raft.append_entries(request).await });
        // The first poll puts the request into openraft's queue: here and now, hence in order.
        let early = (&mut outcome).now_or_never();
        Ok(Box::pin(async move {
            let outcome = match early {
                Some(outcome) => outcome,
                None => outcome.await,
            };
            let mut appended = message::Appended::default();
            match outcome.map_err(stopped)? {
                AppendEntriesResponse::Success => {
                    appended.matched = last.as_ref().map(position_to_wire);
                }
                AppendEntriesResponse::PartialSuccess(matched) => {
                    appended.matched = matched.as_ref().map(position_to_wire);
                }
                AppendEntriesResponse::Conflict => {
                    // What does not match is the entry in front of those that were sent. To name
                    // another would send the leader's search for the last match astray.
                    appended.conflict = previous.as_ref().map(position_to_wire);
                }
                AppendEntriesResponse::HigherVote(vote) => {
                    appended.higher_vote = Some(vote_to_wire(&vote));
                }
            }
            Ok(reply::Body::Appended(appended))
        }))
    }

    fn ask_vote(&self, ask: &message::AskVote) -> Result<Answer> {
        let mut request = VoteRequest::<Consensus>::new(
            vote_from_wire(ask.vote.as_ref())?,
            ask.last.as_ref().map(position_from_wire),
        );
        request.leadership_transfer = ask.transfer;
        if let Some(vote) = self.quiet.vote.filter(|_| !ask.transfer)
            && Instant::now() < self.quiet.until
        {
            let (vote, last) = (Some(vote_to_wire(&vote)), None);
            let voted = message::Voted { vote, granted: false, last };
            return Ok(Box::pin(std::future::ready(Ok(reply::Body::Voted(voted)))));
        }
        let (raft, pre) = (self.raft.clone(), ask.pre);
        Ok(Box::pin(async move {
            let voted = match pre {
                true => raft.pre_vote(request).await,
                false => raft.vote(request).await,
            };
            let voted = voted.map_err(stopped)?;
            Ok(reply::Body::Voted(message::Voted {
                vote: Some(vote_to_wire(&voted.vote)),
                granted: voted.vote_granted,
                last: voted.last_log_id.as_ref().map(position_to_wire),
            }))
        }))
    }

    fn hand_over(&self, hand_over: &message::HandOver) -> Result<Answer> {
        let request = TransferLeaderRequest::<Consensus>::new(
            vote_from_wire(hand_over.from.as_ref())?,
            hand_over.leader,
            hand_over.last.as_ref().map(position_from_wire),
        );
        let raft = self.raft.clone();
        Ok(Box::pin(async move {
            let outcome = raft.handle_transfer_leader(request).await.map_err(stopped)?;
            Ok(reply::Body::HandedOver(message::HandedOver { accepted: outcome.is_ok() }))
        }))
    }

    fn chunk(&self, chunk: message::SnapshotChunk) -> Answer {
        let (staging, tag) = (self.staging.clone(), self.tag);
        Box::pin(async move {
            staging.take(tag, chunk).await?;
            Ok(reply::Body::SnapshotTaken(message::SnapshotTaken {}))
        })
    }

    fn install(&self, install: message::SnapshotInstall) -> Result<Answer> {
        let vote = vote_from_wire(install.vote.as_ref())?;
        let meta = snapshot_meta(&install)?;
        let (staging, tag, raft) = (self.staging.clone(), self.tag, self.raft.clone());
        Ok(Box::pin(async move {
            let staged = staging.complete(tag, install.transfer, install.chunks).await?;
            let snapshot = Snapshot { meta, snapshot: SnapshotData::Staged(staged) };
            let installed = raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
            let vote = Some(vote_to_wire(&installed.vote));
            Ok(reply::Body::SnapshotInstalled(message::SnapshotInstalled { vote }))
        }))
    }
}

fn stopped(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Kind::Unavailable, "the replica has stopped").because(error)
}

fn append_from_wire(request: message::Append) -> Result<AppendEntriesRequest<Consensus>> {
    let entries: Result<Vec<_>> = request
        .entries
        .into_iter()
        .map(|entry| {
            let position = entry.position.ok_or_else(|| missing("position"))?;
            log_store::entry(Record {
                position: Position { term: position.term, index: position.index },
                kind: u8::try_from(entry.kind).unwrap_or(u8::MAX),
                payload: entry.payload,
            })
        })
        .collect();
    Ok(AppendEntriesRequest {
        vote: vote_from_wire(request.vote.as_ref())?,
        prev_log_id: request.previous.as_ref().map(position_from_wire),
        entries: entries?,
        leader_commit: request.committed.as_ref().map(position_from_wire),
    })
}

fn snapshot_meta(install: &message::SnapshotInstall) -> Result<SnapshotMeta> {
    let membership = super::membership::decode(&install.membership)?;
    let at = install.membership_position.as_ref().map(position_from_wire);
    Ok(SnapshotMeta {
        last_log_id: install.position.as_ref().map(position_from_wire),
        last_membership: StoredMembership::new(at, membership),
    })
}
