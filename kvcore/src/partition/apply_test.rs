use super::*;
use crate::engine::MemoryEngine;
use crate::types::SessionId;

struct Bench {
    engine: Arc<dyn Engine>,
    partition: Partition,
    sequence: u64,
    index: u64,
}

impl Bench {
    fn new() -> Bench {
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new(1 << 20));
        let mut partition = Partition::new(PartitionId(1), engine.clone(), 10);
        partition.load().unwrap();
        Bench { engine, partition, sequence: 0, index: 0 }
    }

    fn command(&mut self, mutation: Mutation) -> Command {
        self.sequence += 1;
        Command {
            session: SessionId(1),
            sequence: self.sequence,
            lowest_unanswered: 1,
            not_after_ms: 1_000,
            mutation,
        }
    }

    fn entry(&mut self, time_ms: u64, commands: Vec<Command>) -> Vec<Outcome> {
        self.index += 1;
        let payload = Entry { time_ms, commands }.encode().unwrap();
        let mut batch = Batch::default();
        let at = Position { term: 1, index: self.index };
        let reply = self.partition.apply(at, &payload, &mut batch).unwrap();
        self.engine.write(&batch).unwrap();
        self.partition.written();
        match reply {
            Reply::Outcomes(outcomes) => outcomes,
            other => panic!("{other:?}"),
        }
    }

    fn get(&self, key: &str) -> Option<(Bytes, Revision)> {
        let key = keys::data(GroupId::Partition(PartitionId(1)), key.as_bytes());
        self.engine.get(Family::Data, &key).unwrap().map(|bytes| parse_stored(&bytes).unwrap())
    }
}

fn put(key: &str, value: &str) -> Mutation {
    Mutation::Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        if_revision: None,
    }
}

/// The same, only if the key has that revision.
fn only_if(revision: Revision, mut mutation: Mutation) -> Mutation {
    match &mut mutation {
        Mutation::Put { if_revision, .. } | Mutation::Delete { if_revision, .. } => {
            *if_revision = Some(revision);
        }
    }
    mutation
}

fn delete(key: &str) -> Mutation {
    Mutation::Delete { key: Bytes::copy_from_slice(key.as_bytes()), if_revision: None }
}

#[test]
fn revisions_count_mutations_and_deletes_say_what_was_there() {
    let mut bench = Bench::new();
    let commands = [put("a", "1"), put("a", "2"), delete("a"), delete("a"), put("a", "3")]
        .map(|mutation| bench.command(mutation))
        .to_vec();
    let outcomes = bench.entry(0, commands);
    assert_eq!(
        outcomes,
        [
            Outcome::Put { revision: 1 },
            Outcome::Put { revision: 2 },
            Outcome::Deleted { existed: true },
            Outcome::Deleted { existed: false },
            Outcome::Put { revision: 4 },
        ]
    );
    assert_eq!(bench.get("a"), Some((Bytes::from_static(b"3"), 4)));
}

#[test]
fn a_condition_that_does_not_hold_changes_nothing_and_says_what_holds() {
    let conflict =
        |revision| Outcome::Refused { code: Kind::Conflict.code(), revision: Some(revision) };
    let mut bench = Bench::new();
    // Whether or not what they are about has been written yet: the first five are one batch.
    let commands = [
        only_if(3, put("a", "never")),
        only_if(0, put("a", "1")),
        only_if(0, put("a", "never")),
        only_if(1, put("a", "2")),
        only_if(1, delete("a")),
    ];
    let commands = commands.map(|mutation| bench.command(mutation)).to_vec();
    let outcomes = bench.entry(0, commands.clone());
    assert_eq!(
        outcomes,
        [
            conflict(0),
            Outcome::Put { revision: 1 },
            conflict(1),
            Outcome::Put { revision: 2 },
            conflict(2),
        ]
    );
    assert_eq!(bench.get("a"), Some((Bytes::from_static(b"2"), 2)));
    // A retry is told the same, whatever holds by now.
    assert_eq!(bench.entry(0, commands), outcomes);
    let commands = [
        only_if(1, put("a", "never")),
        only_if(2, delete("a")),
        only_if(2, delete("a")),
        only_if(0, delete("a")),
        put("b", "4"),
    ];
    let commands = commands.map(|mutation| bench.command(mutation)).to_vec();
    assert_eq!(
        bench.entry(0, commands),
        [
            conflict(2),
            Outcome::Deleted { existed: true },
            conflict(0),
            Outcome::Deleted { existed: false },
            // What was refused has not been counted.
            Outcome::Put { revision: 4 },
        ]
    );
    assert_eq!(bench.get("a"), None);
}

#[test]
fn a_command_that_comes_twice_is_applied_once() {
    let mut bench = Bench::new();
    let first = bench.command(put("a", "old"));
    let second = bench.command(put("a", "new"));
    let before = bench.entry(0, vec![first.clone()]);
    bench.entry(0, vec![second]);
    assert_eq!(bench.entry(0, vec![first]), before);
    assert_eq!(bench.get("a"), Some((Bytes::from_static(b"new"), 2)));
}

#[test]
fn a_restarted_replica_goes_on_with_the_same_state() {
    let mut bench = Bench::new();
    let first = bench.command(put("a", "1"));
    bench.entry(500, vec![first.clone()]);
    bench.partition = Partition::new(PartitionId(1), bench.engine.clone(), 10);
    bench.partition.load().unwrap();
    // The answer, the counter and log time have all survived.
    assert_eq!(bench.entry(0, vec![first.clone()]), [Outcome::Put { revision: 1 }]);
    let next = bench.command(put("b", "2"));
    assert_eq!(bench.entry(0, vec![next]), [Outcome::Put { revision: 2 }]);
    let late = Command { not_after_ms: 499, ..bench.command(put("c", "3")) };
    let expired = Outcome::Refused { code: Kind::SessionExpired.code(), revision: None };
    assert_eq!(bench.entry(0, vec![late]), [expired]);
    assert_eq!(bench.get("c"), None);
}

#[test]
fn an_entry_of_a_newer_version_stops_the_replica() {
    let mut bench = Bench::new();
    let at = Position { term: 1, index: 1 };
    let newer = Bytes::from_static(&[FORMAT + 1, 0]);
    let error = bench.partition.apply(at, &newer, &mut Batch::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
}
