//! Crashes between the engine and the log, and a change of identity.

use super::*;
use crate::engine::MemoryEngine;
use crate::raft::journal::Journal;
use crate::types::PartitionId;

const GROUP: GroupId = GroupId::Partition(PartitionId(1));

fn tag(replica: u64) -> Tag {
    Tag { group: GROUP, replica: ReplicaId(replica) }
}

fn open(replica: u64, engine: &Arc<dyn Engine>) -> StateMachine {
    let apply = Box::new(Journal::new(GROUP, engine.clone()));
    StateMachine::open(tag(replica), engine.clone(), apply).unwrap().0
}

fn position_of(index: u64) -> Position {
    Position { term: 1, index }
}

async fn apply(machine: &mut StateMachine, indexes: impl Iterator<Item = u64>) {
    let entries: Vec<_> = indexes
        .map(|index| {
            let payload = EntryPayload::Normal(Payload(Bytes::from(index.to_string())));
            Ok((LogEntry { log_id: log_id(position_of(index)), payload }, None))
        })
        .collect();
    machine.apply(futures::stream::iter(entries)).await.unwrap();
}

fn numbers(range: impl Iterator<Item = u64>) -> Vec<Bytes> {
    range.map(|number| Bytes::from(number.to_string())).collect()
}

#[cfg(feature = "rocksdb")]
#[tokio::test]
async fn a_crash_goes_back_to_what_was_flushed_and_each_entry_counts_once() {
    use crate::engine::{RocksEngine, RocksOptions};
    let dir = tempfile::tempdir().unwrap();
    let engine: Arc<dyn Engine> =
        Arc::new(RocksEngine::open(dir.path(), RocksOptions::default()).unwrap());
    let mut machine = open(7, &engine);
    apply(&mut machine, 1..=5).await;
    engine.flush().unwrap();
    apply(&mut machine, 6..=10).await;
    assert_eq!(machine.applied_state().await.unwrap().0, Some(log_id(position_of(10))));
    let persisted = engine.get_persisted(Family::Meta, &keys::applied(GROUP)).unwrap().unwrap();
    assert_eq!(Applied::decode(&persisted).unwrap().position, Some(position_of(5)));

    // The files as they are while the engine is open: what a crash leaves.
    let image = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), image.path().join(file.file_name())).unwrap();
    }
    let engine: Arc<dyn Engine> =
        Arc::new(RocksEngine::open(image.path(), RocksOptions::default()).unwrap());
    let mut machine = open(7, &engine);
    assert_eq!(machine.applied_state().await.unwrap().0, Some(log_id(position_of(5))));
    assert_eq!(Journal::list(GROUP, engine.as_ref()), numbers(1..=5));
    apply(&mut machine, 6..=12).await;
    assert_eq!(Journal::list(GROUP, engine.as_ref()), numbers(1..=12));
}

#[cfg(feature = "rocksdb")]
#[tokio::test]
async fn what_the_log_may_forget_is_on_disk() {
    use crate::engine::{RocksEngine, RocksOptions};
    let dir = tempfile::tempdir().unwrap();
    let engine: Arc<dyn Engine> =
        Arc::new(RocksEngine::open(dir.path(), RocksOptions::default()).unwrap());
    let mut machine = open(7, &engine);
    apply(&mut machine, 1..=5).await;
    let mut builder = machine.get_snapshot_builder().await;
    apply(&mut machine, 6..=7).await;
    let built = builder.build_snapshot().await.unwrap();
    assert_eq!(built.meta.last_log_id, Some(log_id(position_of(5))));
    let persisted = engine.get_persisted(Family::Meta, &keys::applied(GROUP)).unwrap().unwrap();
    assert!(Applied::decode(&persisted).unwrap().position >= Some(position_of(5)));
}

#[tokio::test]
async fn another_replica_begins_with_nothing() {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new(1 << 20));
    let neighbour = GroupId::Partition(PartitionId(2));
    let mut other = Batch::default();
    other.put(Family::Data, keys::data(neighbour, b"key"), Bytes::from_static(b"value"));
    engine.write(&other).unwrap();
    let mut machine = open(7, &engine);
    apply(&mut machine, 1..=5).await;
    drop(machine);

    let mut again = open(7, &engine);
    assert_eq!(again.applied_state().await.unwrap().0, Some(log_id(position_of(5))));
    assert_eq!(Journal::list(GROUP, engine.as_ref()).len(), 5);
    drop(again);

    let mut successor = open(8, &engine);
    assert_eq!(successor.applied_state().await.unwrap().0, None);
    assert!(Journal::list(GROUP, engine.as_ref()).is_empty());
    apply(&mut successor, 1..=1).await;
    assert_eq!(Journal::list(GROUP, engine.as_ref()), numbers(1..=1));
    // The old identity does not come back to what the new one wrote, nor is a neighbour touched.
    let mut former = open(7, &engine);
    assert_eq!(former.applied_state().await.unwrap().0, None);
    assert_eq!(Journal::list(neighbour, engine.as_ref()).len(), 1);
}

#[tokio::test]
async fn a_part_of_another_group_is_refused() {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new(1 << 20));
    let mut machine = open(7, &engine);
    apply(&mut machine, 1..=3).await;
    let (meta, view) = machine.view().unwrap();
    let part = snapshot::Parts::new(view, GROUP).next().unwrap().unwrap();
    let stranger = GroupId::Partition(PartitionId(2));
    assert_eq!(snapshot::pairs(stranger, &part).unwrap_err().kind(), Kind::Corruption);
    // And a broken one leaves everything as it was.
    let broken = part.slice(..part.len() - 1);
    let installed = machine.install_snapshot(&meta, SnapshotData::Parts(vec![broken])).await;
    assert!(installed.is_err());
    assert_eq!(Journal::list(GROUP, engine.as_ref()), numbers(1..=3));
}
