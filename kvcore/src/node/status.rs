//! What a node tells people about itself and its cluster.

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::ring::RingStatus;
use super::space::Level;
use crate::metadata::Member;
use crate::types::PartitionId;

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
    /// Replicas placed on this node that do not run, or have not applied all that they know to be
    /// committed.
    pub lagging: usize,
    /// Moves of replicas that are under way in the cluster.
    pub moves: usize,
    /// Partitions with fewer replicas than the cluster could give them.
    pub under_replicated: usize,
    /// Whether data is on disk.
    pub durable: bool,
    /// Replicas of this node that are damaged: they stay down until others have taken their place.
    #[serde(default)]
    pub damaged: usize,
    /// Whether the node's disk is full: it takes no writes, and others lead.
    #[serde(default)]
    pub full: bool,
    /// Whether the node is on its way out.
    #[serde(default)]
    pub leaving: bool,
    /// The node that leads the metadata group, as far as this one knows.
    #[serde(default)]
    pub metadata_leader: Option<String>,
    /// Bytes of snapshots that the node has been sent since it started.
    #[serde(default)]
    pub snapshot_bytes_received: u64,
}

/// One member of the cluster, as the answering node sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The member's id.
    pub id: String,
    /// What it is dialled at.
    pub address: String,
    /// `up` if the answering node has a live link to it (or is it), else `down`; `leaving` while it is on its
    /// way out, and `dead` when others have taken over what it holds.
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

/// A node's answer to "describe yourself": what travels as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The node and its cluster.
    pub status: Status,
    /// The members.
    pub members: Vec<MemberStatus>,
    /// The ring, if it was asked for.
    #[serde(default)]
    pub ring: Option<RingStatus>,
}

/// Describes a running node.
pub(super) fn report(core: &Core) -> Report {
    let state = core.state();
    let reachable = core.reachable();
    let replicas = core.host.replicas();
    let well = replicas.iter().filter(|replica| {
        let health = replica.group().health();
        health.running && health.caught_up
    });
    let partitions = state.table.iter().map(|(partition, _)| partition);
    let hosted = partitions.filter(|partition| state.hosted(*partition, core.node).is_some());
    let leader_known = |partition: PartitionId| match core.host.replica(partition) {
        Some(replica) => replica.group().leader().is_some(),
        // The map's preference stands in for what only the partition's own replicas know.
        None => state
            .table
            .assignment(partition)
            .and_then(|assignment| assignment.preferred)
            .is_some_and(|node| reachable.contains(&node)),
    };
    let wanted = state.replication_factor();
    let placed = state.table.iter();
    let status = Status {
        node: core.node.to_string(),
        cluster: core.cluster.to_string(),
        address: core.address.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: state.epoch().0,
        partitions: state.config.partitions,
        replication_factor: state.config.replication_factor,
        replicas: replicas.len(),
        leaders: replicas.iter().filter(|replica| replica.group().leads()).count(),
        leaderless: placed.filter(|(partition, _)| !leader_known(*partition)).count(),
        lagging: hosted.count().saturating_sub(well.count()),
        moves: state.moves.len(),
        under_replicated: state
            .table
            .iter()
            .filter(|(partition, _)| state.sound(*partition) < wanted)
            .count(),
        durable: state.config.durable,
        damaged: core.host.damage().all().len(),
        full: core.space.level() > Level::Plenty,
        leaving: state.members.get(&core.node).is_some_and(|me| me.leaving),
        metadata_leader: core.metadata.group().leader().map(|(_, node)| node.to_string()),
        snapshot_bytes_received: core.storage.staging().received(),
    };
    let members = state.members.values().map(|member| MemberStatus {
        id: member.node.to_string(),
        address: member.address.clone(),
        state: standing(member, reachable.contains(&member.node)).to_owned(),
        weight: f64::from(member.weight_milli) / 1000.0,
        zone: member.zone.clone(),
        replicas: state.table.replicas_on(member.node),
        leaders: state.table.leaders_on(member.node),
    });
    Report { status, members: members.collect(), ring: None }
}

/// How a member is, in a word.
pub(super) fn standing(member: &Member, reachable: bool) -> &'static str {
    match (reachable, member.leaving, member.dead) {
        (_, _, true) => "dead",
        (false, _, _) => "down",
        (true, true, _) => "leaving",
        (true, false, _) => "up",
    }
}
