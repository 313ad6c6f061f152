//! What openraft is instantiated with, and the conversions at its edge.

use std::fmt;
use std::io;

use bytes::Bytes;
use openraft::impls::{BoxedErrorSource, Entry, EntryPayload, InlineBatch, OneshotResponder};
use openraft::{OptionalSend, RaftTypeConfig};

use crate::rpc::message;
use crate::types::{Error, Kind, NodeId, Outcome};
use crate::wal::Position;

/// The one instantiation of openraft, for metadata and data groups alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Consensus;

pub(super) type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;
pub(super) type Term = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub(super) type Vote = openraft::impls::Vote<LeaderId>;
pub(super) type LogId = openraft::impls::LogId<Term>;
pub(super) type LogEntry = Entry<Term, EntryPayload<Payload, u64, Home>>;
pub(super) type Membership = openraft::Membership<u64, Home>;
pub(super) type StoredMembership = openraft::StoredMembership<Term, u64, Home>;
pub(super) type SnapshotMeta = openraft::storage::SnapshotMeta<Term, u64, Home>;

impl RaftTypeConfig for Consensus {
    type D = Payload;
    type R = Reply;
    type NodeId = u64;
    type Node = Home;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = EntryPayload<Payload, u64, Home>;
    type Entry = LogEntry;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// What a log entry carries: bytes that only the floor above understands. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Where a replica lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Home {
    /// The node that holds it.
    pub node: NodeId,
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.node)
    }
}

/// What applying one payload came to. It never leaves the process of the replica that proposed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to say: the entry was Raft's own.
    Nothing,
    /// One outcome for each command of a partition's entry, in their order.
    Outcomes(Vec<Outcome>),
    /// What metadata answers.
    Bytes(Bytes),
}

pub(super) fn position(id: &LogId) -> Position {
    Position { term: id.leader_id.term, index: id.index }
}

pub(super) fn log_id(position: Position) -> LogId {
    LogId::new_term_index(position.term, position.index)
}

pub(super) fn position_to_wire(id: &LogId) -> message::Position {
    message::Position { term: id.leader_id.term, index: id.index }
}

pub(super) fn position_from_wire(position: &message::Position) -> LogId {
    LogId::new_term_index(position.term, position.index)
}

pub(super) fn vote_to_wire(vote: &Vote) -> message::Vote {
    message::Vote {
        term: vote.leader_id.term,
        replica: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(super) fn vote_from_wire(vote: Option<&message::Vote>) -> Result<Vote, Error> {
    let vote = vote.ok_or_else(|| missing("vote"))?;
    Ok(Vote {
        leader_id: LeaderId { term: vote.term, voted_for: vote.replica },
        committed: vote.committed,
    })
}

/// A message between replicas that lacks what every such message has.
pub(super) fn missing(field: &'static str) -> Error {
    Error::new(Kind::InvalidArgument, "message between replicas is incomplete")
        .with("missing", field)
}

/// Our error as openraft's storage traits want it; the kind stays readable inside.
pub(super) fn to_io(error: Error) -> io::Error {
    let kind = match error.kind() {
        Kind::StorageFull => io::ErrorKind::StorageFull,
        Kind::Corruption => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
