//! The layout: under which key each thing lies.
//!
//! ```text
//! Family::Data   group u16 | user's key
//! Family::Meta   group u16 | tag u8 | rest
//!                            1 replica     which replica the stored group belongs to
//!                            2 applied     how far the log has been applied
//!                            3 session     session u64 | sequence u64: the answer given to a command
//!                            4 state       the state of the metadata group
//! ```
//!
//! Numbers are big-endian, so that keys sort as their numbers do and everything of one group is one
//! range. A partition's group number is its own; `0xFFFF` stands for the metadata group. User keys
//! keep their order within a partition. What the values hold is the business of the floors above.

use std::ops::Range;

use bytes::{BufMut, Bytes};

use super::{Family, View};
use crate::types::{GroupId, PartitionId, Result, SessionId, limits};

const METADATA: u16 = 0xFFFF;
const GROUP_BYTES: usize = 2;

/// `replicas` relies on this tag being the lowest: a group's replica record is its first. `records_range`
/// relies on these two being the lowest.
const REPLICA: u8 = 1;
const APPLIED: u8 = 2;
const SESSION: u8 = 3;
const STATE: u8 = 4;

/// Where a user's key lies in [`Family::Data`].
pub fn data(group: GroupId, key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(GROUP_BYTES + key.len());
    stored.put_u16(number(group));
    stored.put_slice(key);
    stored
}

/// All of a group's keys in [`Family::Data`].
pub fn data_range(group: GroupId) -> Range<Vec<u8>> {
    let end = match number(group).checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        // Nothing sorts above 0xFF.. of any length but a longer one: longer than any key may be.
        None => vec![0xFF; GROUP_BYTES + limits::KEY_BYTES + 1],
    };
    data(group, &[])..end
}

/// The user's key of a key found in [`Family::Data`], or `None` for bytes that this layout does not
/// write. Shares the memory of `stored`.
pub fn user_key(stored: &Bytes) -> Option<Bytes> {
    (stored.len() >= GROUP_BYTES).then(|| stored.slice(GROUP_BYTES..))
}

/// All of a group's records in [`Family::Meta`].
pub fn meta_range(group: GroupId) -> Range<Vec<u8>> {
    meta(group, u8::MIN)..meta(group, u8::MAX)
}

/// A group's records in [`Family::Meta`] but for those that speak of the replica itself: which one it is,
/// and how far it has applied the log.
pub fn records_range(group: GroupId) -> Range<Vec<u8>> {
    meta(group, SESSION)..meta(group, u8::MAX)
}

/// Where the id of the replica that a stored group belongs to lies in [`Family::Meta`].
pub fn replica(group: GroupId) -> Vec<u8> {
    meta(group, REPLICA)
}

/// Where a group keeps how far it has applied the log, in [`Family::Meta`].
pub fn applied(group: GroupId) -> Vec<u8> {
    meta(group, APPLIED)
}

/// Where the answer to one command of one session lies in [`Family::Meta`]. The answers of a session
/// sort by their sequence.
pub fn session(group: GroupId, session: SessionId, sequence: u64) -> Vec<u8> {
    let mut stored = meta(group, SESSION);
    stored.put_u64(session.0);
    stored.put_u64(sequence);
    stored
}

/// All of a group's session records in [`Family::Meta`].
pub fn session_range(group: GroupId) -> Range<Vec<u8>> {
    meta(group, SESSION)..meta(group, SESSION + 1)
}

/// The session and sequence of a session record's key, or `None` for any other key.
pub fn parse_session(stored: &[u8]) -> Option<(SessionId, u64)> {
    let (_, rest) = stored.split_first_chunk::<GROUP_BYTES>()?;
    let (&[tag], rest) = rest.split_first_chunk::<1>()?;
    let (session, rest) = rest.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    (tag == SESSION && rest.is_empty())
        .then(|| (SessionId(u64::from_be_bytes(*session)), u64::from_be_bytes(*sequence)))
}

/// Where the metadata group keeps its state, in [`Family::Meta`].
pub fn state(group: GroupId) -> Vec<u8> {
    meta(group, STATE)
}

/// Every stored group, with the value of its replica record, partitions first. Takes one short read
/// for each group, however much the groups hold.
///
/// # Errors
/// As [`View::scan`].
pub fn replicas(view: &dyn View) -> Result<Vec<(GroupId, Bytes)>> {
    let mut found = Vec::new();
    let mut range = Vec::new()..meta_range(GroupId::Metadata).end;
    while let Some((key, value)) = first(view, range.clone())? {
        let Some((prefix, tag)) = key.split_first_chunk::<GROUP_BYTES>() else { break };
        let group = group(u16::from_be_bytes(*prefix));
        if tag == [REPLICA] {
            found.push((group, value));
        }
        range.start = meta_range(group).end;
    }
    Ok(found)
}

fn first(view: &dyn View, range: Range<Vec<u8>>) -> Result<Option<(Bytes, Bytes)>> {
    Ok(view.scan(Family::Meta, range, false, 1, usize::MAX)?.pop())
}

fn meta(group: GroupId, tag: u8) -> Vec<u8> {
    let mut stored = Vec::with_capacity(GROUP_BYTES + 1 + 16);
    stored.put_u16(number(group));
    stored.put_u8(tag);
    stored
}

fn number(group: GroupId) -> u16 {
    match group {
        GroupId::Metadata => METADATA,
        GroupId::Partition(partition) => {
            debug_assert!(partition.0 < limits::PARTITIONS, "no such partition: {partition}");
            partition.0
        }
    }
}

