//! The map of the cluster, and the rules by which it changes. Pure: no I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::change::{Change, Decision, NewMember};
use super::replica::Metadata;
use crate::placement::{Assignment, Replica, Table, Weighted};
use crate::types::config::{ClusterConfig, Retune, Tuning};
use crate::types::{ClusterId, Epoch, Kind, NodeId, PartitionId, ReplicaId};

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who it is.
    pub node: NodeId,
    /// Where it is dialled, `host:port`.
    pub address: String,
    /// Its failure zone, if it has one.
    pub zone: Option<String>,
    /// Its share of the data, in thousandths.
    pub weight_milli: u32,
    /// Its replica of the metadata group.
    pub metadata: ReplicaId,
    /// Whether it is on its way out: it gets nothing more, and what it holds goes to others.
    pub leaving: bool,
    /// Whether it has been silent for so long that others take over what it holds.
    pub dead: bool,
}

impl Member {
    /// Whether it is to hold replicas.
    pub fn stays(&self) -> bool {
        !self.leaving && !self.dead
    }
}

/// A replica on its way. At least one of the two is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The replica that comes.
    pub add: Option<Replica>,
    /// The replica that goes, once the other is there.
    pub remove: Option<Replica>,
    /// Whether the one that goes is damaged, and has lost what it promised: it must not run any more, so
    /// there is no way back.
    pub lost: bool,
}

/// Everything that metadata decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The cluster; 0 before its founding.
    pub cluster: ClusterId,
    /// What it was founded with.
    pub config: ClusterConfig,
    /// The members, by their ids.
    pub members: BTreeMap<NodeId, Member>,
    /// Who holds what.
    pub table: Table,
    /// The moves that have begun; at most one for each partition.
    pub moves: BTreeMap<PartitionId, Move>,
    /// The next replica id to be issued.
    next_replica: u64,
    /// What may be changed while the cluster runs.
    pub tuning: Tuning,
    /// Nodes that were members once. None of them ever is again: what it promised has been forgotten.
    pub removed: BTreeSet<NodeId>,
}

impl State {
    /// The epoch of the map.
    pub fn epoch(&self) -> Epoch {
        self.table.epoch
    }

    /// Whether the cluster has been founded.
    pub fn founded(&self) -> bool {
        self.cluster != ClusterId::default()
    }

    /// The members that are to hold replicas, as the ring sees them.
    pub fn weighted(&self) -> Vec<Weighted> {
        let weighted = |member: &Member| Weighted {
            node: member.node,
            weight_milli: member.weight_milli,
            zone: member.zone.clone(),
        };
        self.members.values().filter(|member| member.stays()).map(weighted).collect()
    }

    /// How many replicas each partition is to have with the members there are. A dead one counts: a death
    /// never makes a group smaller.
    pub fn replication_factor(&self) -> usize {
        let staying = self.members.values().filter(|member| !member.leaving);
        usize::from(self.config.replication_factor).min(staying.count())
    }

    /// How many replicas a partition has on members that are not dead.
    pub fn sound(&self, partition: PartitionId) -> usize {
        let placed = self.table.assignment(partition).into_iter().flat_map(|p| p.replicas.iter());
        let alive = |node| self.members.get(node).is_some_and(|member| !member.dead);
        placed.filter(|replica| alive(&replica.node)).count()
    }

    /// The replicas that a partition has once its move, if there is one, is done.
    pub fn destined(&self, partition: PartitionId) -> Vec<Replica> {
        let placed = self.table.assignment(partition);
        let mut replicas = placed.map(|placed| placed.replicas.clone()).unwrap_or_default();
        if let Some(Move { add, remove, .. }) = self.moves.get(&partition) {
            replicas.retain(|replica| Some(*replica) != *remove);
            replicas.extend(*add);
        }
        replicas
    }

    /// The replica of a partition that a node is to run: one on its way there, which may be to take the
    /// place of a damaged one, or else one that is placed there.
    pub fn hosted(&self, partition: PartitionId, node: NodeId) -> Option<ReplicaId> {
        let placed = self.table.assignment(partition).into_iter().flat_map(|p| p.replicas.iter());
        let step = self.moves.get(&partition);
        let coming = step.and_then(|step| step.add.as_ref());
        let lost = step.filter(|step| step.lost).and_then(|step| step.remove);
        let mut all = coming.into_iter().chain(placed.filter(|replica| Some(**replica) != lost));
        all.find(|replica| replica.node == node).map(|replica| replica.id)
    }

