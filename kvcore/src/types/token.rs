//! The token space: 64-bit positions, cut into Q equal arcs called partitions.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::ids::PartitionId;

/// A position on the ring. A key's token is XXH3-64 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Token(pub u64);

impl Token {
    /// The token of a key.
    pub fn of(key: &[u8]) -> Token {
        Token(xxh3_64(key))
    }

    /// The partition this token lies in, out of `partitions` (a power of two, at least 1).
    pub fn partition(self, partitions: u16) -> PartitionId {
        let bits = partitions.max(1).ilog2();
        // A shift by 64 is not defined, and with one partition there is nothing to choose.
        PartitionId(self.0.checked_shr(64 - bits).unwrap_or(0) as u16)
    }

    /// Where partition `partition` of `partitions` begins.
    pub fn start(partition: PartitionId, partitions: u16) -> Token {
        let bits = partitions.max(1).ilog2();
        Token(u64::from(partition.0).checked_shl(64 - bits).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_equal_arcs() {
        assert_eq!(Token(u64::MAX).partition(1), PartitionId(0));
        assert_eq!(Token(0).partition(64), PartitionId(0));
        assert_eq!(Token(u64::MAX).partition(64), PartitionId(63));
        for partition in 0..64 {
            let start = Token::start(PartitionId(partition), 64);
            assert_eq!(start.partition(64), PartitionId(partition));
            assert_eq!(Token(start.0.wrapping_sub(1)).partition(64).0, (partition + 63) % 64);
        }
    }

    #[test]
    fn the_hash_is_fixed_for_ever() {
        // A different value here means that every stored cluster would look for its keys in the
        // wrong partition.
        assert_eq!(Token::of(b"distkv"), Token(xxh3_64(b"distkv")));
        assert_eq!(Token::of(b"").0, 0x2d06_8005_38d3_94c2);
    }
}
