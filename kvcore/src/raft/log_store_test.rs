//! openraft's own suite, and what is left after a restart.

use std::sync::Arc;

use openraft::StorageError;
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use tempfile::TempDir;

use super::*;
use crate::engine::MemoryEngine;
use crate::raft::journal::{Journal, ship};
use crate::raft::snapshot::SnapshotData;
use crate::raft::staging::Staging;
use crate::raft::state_machine::{Builder, Parts, StateMachine};
use crate::raft::types::{Home, SnapshotMeta, StoredMembership, Term};
use crate::types::{GroupId, PartitionId, ReplicaId};
use crate::wal::{Options, Tag, Wal};

const GROUP: GroupId = GroupId::Partition(PartitionId(1));
const TAG: Tag = Tag { group: GROUP, replica: ReplicaId(7) };

fn wal(dir: &TempDir) -> Wal {
    let options = Options { segment_bytes: 1024 * 1024, ..Options::default() };
    Wal::open(dir.path(), options).unwrap()
}

/// The state machine, with the way between two replicas inside: what one of them gives is taken
/// apart, as it is for the wire, before another installs it.
struct Shipped(StateMachine, Arc<MemoryEngine>, Staging);

impl RaftStateMachine<Consensus> for Shipped {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.0.applied_state().await
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: futures::Stream<Item = io::Result<openraft::storage::EntryResponder<Consensus>>>
            + Unpin
            + OptionalSend,
    {
        self.0.apply(entries).await
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.0.get_snapshot_builder().await
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        self.0.try_create_snapshot_builder(force).await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> io::Result<()> {
        let SnapshotData::View(view) = data else { panic!("a snapshot of one's own") };
        let staged = ship(TAG, view, (self.1.as_ref(), &self.2), &self.2).await;
        self.0.install_snapshot(meta, SnapshotData::Staged(staged)).await
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<Snapshot<Term, u64, Home, SnapshotData>>> {
        self.0.get_current_snapshot().await
    }
}

fn machine() -> Shipped {
    let engine = Arc::new(MemoryEngine::new(1 << 20));
    let staging = Staging::open(None, 1 << 20, 1 << 30, 1).unwrap();
    let parts = Parts {
        tag: TAG,
        engine: engine.clone(),
        staging: staging.clone(),
        apply: Box::new(Journal::new(GROUP, engine.clone())),
        fault: Fault::default(),
        stop: tokio::sync::watch::channel(false).1,
    };
    Shipped(StateMachine::open(parts).unwrap().0, engine, staging)
}

struct OnDisk;

impl StoreBuilder<Consensus, LogStore, Shipped, (TempDir, Wal)> for OnDisk {
    async fn build(&self) -> Result<((TempDir, Wal), LogStore, Shipped), StorageError<Consensus>> {
        let dir = tempfile::tempdir().unwrap();
        let wal = wal(&dir);
        let log = LogStore::disk(wal.log(TAG).unwrap());
        Ok(((dir, wal), log, machine()))
    }
}

struct InMemory;

impl StoreBuilder<Consensus, LogStore, Shipped> for InMemory {
    async fn build(&self) -> Result<((), LogStore, Shipped), StorageError<Consensus>> {
        Ok(((), LogStore::memory(MemoryLog::default()), machine()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_passes_on_disk() {
    Suite::test_all(OnDisk).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_passes_in_memory() {
    Suite::test_all(InMemory).await.unwrap();
}

fn at(term: u64, index: u64) -> Position {
    Position { term, index }
}

fn written(term: u64, index: u64) -> LogEntry {
    let payload = Payload(Bytes::from(format!("{term} {index}")));
    LogEntry { log_id: log_id(at(term, index)), payload: EntryPayload::Normal(payload) }
}

/// Appends, and returns when openraft would have been told that it is durable.
async fn append(log: &mut LogStore, entries: Vec<LogEntry>) {
    let (tell, told) = Consensus::oneshot();
    log.append(entries, IOFlushed::signal(tell)).await.unwrap();
    told.await.unwrap().unwrap();
}

/// What a crash at this moment would leave: the files as they are, while the log is still open.
fn crash(dir: &TempDir) -> TempDir {
    let image = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), image.path().join(file.file_name())).unwrap();
    }
    image
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let open = wal(&dir);
    let mut log = LogStore::disk(open.log(TAG).unwrap());
    for round in 0..20 {
        append(&mut log, (1..=5).map(|n| written(1, round * 5 + n)).collect()).await;
        let vote = Vote {
            leader_id: LeaderId { term: round + 2, voted_for: 7 },
            committed: round % 2 == 0,
        };
        log.save_vote(&vote).await.unwrap();

        let image = crash(&dir);
        let reopened = wal(&image);
        let mut found = LogStore::disk(reopened.log(TAG).unwrap());
        assert_eq!(found.read_vote().await.unwrap(), Some(vote));
        let state = found.get_log_state().await.unwrap();
        assert_eq!(state.last_log_id, Some(log_id(at(1, round * 5 + 5))));
        let entries = found.try_get_log_entries(1..=round * 5 + 5).await.unwrap();
        let expected: Vec<LogEntry> = (1..=round * 5 + 5).map(|n| written(1, n)).collect();
        assert_eq!(entries, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_log_reads_back_with_its_cuts() {
    let dir = tempfile::tempdir().unwrap();
    let open = wal(&dir);
    let mut log = LogStore::disk(open.log(TAG).unwrap());
    append(&mut log, (1..=10).map(|n| written(1, n)).collect()).await;
    log.truncate_after(Some(log_id(at(1, 7)))).await.unwrap();
    append(&mut log, vec![written(2, 8)]).await;
    log.purge(log_id(at(1, 3))).await.unwrap();
    log.save_committed(Some(log_id(at(2, 8)))).await.unwrap();
    drop(log);
    open.close().unwrap();

    let reopened = wal(&dir);
    let mut log = LogStore::disk(reopened.log(TAG).unwrap());
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(at(1, 3))));
    assert_eq!(state.last_log_id, Some(log_id(at(2, 8))));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(at(2, 8))));
    let entries = log.try_get_log_entries(0..100).await.unwrap();
    let expected: Vec<LogEntry> = (4..=7).map(|n| written(1, n)).chain([written(2, 8)]).collect();
    assert_eq!(entries, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replicas_log_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let open = wal(&dir);
    let mut log = LogStore::disk(open.log(TAG).unwrap());
    append(&mut log, vec![written(1, 1)]).await;
    let successor = Tag { replica: ReplicaId(8), ..TAG };
    assert!(LogStore::disk(open.log(successor).unwrap()).is_empty());
    log.remove().await.unwrap();
    drop(log);
    open.close().unwrap();
    let reopened = wal(&dir);
    assert!(LogStore::disk(reopened.log(TAG).unwrap()).is_empty());
}

#[test]
fn votes_and_positions_read_back() {
    let vote = Vote { leader_id: LeaderId { term: 7, voted_for: 9 }, committed: true };
    assert_eq!(decode_vote(&encode_vote(&vote)).unwrap(), vote);
    assert_eq!(decode_position(&encode_position(at(3, u64::MAX))).unwrap(), at(3, u64::MAX));
    assert_eq!(decode_vote(b"short").unwrap_err().kind(), Kind::Corruption);
}

#[test]
fn entries_read_back() {
    for before in [written(2, 5), LogEntry { payload: EntryPayload::Blank, ..written(2, 5) }] {
        assert_eq!(entry(record(before.clone()).unwrap()).unwrap(), before);
    }
    let unknown = Record { position: at(1, 1), kind: 9, payload: Bytes::new() };
    assert_eq!(entry(unknown).unwrap_err().kind(), Kind::Corruption);
}
