//! A message between replicas reaches the replica that it names, or nobody.

// All of this is test code: whatever goes wrong here is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use kvcore::rpc::message::{AskVote, Position, Vote, reply, request};
use kvcore::rpc::{Identity, Pool};
use kvcore::types::{Clock, Entropy, Kind, Limits, NodeId, Seam};

use cluster::{Cluster, put};

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

#[test]
fn a_message_for_another_replica_is_not_taken() {
    let cluster = Cluster::start(1, 1, false);
    put(&cluster.client(0), "key", "value").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ask = |to: u64, term: u64| {
        let seam = Seam { clock: Arc::new(Still), entropy: Arc::new(Still) };
        let address = cluster.node(0).address();
        let stranger = Identity {
            node: Some(NodeId(99)),
            cluster: Some(cluster.node(0).cluster()),
            address: "127.0.0.1:1".into(),
        };
        runtime.block_on(async move {
            let pool = Pool::new(stranger, None, &Limits::default(), seam);
            let vote = AskVote {
                group: 0,
                to,
                vote: Some(Vote { term, replica: 99, committed: false }),
                last: Some(Position { term, index: 1_000 }),
                pre: true,
                transfer: true,
            };
            let peer = pool.address_peer(&address);
            let answer = peer.call(request::Body::AskVote(vote), Duration::from_secs(10)).await;
            pool.close().await;
            answer
        })
    };
    // The founder's metadata replica is 1, so its only partition's is 2.
    let answer = ask(2, 7).unwrap();
    assert!(matches!(answer, reply::Body::Voted(_)));
    for to in [0, 1, 3, u64::MAX] {
        let error = ask(to, 9).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{to}");
        assert!(error.message().contains("not on this node"), "{error}");
    }
    put(&cluster.client(0), "key", "value").unwrap();
    cluster.close();
}
