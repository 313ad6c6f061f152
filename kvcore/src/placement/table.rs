//! The placement in force: what the metadata group has committed.

use serde::{Deserialize, Serialize};

use crate::types::{Epoch, NodeId, PartitionId, ReplicaId};

/// One node's copy of one partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Replica {
    /// Issued for this placement of the replica and never used again.
    pub id: ReplicaId,
    /// The node that holds it.
    pub node: NodeId,
}

/// Where one partition is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Assignment {
    /// Its replicas, on different nodes.
    pub replicas: Vec<Replica>,
    /// The node that should lead it, when it can. None: any of them.
    pub preferred: Option<NodeId>,
}

impl Assignment {
    /// The replica on `node`, if there is one.
    pub fn replica_on(&self, node: NodeId) -> Option<Replica> {
        self.replicas.iter().copied().find(|replica| replica.node == node)
    }
}

/// Where every partition is, at one epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Table {
    /// The version: +1 for each committed change.
    pub epoch: Epoch,
    /// One assignment for each partition, in their order.
    pub partitions: Vec<Assignment>,
}

impl Table {
    /// A table of `partitions` partitions that nobody holds, at epoch 0.
    pub fn empty(partitions: u16) -> Table {
        Table { epoch: Epoch(0), partitions: vec![Assignment::default(); usize::from(partitions)] }
    }

    /// Where `partition` is; None if there is no such partition.
    pub fn assignment(&self, partition: PartitionId) -> Option<&Assignment> {
        self.partitions.get(usize::from(partition.0))
    }

    /// Where `partition` is, to be changed; None if there is no such partition. The epoch is the
    /// caller's to raise.
    pub fn assignment_mut(&mut self, partition: PartitionId) -> Option<&mut Assignment> {
        self.partitions.get_mut(usize::from(partition.0))
    }

    /// How many replicas `node` holds.
    pub fn replicas_on(&self, node: NodeId) -> usize {
        self.partitions.iter().filter(|partition| partition.replica_on(node).is_some()).count()
    }

    /// How many partitions `node` is the preferred leader of.
    pub fn leaders_on(&self, node: NodeId) -> usize {
        self.partitions.iter().filter(|partition| partition.preferred == Some(node)).count()
    }

    /// Every partition with its assignment, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (PartitionId, &Assignment)> {
        (0..=u16::MAX).map(PartitionId).zip(&self.partitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_has_every_partition_and_no_replica() {
        let table = Table::empty(4);
        assert_eq!(table.epoch, Epoch(0));
        assert_eq!(table.iter().count(), 4);
        assert!(table.iter().all(|(_, partition)| partition.replicas.is_empty()));
        assert_eq!(table.assignment(PartitionId(4)), None);
    }

    #[test]
    fn a_table_counts_replicas_and_leaders_by_node() {
        let (one, two) = (NodeId(1), NodeId(2));
        let mut table = Table::empty(4);
        for (partition, nodes) in [(0, vec![one, two]), (2, vec![one]), (3, vec![two])] {
            let assignment = table.assignment_mut(PartitionId(partition)).unwrap();
            assignment.preferred = nodes.first().copied();
            for node in nodes {
                assignment.replicas.push(Replica { id: ReplicaId(7), node });
            }
        }
        assert_eq!((table.replicas_on(one), table.replicas_on(two)), (2, 2));
        assert_eq!((table.leaders_on(one), table.leaders_on(two)), (2, 1));
        assert_eq!(table.replicas_on(NodeId(3)), 0);
        let held: Vec<_> = table
            .iter()
            .filter(|(_, assignment)| assignment.replica_on(two).is_some())
            .map(|(partition, _)| partition)
            .collect();
        assert_eq!(held, [PartitionId(0), PartitionId(3)]);
    }
}