    /// Whether that replica was placed here once and has left: its id has been issued, and nothing runs
    /// under it any more. An old state never says so of a replica that is yet to come.
    pub fn retired(&self, partition: PartitionId, node: NodeId, replica: ReplicaId) -> bool {
        replica.0 < self.next_replica && self.hosted(partition, node) != Some(replica)
    }

    /// Makes one change, or says why not.
    pub(super) fn change(&mut self, change: Change) -> Decision {
        match change {
            Change::Found { cluster, config, founder } => self.found(cluster, config, founder),
            Change::Join { member, replaces } => self.join(member, replaces),
            Change::Readdress { node, address } => self.readdress(node, address),
            Change::BeginMove { partition, add, remove } => self.begin(partition, add, remove),
            Change::CommitMove { partition, step } => self.commit(partition, step),
            Change::Prefer { partition, node } => self.prefer(partition, node),
            Change::AbortMove { partition, step } => self.abort(partition, step),
            Change::Confirm { partition, step, destined } => {
                self.confirm(partition, step, &destined)
            }
            Change::Replace { partition, replica } => self.replace(partition, replica),
            Change::Leave { node } => self.leave(node),
            Change::Remove { node } => self.remove(node),
            Change::Mark { node, dead } => self.mark(node, dead),
            Change::Tune { change } => self.tune(change),
        }
    }

    fn found(&mut self, cluster: ClusterId, config: ClusterConfig, founder: NewMember) -> Decision {
        if self.founded() {
            return match self.cluster == cluster {
                true => Decision::Done,
                false => refused(Kind::WrongCluster, "the cluster has been founded before"),
            };
        }
        if let Err(error) = config.validate() {
            return refused(error.kind(), error.message());
        }
        let node = founder.node;
        self.cluster = cluster;
        self.table = Table::empty(config.partitions);
        self.config = config;
        // The founder's metadata replica is the first of all: it exists before there is anybody who
        // could issue its id.
        self.next_replica = Metadata::FOUNDER.0 + 1;
        self.members.insert(node, founder.into_member(Metadata::FOUNDER));
        for partition in 0..self.config.partitions {
            let id = self.issue();
            if let Some(assignment) = self.table.assignment_mut(PartitionId(partition)) {
                let replicas = vec![Replica { id, node }];
                *assignment = Assignment { replicas, preferred: Some(node) };
            }
        }
        self.advance();
        Decision::Done
    }

    fn begin(
        &mut self,
        partition: PartitionId,
        add: Option<NodeId>,
        remove: Option<ReplicaId>,
    ) -> Decision {
        let Some(assignment) = self.table.assignment(partition) else {
            return refused(Kind::NotFound, "no such partition");
        };
        if self.moves.contains_key(&partition) {
            return refused(Kind::Unavailable, "the partition has a move under way");
        }
        let held = |node: NodeId| assignment.replicas.iter().any(|replica| replica.node == node);
        let leaving = match remove {
            None => None,
            Some(id) => match assignment.replicas.iter().find(|replica| replica.id == id) {
                Some(replica) => Some(*replica),
                None => return refused(Kind::NotFound, "no such replica"),
            },
        };
        match add {
            Some(node) if !self.members.get(&node).is_some_and(Member::stays) => {
                return refused(Kind::NotFound, "no such member that stays");
            }
            Some(node) if held(node) => {
                return refused(Kind::InvalidArgument, "the node holds the partition already");
            }
            None if leaving.is_none() => {
                return refused(Kind::InvalidArgument, "a move moves something");
            }
            None if assignment.replicas.len() < 2 => {
                return refused(Kind::InvalidArgument, "the last replica cannot leave");
            }
            _ => {}
        }
        let add = add.map(|node| Replica { id: self.issue(), node });
        self.moves.insert(partition, Move { add, remove: leaving, lost: false });
        self.advance();
        Decision::Done
    }

