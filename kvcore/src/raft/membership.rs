//! Who is in a group, as bytes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::types::{Home, Membership};
use crate::types::{Error, Kind, NodeId, Result};

/// The stored form: the voters (two sets of them while a change is under way) and where everyone
/// lives.
#[derive(Serialize, Deserialize)]
struct Stored {
    voters: Vec<BTreeSet<u64>>,
    homes: BTreeMap<u64, NodeId>,
}

pub(super) fn encode(membership: &Membership) -> Result<Bytes> {
    let stored = Stored {
        voters: membership.get_joint_config().clone(),
        homes: membership.nodes().map(|(id, home)| (*id, home.node)).collect(),
    };
    postcard::to_stdvec(&stored)
        .map(Bytes::from)
        .map_err(|error| Error::internal("membership cannot be encoded").because(error))
}

pub(super) fn decode(bytes: &[u8]) -> Result<Membership> {
    let bad = || Error::new(Kind::Corruption, "stored membership does not parse");
    let stored: Stored = postcard::from_bytes(bytes).map_err(|error| bad().because(error))?;
    if stored.voters.is_empty() && stored.homes.is_empty() {
        return Ok(Membership::default());
    }
    let homes: BTreeMap<u64, Home> =
        stored.homes.into_iter().map(|(id, node)| (id, Home { node })).collect();
    Membership::new(stored.voters, homes).map_err(|error| bad().because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        let homes: BTreeMap<u64, Home> =
            [(1, 11), (2, 12), (3, 13)].map(|(id, node)| (id, Home { node: NodeId(node) })).into();
        let joint = vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])];
        let membership = Membership::new(joint, homes).unwrap();
        assert_eq!(decode(&encode(&membership).unwrap()).unwrap(), membership);
        let empty = Membership::default();
        assert_eq!(decode(&encode(&empty).unwrap()).unwrap(), empty);
    }

    #[test]
    fn damage_is_an_error() {
        assert_eq!(decode(&[7, 7, 7]).unwrap_err().kind(), Kind::Corruption);
    }
}
