//! What can be asked of metadata, and what it answers. Both travel between nodes and lie in logs, so
//! variants and fields are only ever added, at the end.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::state::{Member, Move};
use crate::placement::Replica;
use crate::types::config::{ClusterConfig, Retune};
use crate::types::{ClusterId, Error, Kind, NodeId, PartitionId, ReplicaId, Result};

/// A member-to-be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMember {
    /// Who it is.
    pub node: NodeId,
    /// Where it is dialled.
    pub address: String,
    /// Its failure zone, if it has one.
    pub zone: Option<String>,
    /// Its share of the data, in thousandths.
    pub weight_milli: u32,
}

impl NewMember {
    pub(super) fn into_member(self, metadata: ReplicaId) -> Member {
        let NewMember { node, address, zone, weight_milli } = self;
        Member { node, address, zone, weight_milli, metadata, leaving: false, dead: false }
    }
}

/// One change to the map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The first change of all: the cluster exists, with one member that holds everything.
    Found {
        /// The cluster's new id.
        cluster: ClusterId,
        /// What it is founded with.
        config: ClusterConfig,
        /// Its first member.
        founder: NewMember,
    },
    /// A node becomes a member.
    Join {
        /// The node.
        member: NewMember,
        /// The member whose place it takes: one that lost its data directory, at the same address.
        replaces: Option<NodeId>,
    },
    /// A member is dialled elsewhere from now on.
    Readdress {
        /// The member.
        node: NodeId,
        /// Its new address.
        address: String,
    },
    /// A replica sets out.
    BeginMove {
        /// Of which partition.
        partition: PartitionId,
        /// The node that is to get a new replica.
        add: Option<NodeId>,
        /// The replica that is to go.
        remove: Option<ReplicaId>,
    },
    /// A replica has arrived: its partition's group has the membership that the move asked for.
    CommitMove {
        /// Of which partition.
        partition: PartitionId,
        /// The move that is done.
        step: Move,
    },
    /// A partition prefers another of its nodes as leader.
    Prefer {
        /// Which partition.
        partition: PartitionId,
        /// Which node.
        node: NodeId,
    },
    /// A replica will not arrive: the node it was meant for is gone.
    AbortMove {
        /// Of which partition.
        partition: PartitionId,
        /// The move that is given up.
        step: Move,
    },
    /// Changes nothing: asks whether this is still how the map stands, before a group's membership is
    /// made to follow it.
    Confirm {
        /// Which partition.
        partition: PartitionId,
        /// The move under way.
        step: Option<Move>,
        /// The replicas it is to have.
        destined: Vec<Replica>,
    },
    /// A replica has lost what it promised, because its disk is damaged: another one takes its place, on
    /// the same node but under an id of its own.
    Replace {
        /// Of which partition.
        partition: PartitionId,
        /// The replica that is damaged.
        replica: ReplicaId,
    },
    /// A member is to leave: its replicas go to others, then it is removed.
    Leave {
        /// The member.
        node: NodeId,
    },
    /// A member is one no longer, whatever it holds. Its id never comes back.
    Remove {
        /// The member.
        node: NodeId,
    },
    /// A member has been silent for so long that others are to take over what it holds; or it is back.
    Mark {
        /// The member.
        node: NodeId,
        /// Whether it counts as dead from now on.
        dead: bool,
    },
    /// What may be changed of the cluster while it runs.
    Tune {
        /// What is to change.
        change: Retune,
    },
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// It is so.
    Done,
    /// The node is a member, and this is its replica of the metadata group.
    Joined {
        /// The replica's id.
        metadata: ReplicaId,
    },
    /// Nothing was changed.
    Refused {
        /// The code of the error's kind.
        code: u32,
        /// The reason.
        message: String,
    },
}

impl Decision {
    /// A refusal as an error, anything else unchanged.
    ///
    /// # Errors
    /// The refusal.
    pub fn into_result(self) -> Result<Decision> {
        match self {
            Decision::Refused { code, message } => {
                Err(Error::new(Kind::from_code(code).unwrap_or(Kind::Internal), message))
            }
            other => Ok(other),
        }
    }
}

/// The first byte of what is written here; a larger one is of a newer version.
const FORMAT: u8 = 2;

macro_rules! coded {
    ($($name:ident),*) => {$(
        impl $name {
            /// As bytes, for a log or another node.
            ///
            /// # Errors
            /// `Internal` if it cannot be encoded.
            pub fn encode(&self) -> Result<Bytes> {
                postcard::to_extend(self, vec![FORMAT])
                    .map(Bytes::from)
                    .map_err(|error| Error::internal("metadata cannot be encoded").because(error))
            }

            /// From bytes.
            ///
            /// # Errors
            /// `Corruption` if they do not parse, `Unsupported` if they are of a newer version.
            pub fn decode(bytes: &[u8]) -> Result<$name> {
                match bytes.split_first() {
                    Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|error| {
                        Error::new(Kind::Corruption, "metadata does not parse").because(error)
                    }),
                    other => Err(Error::new(Kind::Unsupported, "metadata of an unknown format")
                        .with("format", other.map_or(0, |(format, _)| *format))
                        .with("known", FORMAT)),
                }
            }
        }
    )*};
}

pub(super) use coded;

coded!(Change, Decision);
