//! Crashes between the engine and the log, and a change of identity.

use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use super::*;
use crate::engine::{Guarded, MemoryEngine};
use crate::raft::journal::{Journal, ship};
use crate::types::PartitionId;

const GROUP: GroupId = GroupId::Partition(PartitionId(1));

fn tag(replica: u64) -> Tag {
    Tag { group: GROUP, replica: ReplicaId(replica) }
}

fn open(replica: u64, engine: &Arc<dyn Engine>) -> StateMachine {
    open_at(replica, engine, &Staging::open(None, 1 << 20, 1 << 30, 1).unwrap())
}

fn open_at(replica: u64, engine: &Arc<dyn Engine>, staging: &Staging) -> StateMachine {
    try_open_at(replica, engine, staging).unwrap()
}

fn try_open_at(replica: u64, engine: &Arc<dyn Engine>, staging: &Staging) -> Result<StateMachine> {
    let (stop, stopped) = watch::channel(false);
    // Nobody stops it.
    std::mem::forget(stop);
    let parts = Parts {
        tag: tag(replica),
        engine: engine.clone(),
        staging: staging.clone(),
        apply: Box::new(Journal::new(GROUP, engine.clone())),
        fault: Fault::default(),
        stop: stopped,
    };
    Ok(StateMachine::open(parts)?.0)
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
    assert!(machine.try_create_snapshot_builder(false).await.is_none(), "nothing is on disk yet");
    engine.flush().unwrap();
    apply(&mut machine, 6..=7).await;
    let mut builder = machine.try_create_snapshot_builder(false).await.unwrap();
    let built = builder.build_snapshot().await.unwrap();
    assert_eq!(built.meta.last_log_id, Some(log_id(position_of(5))));
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

/// The files of a replica on disk, and of one that gives it a snapshot.
#[cfg(feature = "rocksdb")]
struct Disk {
    dir: tempfile::TempDir,
}

#[cfg(feature = "rocksdb")]
impl Disk {
    fn new() -> Disk {
        Disk { dir: tempfile::tempdir().unwrap() }
    }

    fn engine(&self) -> Arc<dyn Engine> {
        use crate::engine::{RocksEngine, RocksOptions};
        let dir = self.dir.path().join("state");
        Arc::new(RocksEngine::open(&dir, RocksOptions::default()).unwrap())
    }

    fn staging(&self) -> Staging {
        let dir = self.dir.path().join("snapshots");
        Staging::open(Some(dir), 1 << 20, 1 << 30, 1).unwrap()
    }

    /// The files as they are now: what a crash leaves. RocksDB tidies up in the background: an image in
    /// which files come and go while it is taken is of no moment at all, and taken again.
    fn crash(&self) -> Disk {
        loop {
            let image = Disk::new();
            let before = names(self.dir.path());
            if copy(self.dir.path(), image.dir.path()).is_ok() && names(self.dir.path()) == before {
                return image;
            }
        }
    }
}

/// All files under a directory, with their sizes.
#[cfg(feature = "rocksdb")]
fn names(dir: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(names(&path));
        } else {
            found.push((path, entry.metadata().map_or(0, |metadata| metadata.len())));
        }
    }
    found.sort();
    found
}

