//! A partition in which nothing gets done, as it is without a majority: here the engine stands still.

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::*;
use crate::engine::{Engine, Guarded};
use crate::partition::{Replica, ReplicaOptions};
use crate::raft::{LogStore, MemoryLog, Staging};
use crate::rpc::{Identity, Pool};
use crate::types::config::Timers;
use crate::types::{Clock, Entropy, Limits, Mutation, NodeId, PartitionId, ReplicaId, SessionId};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many commands are asked for.
const ASKED: usize = 20;

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn wall_ms(&self) -> u64 {
        1_000
    }
}

impl Entropy for Fixed {
    fn next_u64(&self) -> u64 {
        7
    }
}

async fn leading(engine: Arc<dyn Engine>, seam: Seam) -> Replica {
    let limits = Limits::default();
    let replica = Replica::start(ReplicaOptions {
        partition: PartitionId(1),
        replica: ReplicaId(1),
        log: LogStore::memory(MemoryLog::default()),
        engine,
        staging: Staging::open(None, 1 << 20, 1 << 30, 1).unwrap(),
        pool: Pool::new(Identity::default(), None, &limits, seam.clone()),
        timers: Timers::default(),
        limits,
        seam,
    });
    let replica = replica.await.unwrap();
    replica.found(NodeId(1)).await.unwrap();
    eventually("the replica leads", || replica.group().leads()).await;
    replica
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A command that fills an entry of its own.
fn command(sequence: u64) -> Command {
    let value = Bytes::from(vec![0; ENTRY_BYTES]);
    Command {
        session: SessionId(1),
        sequence,
        lowest_unanswered: 1,
        not_after_ms: 2_000,
        mutation: Mutation::Put { key: Bytes::from_static(b"k"), value, if_revision: None },
    }
}

fn alive(rooms: &[Weak<()>]) -> usize {
    rooms.iter().filter(|room| room.strong_count() > 0).count()
}

// More than one thread, because the engine keeps one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_gives_up_takes_back_what_was_not_proposed_and_only_that() {
    let seam = Seam { clock: Arc::new(Fixed), entropy: Arc::new(Fixed) };
    let gate = Arc::new(Mutex::new(()));
    let passes = gate.clone();
    let engine = Arc::new(Guarded::by(move || {
        drop(passes.lock());
        Ok(())
    }));
    let replica = leading(engine.clone(), seam.clone()).await;
    let proposer = Arc::new(Proposer::start(replica.group().clone(), seam));
    // Set up and applied; from here on the engine stands still.
    proposer.propose(command(1), Box::new(())).await.unwrap();
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let (shut, is_shut) = oneshot::channel();
    let keeper = std::thread::spawn(move || {
        let _gate = gate.lock();
        shut.send(()).unwrap();
        opened.recv().unwrap();
    });
    is_shut.await.unwrap();

    let (mut calls, mut rooms) = (Vec::new(), Vec::new());
    for sequence in (2..).take(ASKED) {
        let (room, proposer) = (Arc::new(()), proposer.clone());
        rooms.push(Arc::downgrade(&room));
        calls.push(tokio::spawn(async move {
            proposer.propose(command(sequence), Box::new(room)).await
        }));
    }
    let waiting = QUEUE - (ASKED - WINDOW);
    eventually("the window is full", || proposer.queue.capacity() == waiting).await;
    assert_eq!(alive(&rooms), ASKED);
    for call in &calls {
        call.abort();
    }
    eventually("what waits is taken back", || alive(&rooms) <= WINDOW).await;
    // What is in the log takes up memory whoever waits for it.
    assert_eq!(alive(&rooms), WINDOW);

    open.send(()).unwrap();
    keeper.join().unwrap();
    eventually("what was proposed is done", || alive(&rooms) == 0).await;
    let outcome = proposer.propose(command(100), Box::new(())).await.unwrap();
    // The first, those of the window, and this one: nothing that was taken back.
    assert_eq!(outcome, Outcome::Put { revision: 1 + WINDOW as u64 + 1 });
    replica.stop().await;
}
