//! What a node tells people about who holds what, and what is to move: shapes that travel as JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::config::Tuning;
use crate::types::{Error, Kind, Result};

/// Who holds and leads how much, and what is on its way, as the answering node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RingStatus {
    /// The epoch of the placement.
    pub epoch: u64,
    /// Partitions of the cluster.
    pub partitions: u16,
    /// The replication factor the cluster was founded with.
    pub replication_factor: u8,
    /// The members, by their ids.
    pub nodes: Vec<NodeLoad>,
    /// The moves under way, by partition.
    pub moves: Vec<MoveStatus>,
    /// How eagerly replicas move.
    pub tuning: Tuning,
}

/// One member, and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// The member's id.
    pub id: String,
    /// What it is dialled at.
    pub address: String,
    /// `up`; `leaving`; `down` while the answering node has no link to it; `dead` once its replicas are
    /// being made anew on others.
    pub state: String,
    /// Its share against others.
    pub weight: f64,
    /// Its failure zone, if it has one.
    pub zone: Option<String>,
    /// Replicas placed on it.
    pub replicas: usize,
    /// Partitions that it leads just now; for one that cannot be reached, that prefer it.
    pub leaders: usize,
    /// About how many bytes of state it holds on disk; 0 if it cannot be reached.
    pub bytes: u64,
    /// Replicas that it would hold if all was as it should be with the members there are.
    pub target: usize,
}

/// A replica on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveStatus {
    /// Of which partition.
    pub partition: u16,
    /// The node that gives one up; None if the partition gains one.
    pub from: Option<String>,
    /// The node that gets one; None if the partition loses one.
    pub to: Option<String>,
    /// About how many bytes the partition has; 0 if its leader is not known.
    pub bytes: u64,
    /// What of that has been sent as a snapshot. It may never be any, where the log is enough.
    pub sent: u64,
}

/// What is to move, and about how long that takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The epoch of the placement it is made from.
    pub epoch: u64,
    /// The moves, in the order in which they would begin. Those under way are not among them.
    pub moves: Vec<PlannedMove>,
    /// What all of them would send.
    pub bytes: u64,
    /// About how many seconds that takes at the rate and with as many at once as the cluster is tuned to.
    pub seconds: f64,
    /// What each node holds now and would hold then, the newcomers of a question included, by their ids.
    pub nodes: Vec<PlannedLoad>,
}

/// One move to come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMove {
    /// Of which partition.
    pub partition: u16,
    /// The node that gives a replica up; None if the partition gains one.
    pub from: Option<String>,
    /// The node that gets one, `new-1` for the first newcomer; None if the partition loses one.
    pub to: Option<String>,
    /// About how many bytes it would get.
    pub bytes: u64,
}

/// What one node holds, and would hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedLoad {
    /// The node, `new-1` for the first newcomer.
    pub id: String,
    /// Replicas now, those on their way counted as there.
    pub now: usize,
    /// Replicas then.
    pub then: usize,
}

/// A node that is not there yet, to ask what would move if it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Newcomer {
    /// Its share against others, 0.01 to 100. Default: 1.
    pub weight: f64,
    /// Its failure zone. Default: none.
    pub zone: Option<String>,
}

impl Default for Newcomer {
    fn default() -> Self {
        Newcomer { weight: 1.0, zone: None }
    }
}

/// Reads what another node told.
///
/// # Errors
/// `Unsupported` if it does not parse: the other side is of another version.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| {
        Error::new(Kind::Unsupported, "what the node told does not parse").because(error)
    })
}

/// As JSON.
///
/// # Errors
/// `Internal` if it cannot be encoded.
pub(super) fn json<T: Serialize>(told: &T) -> Result<bytes::Bytes> {
    let json = serde_json::to_vec(told);
    json.map(Into::into)
        .map_err(|error| Error::internal("a description cannot be encoded").because(error))
}