#[cfg(feature = "rocksdb")]
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            std::fs::create_dir(&to)?;
            copy(&from, &to)?;
        } else {
            std::fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

/// What a replica finds that is opened after a crash: its list, and how far it is applied. Opened twice,
/// since the first time changes what is there.
#[cfg(feature = "rocksdb")]
async fn found(disk: &Disk) -> (Vec<Bytes>, Option<LogId>) {
    let mut last = None;
    for _ in 0..2 {
        let (engine, staging) = (disk.engine(), disk.staging());
        let mut machine = open_at(8, &engine, &staging);
        let applied = machine.applied_state().await.unwrap().0;
        let now = (Journal::list(GROUP, engine.as_ref()), applied);
        assert!(last.is_none_or(|last| last == now), "opening again changes something");
        last = Some(now);
    }
    let left: Vec<_> = std::fs::read_dir(disk.dir.path().join("snapshots")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    last.unwrap()
}

/// A replica with 1 to 20, on a disk of its own, and what it has to give.
#[cfg(feature = "rocksdb")]
struct Giver {
    _disk: Disk,
    engine: Arc<dyn Engine>,
    staging: Staging,
    meta: SnapshotMeta,
    view: Arc<dyn View>,
}

#[cfg(feature = "rocksdb")]
impl Giver {
    async fn new(replica: u64) -> Giver {
        let disk = Disk::new();
        let (engine, staging) = (disk.engine(), disk.staging());
        let mut machine = open_at(replica, &engine, &staging);
        apply(&mut machine, 1..=20).await;
        let (meta, view) = machine.view().unwrap();
        Giver { _disk: disk, engine, staging, meta, view }
    }

    async fn ship(&self, to: Tag, staging: &Staging) -> Staged {
        ship(to, self.view.clone(), (self.engine.as_ref(), &self.staging), staging).await
    }

    fn mark(&self, staged: &Staged) -> Mark {
        let applied = Applied::from_meta(&self.meta).unwrap().encode().unwrap();
        Mark::new(self.meta.last_log_id.as_ref().map(position), applied, staged.runs())
    }
}

#[cfg(feature = "rocksdb")]
#[tokio::test]
async fn an_installation_that_a_crash_breaks_off_leads_to_the_old_state_or_the_new_one() {
    // The giver has 1 to 20; the taker 1 to 5, some of it on disk.
    let giver = Giver::new(7).await;
    let taker = Disk::new();
    let (engine, staging) = (taker.engine(), taker.staging());
    let mut machine = open_at(8, &engine, &staging);
    apply(&mut machine, 1..=3).await;
    engine.flush().unwrap();
    apply(&mut machine, 4..=5).await;
    let old = (numbers(1..=3), Some(log_id(position_of(3))));
    let new = (numbers(1..=20), Some(log_id(position_of(20))));

    let staged = giver.ship(tag(8), &staging).await;
    assert_eq!(found(&taker.crash()).await, old, "before the mark");
    let mark = giver.mark(&staged);
    staged.mark(&mark).unwrap();
    assert_eq!(found(&taker.crash()).await, new, "behind the mark");
    // In the middle of it the engine may hold anything: nothing, ...
    engine.write(&erase(GROUP)).unwrap();
    engine.flush().unwrap();
    assert_eq!(found(&taker.crash()).await, new, "with everything deleted");
    // ... some of it, ...
    let some: Vec<_> = staged.runs().iter().take(1).cloned().collect();
    engine.import(&snapshot::stored(GROUP), &some, &Batch::default()).unwrap();
    assert_eq!(found(&taker.crash()).await, new, "with some of it there");
    // ... or all of it, with the mark still there, although the replica has gone on.
    import(engine.as_ref(), tag(8), &mark, &staged).unwrap();
    assert_eq!(found(&taker.crash()).await, new, "with all of it there");
    let mut machine = open_at(8, &engine, &Staging::open(None, 0, 1, 1).unwrap());
    apply(&mut machine, 21..=22).await;
    engine.flush().unwrap();
    let later = (numbers(1..=22), Some(log_id(position_of(22))));
    assert_eq!(found(&taker.crash()).await, later, "with the mark of what was installed before");
    staged.installed().unwrap();
    assert_eq!(found(&taker.crash()).await, later, "without the mark");
}

#[cfg(feature = "rocksdb")]
#[tokio::test]
async fn an_installation_is_on_disk_before_its_mark_goes() {
    let giver = Giver::new(7).await;
    let taker = Disk::new();
    let (engine, staging) = (taker.engine(), taker.staging());
    let staged = giver.ship(tag(8), &staging).await;
    let mark = giver.mark(&staged);
    staged.mark(&mark).unwrap();
    // All of it is there, but what came last is in memory only: the engine has lived on.
    engine.import(&snapshot::stored(GROUP), staged.runs(), &Batch::default()).unwrap();
    drop(staged);
    let mut last = Batch::default();
    last.put(Family::Meta, keys::replica(GROUP), owner_record(ReplicaId(8)));
    last.put(Family::Meta, keys::applied(GROUP), mark.applied.clone());
    engine.write(&last).unwrap();
    drop(open_at(8, &engine, &staging));
    let new = (numbers(1..=20), Some(log_id(position_of(20))));
    assert_eq!(found(&taker.crash()).await, new);
}

#[cfg(feature = "rocksdb")]
#[tokio::test]
async fn how_far_another_replica_was_on_disk_is_not_taken_for_its_own() {
    let disk = Disk::new();
    let (engine, staging) = (disk.engine(), disk.staging());
    let mut machine = open_at(7, &engine, &staging);
    apply(&mut machine, 1..=5).await;
    engine.flush().unwrap();
    drop(machine);
    assert_eq!(persisted(engine.as_ref(), GROUP).unwrap(), Some(position_of(5)));
    let mut successor = open_at(8, &engine, &staging);
    assert_eq!(persisted(engine.as_ref(), GROUP).unwrap(), None);
    assert!(successor.try_create_snapshot_builder(false).await.is_none());
}

#[tokio::test]
async fn a_group_is_open_once_until_nothing_of_it_is_at_work() {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new(1 << 20));
    let staging = Staging::open(None, 1 << 20, 1 << 30, 1).unwrap();
    let machine = open_at(7, &engine, &staging);
    let at_work = machine.hold.clone();
    let mut ended = machine.hold.ended();
    drop(machine);
    let second = try_open_at(8, &engine, &staging).err().unwrap();
    assert_eq!(second.kind(), Kind::Unavailable);
    assert!(futures::poll!(std::pin::pin!(ended.wait())).is_pending());
    drop(at_work);
    ended.wait().await;
    open_at(8, &engine, &staging);
}

#[cfg(feature = "rocksdb")]
#[tokio::test]
async fn a_snapshot_of_an_old_identity_is_not_installed() {
    let giver = Giver::new(6).await;
    let taker = Disk::new();
    let (engine, staging) = (taker.engine(), taker.staging());
    drop(open_at(7, &engine, &staging));
    let staged = giver.ship(tag(7), &staging).await;
    staged.mark(&Mark::new(None, Bytes::new(), staged.runs())).unwrap();
    drop(staged);
    // The replica has left, and another one has come in its place.
    staging.forget(tag(7)).unwrap();
    assert_eq!(found(&taker.crash()).await, (Vec::new(), None));
}

#[tokio::test]
async fn a_snapshot_of_another_group_is_refused_and_changes_nothing() {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new(1 << 20));
    let staging = Staging::open(None, 1 << 20, 1 << 30, 1).unwrap();
    let stranger = GroupId::Partition(PartitionId(2));
    let mut batch = Batch::default();
    batch.put(Family::Data, keys::data(stranger, b"key"), Bytes::from_static(b"value"));
    engine.write(&batch).unwrap();
    let mut machine = open_at(7, &engine, &staging);
    apply(&mut machine, 1..=3).await;
    let view = engine.view().unwrap();
    let theirs = Tag { group: stranger, replica: ReplicaId(9) };
    let staged = ship(theirs, view, (engine.as_ref(), &staging), &staging).await;
    let meta = machine.view().unwrap().0;
    let error = machine.install_snapshot(&meta, SnapshotData::Staged(staged)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(machine.parts.fault.damage().unwrap().kind(), Kind::Corruption);
    assert_eq!(Journal::list(GROUP, engine.as_ref()), numbers(1..=3));
}

/// An engine that refuses so many writes, and the number of those that are left.
fn busy(kind: Kind) -> (Arc<dyn Engine>, Arc<AtomicUsize>) {
    let refusals = Arc::new(AtomicUsize::new(0));
    let left = refusals.clone();
    let guarded =
        Guarded::by(move || match left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(Error::new(kind, "not now")),
            Err(_) => Ok(()),
        });
    (Arc::new(guarded), refusals)
}

