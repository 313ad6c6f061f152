//! One thing that was done to one group's log, as bytes. `docs/format.md` has the table.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{GroupId, ReplicaId};

/// Where an entry stands in its group's log: Raft's term, and the index, which grows by one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Position {
    /// The term of the leader that made the entry.
    pub term: u64,
    /// The entry's number in the log.
    pub index: u64,
}

/// One entry of one group's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Where it stands.
    pub position: Position,
    /// What it is, in the words of whoever appends it; the log only keeps it.
    pub kind: u8,
    /// What it says; the log only keeps it. May be empty.
    pub payload: Bytes,
}

/// Whose log it is: a group, as seen by one replica of it. Replica ids are never used again, so a
/// wiped or replaced replica can never pick up what another one wrote.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Tag {
    /// The Raft group.
    pub group: GroupId,
    /// The replica of it.
    pub replica: ReplicaId,
}

/// What a record on disk does to its group's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Action {
    /// Adds an entry behind the last one.
    Entry = 1,
    /// Replaces the vote.
    Vote = 2,
    /// Drops the entries behind a position, or all of them.
    Truncate = 3,
    /// Drops the entries up to and including a position, and remembers it as the floor.
    Purge = 4,
    /// Replaces the committed position.
    Commit = 5,
    /// Forgets the whole log.
    Remove = 6,
    /// A second copy of a live entry, made to free the segment of the first; moves nothing else.
    Moved = 7,
}

impl Action {
    const ALL: [Action; 7] = [
        Action::Entry,
        Action::Vote,
        Action::Truncate,
        Action::Purge,
        Action::Commit,
        Action::Remove,
        Action::Moved,
    ];

    fn from_code(code: u8) -> Option<Action> {
        Action::ALL.into_iter().find(|action| *action as u8 == code)
    }
}

/// Bytes of a record before its payload.
pub(super) const HEADER: usize = 40;

/// A record's bytes before its payload, checksum included.
pub(super) type Header = [u8; HEADER];

/// A record, taken apart.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Frame<'a> {
    pub action: Action,
    pub tag: Tag,
    pub position: Position,
    /// The entry's kind; of a truncation 1 when it keeps a position, 0 when it keeps nothing.
    pub kind: u8,
    pub payload: &'a [u8],
}

/// Why bytes are no record or batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Damage(pub &'static str);

impl<'a> Frame<'a> {
    /// A record that speaks of no position.
    pub fn plain(action: Action, tag: Tag, payload: &'a [u8]) -> Frame<'a> {
        Frame { action, tag, position: Position { term: 0, index: 0 }, kind: 0, payload }
    }

    /// A record that carries an entry.
    pub fn entry(action: Action, tag: Tag, record: &'a Record) -> Frame<'a> {
        let Record { position, kind, payload } = record;
        Frame { action, tag, position: *position, kind: *kind, payload }
    }

    /// What goes before the payload. The payload must be shorter than 4 GiB.
    pub fn header(&self) -> Header {
        let mut header = [0; HEADER];
        header[4..8].copy_from_slice(&(self.payload.len() as u32).to_le_bytes());
        header[8] = self.action as u8;
        header[9] = self.kind;
        header[12..16].copy_from_slice(&self.tag.group.number().to_le_bytes());
        header[16..24].copy_from_slice(&self.tag.replica.0.to_le_bytes());
        header[24..32].copy_from_slice(&self.position.term.to_le_bytes());
        header[32..40].copy_from_slice(&self.position.index.to_le_bytes());
        let checksum = checksum(&header, self.payload);
        header[0..4].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    /// The first record of `bytes`, and what follows it. The checksum is verified.
    pub fn decode(bytes: &'a [u8]) -> Result<(Frame<'a>, &'a [u8]), Damage> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(Damage("a record is cut short"));
        };
        let length = u32::from_le_bytes(field(header, 4)) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            return Err(Damage("a record is longer than what holds it"));
        };
        if checksum(header, payload) != u32::from_le_bytes(field(header, 0)) {
            return Err(Damage("the checksum of a record is wrong"));
        }
        let [action, kind] = field(header, 8);
        let action = Action::from_code(action).ok_or(Damage("a record has an unknown action"))?;
        let group = GroupId::from_number(u32::from_le_bytes(field(header, 12)))
            .ok_or(Damage("a record has an unknown group"))?;
        let frame = Frame {
            action,
            tag: Tag { group, replica: ReplicaId(u64::from_le_bytes(field(header, 16))) },
            position: Position {
                term: u64::from_le_bytes(field(header, 24)),
                index: u64::from_le_bytes(field(header, 32)),
            },
            kind,
            payload,
        };
        Ok((frame, rest))
    }
}

/// Covers the header but for the checksum itself, then the payload.
fn checksum(header: &Header, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[4..]), payload)
}

/// `N` bytes at `at`; zeroes where `bytes` is too short, which no caller lets happen.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    debug_assert!(at + N <= bytes.len(), "a field lies inside its header");
    bytes.get(at..).and_then(|bytes| bytes.first_chunk::<N>()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PartitionId;

    fn bytes(frame: &Frame<'_>) -> Vec<u8> {
        [&frame.header()[..], frame.payload].concat()
    }

    fn sample(payload: &[u8]) -> Frame<'_> {
        Frame {
            action: Action::Entry,
            tag: Tag { group: GroupId::Partition(PartitionId(7)), replica: ReplicaId(1 << 40) },
            position: Position { term: 3, index: u64::MAX },
            kind: 9,
            payload,
        }
    }

    #[test]
    fn every_action_reads_back_and_leaves_what_follows() {
        for action in Action::ALL {
            for payload in [&b""[..], b"payload"] {
                let frame = Frame { action, ..sample(payload) };
                let mut stored = bytes(&frame);
                stored.extend_from_slice(b"behind");
                assert_eq!(Frame::decode(&stored), Ok((frame, &b"behind"[..])));
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let stored = bytes(&sample(b"ab"));
        let expected = concat!(
            "02000000",         // length
            "01090000",         // action, kind, two spare
            "07000000",         // group
            "0000000000010000", // replica
            "0300000000000000", // term
            "ffffffffffffffff", // index
            "6162",
        );
        let hex: String = stored[4..].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found() {
        let stored = bytes(&sample(b"payload"));
        for bit in 0..stored.len() * 8 {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&damaged).is_err(), "bit {bit}");
        }
        for cut in 0..stored.len() {
            assert!(Frame::decode(&stored[..cut]).is_err(), "cut at {cut}");
        }
    }
}
