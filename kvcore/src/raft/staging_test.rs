//! Snapshots on their way: in order, bounded, and gone when they are not wanted.

use bytes::Bytes;

use super::*;
use crate::engine::{Content, Family};
use crate::rpc::message::SnapshotChunk;
use crate::types::{GroupId, PartitionId, ReplicaId};

fn tag(partition: u16) -> Tag {
    Tag { group: GroupId::Partition(PartitionId(partition)), replica: ReplicaId(9) }
}

fn chunk(transfer: u64, chunk: u32, run: u32, data: &'static str) -> SnapshotChunk {
    SnapshotChunk {
        transfer,
        chunk,
        run,
        data_family: run == 0,
        data: Bytes::from_static(data.as_bytes()),
        checksum: crc32c::crc32c(data.as_bytes()),
        ..SnapshotChunk::default()
    }
}

fn contents(staged: &Staged) -> Vec<(Family, Vec<u8>)> {
    let read = |run: &Run| match &run.content {
        Content::File { path, bytes } => {
            let held = fs::read(path).unwrap();
            assert_eq!(held.len() as u64, *bytes);
            held
        }
        Content::Memory(held) => held.to_vec(),
    };
    staged.runs().iter().map(|run| (run.family, read(run))).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// One in a directory, one in memory.
fn both() -> (tempfile::TempDir, [Staging; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let open = |dir| Staging::open(dir, 100, 1 << 30, 1).unwrap();
    let both = [open(Some(dir.path().join("snapshots"))), open(None)];
    (dir, both)
}

#[tokio::test]
async fn chunks_become_runs() {
    let (dir, both) = both();
    for staging in both {
        for sent in [
            chunk(1, 0, 0, "one "),
            chunk(1, 1, 0, "two"),
            chunk(1, 2, 1, "three"),
            chunk(1, 3, 2, ""),
        ] {
            staging.take(tag(1), sent).await.unwrap();
        }
        let staged = staging.complete(tag(1), 1, 4).await.unwrap();
        let expected = [
            (Family::Data, b"one two".to_vec()),
            (Family::Meta, b"three".to_vec()),
            (Family::Meta, Vec::new()),
        ];
        assert_eq!(contents(&staged), expected);
        drop(staged);
        assert!(names(&dir.path().join("snapshots")).is_empty());
    }
}

#[tokio::test]
async fn a_snapshot_of_nothing_arrives() {
    let (_dir, both) = both();
    for staging in both {
        assert!(staging.complete(tag(1), 5, 0).await.unwrap().runs().is_empty());
    }
}

#[tokio::test]
async fn what_is_out_of_order_or_damaged_ends_the_transfer() {
    let (dir, both) = both();
    for staging in both {
        let damaged = SnapshotChunk { checksum: 0, ..chunk(1, 1, 0, "two") };
        for (bad, kind) in [
            (chunk(1, 2, 0, "three"), Kind::InvalidArgument),
            (chunk(1, 1, 2, "two"), Kind::InvalidArgument),
            (chunk(2, 1, 0, "two"), Kind::InvalidArgument),
            (damaged, Kind::Corruption),
        ] {
            staging.take(tag(1), chunk(1, 0, 0, "one")).await.unwrap();
            assert_eq!(staging.take(tag(1), bad).await.unwrap_err().kind(), kind);
            let next = staging.take(tag(1), chunk(1, 1, 0, "two")).await;
            assert_eq!(next.unwrap_err().kind(), Kind::InvalidArgument);
            assert!(names(&dir.path().join("snapshots")).is_empty());
        }
        staging.take(tag(1), chunk(1, 0, 0, "one")).await.unwrap();
        let short = staging.complete(tag(1), 1, 2).await.err().unwrap();
        assert_eq!(short.kind(), Kind::InvalidArgument);
        // Another transfer takes the place of one that is not finished.
        staging.take(tag(1), chunk(1, 0, 0, "old")).await.unwrap();
        staging.take(tag(1), chunk(2, 0, 0, "new")).await.unwrap();
        let staged = staging.complete(tag(1), 2, 1).await.unwrap();
        assert_eq!(contents(&staged), [(Family::Data, b"new".to_vec())]);
    }
}

#[tokio::test]
async fn what_has_arrived_is_not_swept_away_by_the_next() {
    let (_dir, both) = both();
    for staging in both {
        staging.take(tag(1), chunk(1, 0, 0, "one")).await.unwrap();
        let staged = staging.complete(tag(1), 1, 1).await.unwrap();
        // Its leader does not know that it has arrived, and begins again.
        let next = staging.take(tag(1), chunk(2, 0, 0, "again")).await.unwrap_err();
        assert_eq!(next.kind(), Kind::Unavailable);
        let empty = staging.complete(tag(1), 3, 0).await.err().unwrap();
        assert_eq!(empty.kind(), Kind::Unavailable);
        assert_eq!(contents(&staged), [(Family::Data, b"one".to_vec())]);
        drop(staged);
        staging.take(tag(1), chunk(2, 0, 0, "again")).await.unwrap();
        let staged = staging.complete(tag(1), 2, 1).await.unwrap();
        assert_eq!(contents(&staged), [(Family::Data, b"again".to_vec())]);
    }
}

#[tokio::test(start_paused = true)]
async fn two_are_taken_at_once_and_two_are_sent() {
    let (_dir, both) = both();
    for staging in both {
        staging.take(tag(1), chunk(1, 0, 0, "a")).await.unwrap();
        staging.take(tag(2), chunk(2, 0, 0, "b")).await.unwrap();
        let third = staging.take(tag(3), chunk(3, 0, 0, "c")).await.unwrap_err();
        assert_eq!(third.kind(), Kind::Overloaded);
        // One that is being installed still takes up its place.
        let staged = staging.complete(tag(1), 1, 1).await.unwrap();
        assert!(staging.take(tag(3), chunk(3, 0, 0, "c")).await.is_err());
        drop(staged);
        staging.take(tag(3), chunk(3, 0, 0, "c")).await.unwrap();
        // One of which nothing comes any more makes way.
        tokio::time::advance(STALE).await;
        staging.take(tag(3), chunk(3, 1, 0, "c")).await.unwrap();
        staging.take(tag(4), chunk(4, 0, 0, "d")).await.unwrap();
        assert!(staging.complete(tag(2), 2, 1).await.is_err());

        let (first, second) =
            (staging.send(GroupId::Metadata).unwrap(), staging.send(GroupId::Metadata).unwrap());
        assert_ne!(first.transfer(), second.transfer());
        assert_eq!(staging.send(GroupId::Metadata).err().unwrap().kind(), Kind::Overloaded);
        drop(first);
        staging.send(GroupId::Metadata).unwrap();
    }
}

#[tokio::test]
async fn memory_is_bounded() {
    let staging = Staging::open(None, 10, 1 << 30, 1).unwrap();
    staging.take(tag(1), chunk(1, 0, 0, "0123456")).await.unwrap();
    let error = staging.take(tag(1), chunk(1, 1, 0, "789a")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge);
}

#[tokio::test]
async fn a_start_clears_what_is_not_marked() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("snapshots");
    let open = || Staging::open(Some(dir.clone()), 0, 1 << 30, 1).unwrap();
    let staging = open();
    let sending = staging.send(GroupId::Metadata).unwrap();
    staging.take(tag(1), chunk(1, 0, 0, "one")).await.unwrap();
    staging.take(tag(2), chunk(2, 0, 0, "two")).await.unwrap();
    let marked = staging.complete(tag(2), 2, 1).await.unwrap();
    marked.mark(&Mark::new(None, Bytes::new(), marked.runs())).unwrap();
    drop(marked);
    assert_eq!(names(&dir).len(), 3, "a mark keeps its files");
    std::mem::forget(sending);
    std::mem::forget(staging);

    let staging = open();
    assert_eq!(names(&dir), ["in-2-9"]);
    assert!(staging.marked(tag(1)).unwrap().is_none());
    // Nothing else may come for that replica before it is installed.
    let next = staging.take(tag(2), chunk(3, 0, 0, "new")).await.unwrap_err();
    assert_eq!(next.kind(), Kind::Unavailable);
    let (_, staged) = staging.marked(tag(2)).unwrap().unwrap();
    assert_eq!(contents(&staged), [(Family::Data, b"two".to_vec())]);
    drop(staged);
    assert!(staging.marked(tag(2)).unwrap().is_some(), "it is not installed yet");
    let (_, staged) = staging.marked(tag(2)).unwrap().unwrap();
    staged.installed().unwrap();
    assert!(staging.marked(tag(2)).unwrap().is_none());
    assert!(names(&dir).is_empty());
}
