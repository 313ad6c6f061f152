//! Which partitions a node leads, asked as clients ask it: by the question that routes come from. People are
//! told only how many they are, so no verb has this.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kvcore::api::{Error, Limits, NodeId, PartitionId, Result};
use kvcore::rpc::message::{Route, reply, request};
use kvcore::rpc::{Identity, Pool};
use kvcore::types::{Clock, Entropy, Seam};

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The partitions that the node at an address says it leads itself.
pub(crate) fn led(address: &str, node: NodeId) -> Result<BTreeSet<PartitionId>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let seam = Seam { clock: Arc::new(System(Instant::now())), entropy: Arc::new(Random) };
        let pool = Pool::new(Identity::default(), None, &Limits::default(), seam);
        let route = request::Body::Route(Route {});
        let answer = pool.address_peer(address).call(route, PATIENCE).await;
        pool.close().await;
        answer
    });
    let reply::Body::Routes(routes) = answer? else {
        return Err(Error::internal("a question for routes was answered with something else"));
    };
    let led = (0..).map(PartitionId).zip(routes.leaders).filter(|(_, leader)| *leader == node.0);
    Ok(led.map(|(partition, _)| partition).collect())
}

#[derive(Debug)]
struct System(Instant);

#[derive(Debug)]
struct Random;

impl Clock for System {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
    }
}

impl Entropy for Random {
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}
