//! Identities. Each is a type of its own, so that a node's id can never be passed for a replica's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Error, Kind};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $show:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $show, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(", $show, ")"), self.0)
            }
        }
    };
}

id!(
    /// One running member of the cluster: random, made once, kept in the data directory. Its address
    /// may change; this does not. Shown as 16 hexadecimal digits.
    NodeId(u64),
    "{:016x}"
);
id!(
    /// One cluster: random, made at its founding, carried by every link and every data directory.
    /// Shown as 32 hexadecimal digits.
    ClusterId(u128),
    "{:032x}"
);
id!(
    /// One of the Q equal arcs of the token space, counted from 0.
    PartitionId(u16),
    "{}"
);
id!(
    /// One placement of one replica, issued by metadata and never used again. It is Raft's node id,
    /// and it tags log records, stored partitions and frames: a removed or wiped replica can never
    /// come back under an old identity.
    ReplicaId(u64),
    "{}"
);
id!(
    /// The version of the placement table: +1 for each committed change.
    Epoch(u64),
    "{}"
);
id!(
    /// One client's identity for exactly-once writes: random.
    SessionId(u64),
    "{:016x}"
);

/// Per-partition counter, +1 for each applied mutation. An absent key has revision 0; revisions
/// compare only within a partition.
pub type Revision = u64;

macro_rules! parse_hex {
    ($name:ident, $inner:ty, $what:literal) => {
        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                <$inner>::from_str_radix(text, 16).map($name).map_err(|_| {
                    Error::new(Kind::InvalidArgument, concat!($what, " is not hexadecimal"))
                        .with("value", text)
                })
            }
        }
    };
}

parse_hex!(NodeId, u64, "node id");
parse_hex!(ClusterId, u128, "cluster id");

/// One Raft group: the cluster's single metadata group, or the group of one partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum GroupId {
    /// Decides members, placement and moves; every node is a member of it.
    Metadata,
    /// Holds the keys of one partition.
    Partition(PartitionId),
}

impl GroupId {
    const METADATA: u32 = u32::MAX;

    /// The group's number on the wire and on disk: the partition's, or `u32::MAX` for metadata.
    pub fn number(self) -> u32 {
        match self {
            GroupId::Metadata => Self::METADATA,
            GroupId::Partition(partition) => u32::from(partition.0),
        }
    }

    /// The group with that number, if there can be one.
    pub fn from_number(number: u32) -> Option<GroupId> {
        if number == Self::METADATA {
            return Some(GroupId::Metadata);
        }
        u16::try_from(number).ok().map(|partition| GroupId::Partition(PartitionId(partition)))
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupId::Metadata => f.write_str("metadata"),
            GroupId::Partition(partition) => write!(f, "partition {partition}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_ids_read_back_what_they_show() {
        let node = NodeId(0x00ab_cdef_0123_4567);
        assert_eq!(node.to_string(), "00abcdef01234567");
        assert_eq!(node.to_string().parse::<NodeId>().unwrap(), node);
        let error = "xyz".parse::<ClusterId>().unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
    }

    #[test]
    fn a_group_is_known_by_its_number() {
        for group in [GroupId::Metadata, GroupId::Partition(PartitionId(4095))] {
            assert_eq!(GroupId::from_number(group.number()), Some(group));
        }
        assert_eq!(GroupId::from_number(70_000), None);
    }
}