fn group(number: u16) -> GroupId {
    match number {
        METADATA => GroupId::Metadata,
        partition => GroupId::Partition(PartitionId(partition)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::engine::{Batch, Engine, MemoryEngine};

    fn any_group() -> impl Strategy<Value = GroupId> {
        prop_oneof![
            Just(GroupId::Metadata),
            prop_oneof![0..3_u16, 253..259_u16, 4093..4096_u16, 0..4096_u16]
                .prop_map(|number| GroupId::Partition(PartitionId(number))),
        ]
    }

    /// Keys that are likely to be prefixes of each other and to run into the bounds.
    fn any_key() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(prop_oneof![Just(0_u8), Just(1), Just(0xFE), Just(0xFF)], 0..6),
            vec(any::<u8>(), 1..40),
            Just(vec![0xFF; limits::KEY_BYTES]),
        ]
    }

    proptest! {
        #[test]
        fn a_key_lies_in_its_own_group_only(
            group in any_group(), other in any_group(), key in any_key(),
        ) {
            let stored = data(group, &key);
            prop_assert!(data_range(group).contains(&stored));
            prop_assert_eq!(data_range(other).contains(&stored), group == other);
        }

        #[test]
        fn ranges_of_groups_never_overlap(one in any_group(), other in any_group()) {
            for range in [data_range, meta_range, session_range] {
                let (one_range, other_range) = (range(one), range(other));
                prop_assert!(one_range.start < one_range.end);
                if one != other {
                    let apart = one_range.end <= other_range.start
                        || other_range.end <= one_range.start;
                    prop_assert!(apart, "{one_range:?} and {other_range:?}");
                }
            }
        }

        #[test]
        fn user_keys_keep_their_order(group in any_group(), a in any_key(), b in any_key()) {
            prop_assert_eq!(data(group, &a).cmp(&data(group, &b)), a.cmp(&b));
        }

        #[test]
        fn user_keys_read_back(group in any_group(), key in any_key()) {
            let stored = Bytes::from(data(group, &key));
            prop_assert_eq!(user_key(&stored).unwrap(), Bytes::from(key));
        }

        #[test]
        fn session_records_read_back_and_sort(
            group in any_group(),
            a in (any::<u64>(), any::<u64>()),
            b in (any::<u64>(), any::<u64>()),
        ) {
            let [one, other] = [a, b].map(|(id, sequence)| session(group, SessionId(id), sequence));
            prop_assert_eq!(parse_session(&one), Some((SessionId(a.0), a.1)));
            prop_assert_eq!(one.cmp(&other), a.cmp(&b));
            prop_assert!(session_range(group).contains(&one));
            prop_assert!(meta_range(group).contains(&one));
        }

        #[test]
        fn records_of_a_group_are_distinct(group in any_group()) {
            let records = [replica(group), applied(group), state(group)];
            for (at, record) in records.iter().enumerate() {
                prop_assert!(meta_range(group).contains(record));
                prop_assert!(!session_range(group).contains(record));
                prop_assert_eq!(parse_session(record), None);
                prop_assert_eq!(records.iter().position(|other| other == record), Some(at));
            }
        }

        #[test]
        fn stored_groups_are_listed(groups in proptest::collection::btree_set(any_group(), 0..20)) {
            let engine = MemoryEngine::new(usize::MAX);
            let mut batch = Batch::new();
            for group in &groups {
                batch.put(Family::Meta, replica(*group), group.number().to_string());
                batch.put(Family::Meta, applied(*group), "applied");
                batch.put(Family::Meta, session(*group, SessionId(u64::MAX), 1), "answer");
            }
            engine.write(&batch).unwrap();
            let view: Arc<dyn View> = engine.view().unwrap();
            let mut found = replicas(view.as_ref()).unwrap();
            prop_assert_eq!(found.len(), groups.len());
            found.sort();
            for ((found, value), group) in found.iter().zip(&groups) {
                prop_assert_eq!(found, group);
                prop_assert_eq!(value, &Bytes::from(group.number().to_string()));
            }
        }
    }

    #[test]
    fn the_layout_on_disk_is_fixed() {
        let partition = GroupId::Partition(PartitionId(0x0102));
        assert_eq!(data(partition, b"k"), [1, 2, b'k']);
        assert_eq!(replica(partition), [1, 2, 1]);
        assert_eq!(applied(GroupId::Metadata), [0xFF, 0xFF, 2]);
        assert_eq!(state(GroupId::Metadata), [0xFF, 0xFF, 4]);
        assert_eq!(
            session(partition, SessionId(3), 4),
            [1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4]
        );
    }

    #[test]
    fn a_group_without_a_replica_record_is_not_listed() {
        let engine = MemoryEngine::new(usize::MAX);
        let mut batch = Batch::new();
        batch.put(Family::Meta, applied(GroupId::Partition(PartitionId(1))), "left over");
        batch.put(Family::Meta, replica(GroupId::Partition(PartitionId(2))), "here");
        engine.write(&batch).unwrap();
        let found = replicas(engine.view().unwrap().as_ref()).unwrap();
        assert_eq!(found, [(GroupId::Partition(PartitionId(2)), Bytes::from("here"))]);
    }

    #[test]
    fn foreign_keys_do_not_parse() {
        assert_eq!(user_key(&Bytes::from("x")), None);
        assert_eq!(parse_session(b""), None);
        let mut long = session(GroupId::Metadata, SessionId(1), 1);
        long.push(0);
        assert_eq!(parse_session(&long), None);
    }
}
