//! What a node tells people about itself and its cluster.

use serde::{Deserialize, Serialize};

/// One node's view of itself and its cluster. Ids are in hexadecimal, as they are shown everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The node's id.
    pub node: String,
    /// The cluster's id.
    pub cluster: String,
    /// What others are told to dial.
    pub address: String,
    /// The library's version.
    pub version: String,
    /// The epoch of the placement the node knows.
    pub epoch: u64,
    /// Partitions of the cluster.
    pub partitions: u16,
    /// The replication factor the cluster was founded with.
    pub replication_factor: u8,
    /// Replicas this node holds.
    pub replicas: usize,
    /// Replicas on this node that lead their partition.
    pub leaders: usize,
    /// Partitions for which this node knows no leader.
    pub leaderless: usize,
    /// Replicas on this node that have not applied all that they know to be committed.
    pub lagging: usize,
    /// Moves of replicas that are under way in the cluster.
    pub moves: usize,
    /// Partitions with fewer replicas than the cluster could give them.
    pub under_replicated: usize,
    /// Whether data is on disk.
    pub durable: bool,
}

/// One member of the cluster, as the answering node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The member's id.
    pub id: String,
    /// What it is dialled at.
    pub address: String,
    /// `up` if the answering node has a live link to it (or is it), else `down`.
    pub state: String,
    /// Its share against others.
    pub weight: f64,
    /// Its failure zone, if it has one.
    pub zone: Option<String>,
    /// Replicas placed on it.
    pub replicas: usize,
    /// Partitions that prefer it as their leader.
    pub leaders: usize,
}
