//! A thin client's picture of the cluster: who leads what, and where they are.
//!
//! The picture may be old: any node passes on what it is asked, so a wrong guess costs a hop, never a
//! wrong answer. It is taken anew when an answer tells of a newer epoch, and after a failure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::RwLock;

use crate::rpc::message::{self, reply, request};
use crate::rpc::{Peer, Pool, convert};
use crate::types::{ClusterId, Error, Kind, NodeId, Result, Token};

/// How long taking a new picture may take.
const REFRESH: Duration = Duration::from_secs(1);

/// The picture. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Router(Arc<Inner>);

struct Inner {
    pool: Pool,
    endpoints: Vec<String>,
    picture: RwLock<Picture>,
    refreshing: AtomicBool,
    turn: AtomicUsize,
}

#[derive(Default)]
struct Picture {
    cluster: ClusterId,
    epoch: u64,
    partitions: u16,
    leaders: Vec<Option<NodeId>>,
    members: BTreeMap<NodeId, String>,
}

impl Router {
    /// Finds the cluster through any of the endpoints.
    ///
    /// # Errors
    /// `Unavailable` if none answers in time, with the last reason.
    pub async fn connect(pool: Pool, endpoints: Vec<String>, timeout: Duration) -> Result<Router> {
        let inner = Inner {
            pool,
            endpoints,
            picture: RwLock::default(),
            refreshing: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
        };
        let router = Router(Arc::new(inner));
        let found = super::retry::until(timeout, 0, |left| {
            let router = router.clone();
            async move { router.look(left).await }
        });
        found.await.map_err(|error| {
            let kind = match error.kind() {
                Kind::Timeout => Kind::Unavailable,
                kind => kind,
            };
            Error::new(kind, "no endpoint answers")
                .with("endpoints", router.0.endpoints.join(","))
                .because(error)
        })?;
        Ok(router)
    }

    /// The cluster that was found.
    pub fn cluster(&self) -> ClusterId {
        self.0.picture.read().cluster
    }

    /// The peer to ask about a key: its partition's leader if it is known, else anybody.
    pub(super) fn peer(&self, key: &[u8]) -> Peer {
        let leader = {
            let picture = self.0.picture.read();
            let partition = Token::of(key).partition(picture.partitions);
            picture.leaders.get(usize::from(partition.0)).copied().flatten()
        };
        match leader {
            Some(node) => self.0.pool.node(node),
            None => self.anybody(),
        }
    }

    /// Anybody: members in turn, those with a live link first.
    pub(super) fn anybody(&self) -> Peer {
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let picture = self.0.picture.read();
        let peers = picture.members.keys().map(|node| self.0.pool.node(*node));
        let connected: Vec<Peer> = peers.filter(Peer::connected).collect();
        if let Some(peer) = connected.get(turn % connected.len().max(1)) {
            return peer.clone();
        }
        let nodes: Vec<NodeId> = picture.members.keys().copied().collect();
        let places = nodes.len() + self.0.endpoints.len();
        let place = turn % places.max(1);
        match (nodes.get(place), self.0.endpoints.get(place.saturating_sub(nodes.len()))) {
            (Some(node), _) => self.0.pool.node(*node),
            (None, Some(endpoint)) => self.0.pool.address_peer(endpoint),
            (None, None) => self.0.pool.address_peer(""),
        }
    }

    /// Takes note that asking about a key failed.
    pub(super) fn failed(&self, key: &[u8]) {
        {
            let mut picture = self.0.picture.write();
            let partition = Token::of(key).partition(picture.partitions);
            if let Some(leader) = picture.leaders.get_mut(usize::from(partition.0)) {
                *leader = None;
            }
        }
        self.refresh();
    }

    /// Takes note of the epoch that an answer came with.
    pub(super) fn heard(&self, epoch: u64) {
        if epoch > self.0.picture.read().epoch {
            self.refresh();
        }
    }

    /// Takes a new picture in the background, unless that is under way.
    fn refresh(&self) {
        if self.0.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let router = self.clone();
        tokio::spawn(async move {
            if let Err(error) = router.look(REFRESH).await {
                tracing::debug!(%error, "routes cannot be refreshed");
            }
            router.0.refreshing.store(false, Ordering::Release);
        });
    }

    /// Asks everybody for routes at once, and takes the first answer.
    async fn look(&self, timeout: Duration) -> Result<()> {
        let mut peers: Vec<Peer> = {
            let picture = self.0.picture.read();
            picture.members.keys().map(|node| self.0.pool.node(*node)).collect()
        };
        peers.extend(self.0.endpoints.iter().map(|endpoint| self.0.pool.address_peer(endpoint)));
        let mut answers: FuturesUnordered<_> = peers
            .into_iter()
            .map(|peer| peer.call(request::Body::Route(message::Route {}), timeout))
            .collect();
        let mut last = Error::new(Kind::Unavailable, "there is nobody to ask");
        while let Some(answer) = answers.next().await {
            let taken = answer.and_then(|reply| match reply {
                reply::Body::Routes(routes) => self.take(routes),
                _ => Err(Error::internal("routes were answered with something else")),
            });
            match taken {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn take(&self, routes: message::Routes) -> Result<()> {
        let cluster = convert::cluster_id(&routes.cluster)?
            .ok_or_else(|| Error::new(Kind::Unavailable, "the node belongs to no cluster yet"))?;
        let partitions = u16::try_from(routes.partitions).unwrap_or(0);
        if !partitions.is_power_of_two() {
            return Err(Error::internal("routes with an impossible number of partitions")
                .with("partitions", routes.partitions));
        }
        let mut picture = self.0.picture.write();
        if picture.cluster != ClusterId::default() && picture.cluster != cluster {
            return Err(Error::new(Kind::WrongCluster, "the node belongs to another cluster")
                .with("cluster", cluster)
                .with("expected", picture.cluster));
        }
        for member in &routes.members {
            self.0.pool.set_address(NodeId(member.node), &member.address);
        }
        *picture = Picture {
            cluster,
            epoch: routes.epoch.max(picture.epoch),
            partitions,
            leaders: routes.leaders.into_iter().map(convert::node_id).collect(),
            members: routes
                .members
                .into_iter()
                .map(|member| (NodeId(member.node), member.address))
                .collect(),
        };
        Ok(())
    }
}