    fn commit(&mut self, partition: PartitionId, step: Move) -> Decision {
        if self.moves.get(&partition) != Some(&step) {
            // It was committed before, by a leader that did not live to hear of it.
            return Decision::Done;
        }
        self.moves.remove(&partition);
        let destination = step.add.map(|replica| replica.node);
        if let Some(assignment) = self.table.assignment_mut(partition) {
            assignment.replicas.retain(|replica| Some(*replica) != step.remove);
            assignment.replicas.extend(step.add);
            let left = step.remove.map(|replica| replica.node);
            if assignment.preferred.is_none() || assignment.preferred == left {
                let stays = assignment.replicas.first().map(|replica| replica.node);
                assignment.preferred = destination.or(stays);
            }
        }
        self.advance();
        Decision::Done
    }

    fn abort(&mut self, partition: PartitionId, step: Move) -> Decision {
        if step.lost {
            // What it replaces is damaged, and by now deleted.
            return refused(Kind::InvalidArgument, "a damaged replica cannot come back");
        }
        if self.moves.get(&partition) == Some(&step) {
            self.moves.remove(&partition);
            self.advance();
        }
        Decision::Done
    }

    fn replace(&mut self, partition: PartitionId, damaged: ReplicaId) -> Decision {
        if let Some(step) = self.moves.get(&partition).copied() {
            let Some(coming) = step.add.filter(|coming| coming.id == damaged) else {
                return refused(Kind::Unavailable, "the partition has a move under way");
            };
            let add = Some(Replica { id: self.issue(), ..coming });
            self.moves.insert(partition, Move { add, ..step });
            self.advance();
            return Decision::Done;
        }
        let Some(assignment) = self.table.assignment(partition) else {
            return refused(Kind::NotFound, "no such partition");
        };
        let Some(leaving) = assignment.replicas.iter().find(|replica| replica.id == damaged) else {
            // It was replaced before; the answer was lost.
            return Decision::Done;
        };
        match assignment.replicas.len() {
            0 | 1 => {
                return refused(Kind::InvalidArgument, "no other replica has what is lost");
            }
            // The change could never be agreed on, and what is left of the damaged one would be deleted.
            2 => {
                return refused(Kind::InvalidArgument, "the only other replica is no majority");
            }
            _ => {}
        }
        let (remove, node) = (Some(*leaving), leaving.node);
        let add = Some(Replica { id: self.issue(), node });
        self.moves.insert(partition, Move { add, remove, lost: true });
        self.advance();
        Decision::Done
    }

    fn confirm(
        &self,
        partition: PartitionId,
        step: Option<Move>,
        destined: &[Replica],
    ) -> Decision {
        if self.moves.get(&partition).copied() == step && self.destined(partition) == destined {
            return Decision::Done;
        }
        refused(Kind::Unavailable, "the map has changed")
    }

    fn prefer(&mut self, partition: PartitionId, node: NodeId) -> Decision {
        let Some(assignment) = self.table.assignment_mut(partition) else {
            return refused(Kind::NotFound, "no such partition");
        };
        if !assignment.replicas.iter().any(|replica| replica.node == node) {
            return refused(Kind::NotFound, "the node does not hold the partition");
        }
        if assignment.preferred != Some(node) {
            assignment.preferred = Some(node);
            self.advance();
        }
        Decision::Done
    }

    fn tune(&mut self, change: Retune) -> Decision {
        match self.tuning.changed(&change) {
            Ok(tuning) if tuning == self.tuning => Decision::Done,
            Ok(tuning) => {
                self.tuning = tuning;
                self.advance();
                Decision::Done
            }
            Err(error) => refused(error.kind(), error.message()),
        }
    }

    pub(super) fn issue(&mut self) -> ReplicaId {
        let id = ReplicaId(self.next_replica);
        self.next_replica += 1;
        id
    }

    pub(super) fn advance(&mut self) {
        self.table.epoch = Epoch(self.table.epoch.0 + 1);
    }
}

pub(super) fn refused(kind: Kind, message: &str) -> Decision {
    Decision::Refused { code: kind.code(), message: message.to_owned() }
}

#[cfg(test)]
#[path = "state_test.rs"]
pub(super) mod tests;
