//! What openraft hears of a replica that cannot be reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;

use super::*;
use crate::engine::MemoryEngine;
use crate::raft::MemoryLog;
use crate::raft::types::LeaderId;
use crate::rpc::Identity;
use crate::types::{Clock, Entropy, Limits, NodeId, PartitionId, Seam};

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn wall_ms(&self) -> u64 {
        0
    }
}

impl Entropy for Still {
    fn next_u64(&self) -> u64 {
        0
    }
}

#[tokio::test]
async fn a_stream_to_a_dead_replica_takes_a_request_and_ends_with_its_failure() {
    let seam = Seam { clock: Arc::new(Still), entropy: Arc::new(Still) };
    let pool = Pool::new(Identity::default(), None, &Limits::default(), seam);
    let mut network = Network {
        pool,
        group: GroupId::Partition(PartitionId(1)),
        log: LogStore::memory(MemoryLog::default()),
        progress: Progress::default(),
        engine: Arc::new(MemoryEngine::new(0)),
        staging: Staging::open(None, 0, 1, 1).unwrap(),
        pins: Pins::default(),
        fault: Fault::default(),
    };
    let mut target = network.new_client(7, &Home { node: NodeId(3) }).await;

    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let requests = futures::stream::repeat_with(move || {
        count.fetch_add(1, Ordering::SeqCst);
        AppendEntriesRequest {
            vote: Vote { leader_id: LeaderId { term: 1, voted_for: 1 }, committed: true },
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        }
    });
    let option = RPCOption::new(Duration::from_secs(1));
    let mut answers = target.stream_append(requests, option).await.unwrap();
    assert_eq!(taken.load(Ordering::SeqCst), 0);
    // Unreachable: openraft leaves such a replica alone for a while.
    let first = answers.next().await.unwrap();
    assert!(matches!(first, Err(RPCError::Unreachable(_))), "{first:?}");
    assert!((1..=WINDOW).contains(&taken.load(Ordering::SeqCst)));
    // And nothing after a failure, which would be out of order.
    assert!(answers.next().now_or_never().unwrap().is_none());
    drop(answers);
    assert!(target.backoff().unwrap().next().unwrap() >= Duration::from_millis(50));
}