#[tokio::test(start_paused = true)]
async fn what_an_engine_cannot_take_now_it_takes_later() {
    for kind in [Kind::StorageFull, Kind::Overloaded] {
        let (engine, refusals) = busy(kind);
        let mut machine = open(7, &engine);
        apply(&mut machine, 1..=2).await;
        refusals.store(1000, SeqCst);
        apply(&mut machine, 3..=4).await;
        assert_eq!(Journal::list(GROUP, engine.as_ref()), numbers(1..=4));
        assert!(machine.parts.fault.damage().is_none());
    }
}

#[tokio::test]
async fn what_the_whole_engine_fails_with_is_no_damage_to_a_replica() {
    let (engine, refusals) = busy(Kind::Corruption);
    let mut machine = open(7, &engine);
    apply(&mut machine, 1..=2).await;
    refusals.store(usize::MAX, SeqCst);
    let payload = EntryPayload::Normal(Payload(Bytes::from_static(b"3")));
    let entry = Ok((LogEntry { log_id: log_id(position_of(3)), payload }, None));
    machine.apply(futures::stream::iter([entry])).await.unwrap_err();
    assert!(machine.parts.fault.damage().is_none());
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_an_engine_can_be_stopped() {
    let (engine, refusals) = busy(Kind::StorageFull);
    let (stop, stopped) = watch::channel(false);
    let mut machine = open(7, &engine);
    machine.parts.stop = stopped;
    refusals.store(usize::MAX, SeqCst);
    let payload = EntryPayload::Normal(Payload(Bytes::from_static(b"1")));
    let entry = Ok((LogEntry { log_id: log_id(position_of(1)), payload }, None));
    let applied = machine.apply(futures::stream::iter([entry]));
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        stop.send_replace(true);
    };
    let (applied, ()) = futures::join!(applied, stopping);
    assert_eq!(applied.unwrap_err().kind(), io::ErrorKind::StorageFull);
}
