//! How a node comes to its place in a cluster: it has one, it is let into one, or it founds one.
//!
//! A node that was given addresses to join never founds a cluster by itself: two halves of one
//! intended cluster would each accept writes. Only `bootstrap` lets it, and only if none of the
//! addresses belongs to a cluster.

use std::time::Duration;

use tokio::time::Instant;

use super::identity::Place;
use crate::metadata::Metadata;
use crate::rpc::message::{self, reply, request};
use crate::rpc::{Pool, convert};
use crate::types::config::NodeConfig;
use crate::types::{ClusterId, Error, Kind, NodeId, ReplicaId, Result, Seam};

/// How long one address may take to answer.
const DIAL: Duration = Duration::from_secs(2);
/// How long a join may take to be decided.
const JOIN: Duration = Duration::from_secs(5);
/// Between two rounds of asking everybody.
const PAUSE: Duration = Duration::from_millis(100);

/// A node on its way to a place.
pub(super) struct Seeker<'a> {
    pub(super) node: NodeId,
    pub(super) address: &'a str,
    pub(super) config: &'a NodeConfig,
    pub(super) pool: &'a Pool,
    pub(super) seam: &'a Seam,
}

impl Seeker<'_> {
    /// Finds a place for a node that has none.
    ///
    /// # Errors
    /// `Unavailable` if nobody to join answered in time; what the cluster refused the node with.
    pub(super) async fn find(&self, deadline: Instant) -> Result<Place> {
        let config = self.config;
        if config.join.is_empty() || (config.bootstrap && !self.anybody_belongs().await) {
            return Ok(Place {
                cluster: ClusterId(self.seam.next_u128().max(1)),
                metadata: Metadata::FOUNDER,
                founding: Some(config.founding.found(config.data_dir.is_some())?),
            });
        }
        self.join(deadline).await
    }

    /// For a node that has a place: checks that the addresses it was given do not belong to another
    /// cluster. Addresses that do not answer are no reason not to start.
    ///
    /// # Errors
    /// `WrongCluster`.
    pub(super) async fn check(&self) -> Result<()> {
        let dials = self.config.join.iter().map(|address| {
            let peer = self.pool.address_peer(address);
            async move { (address, peer.connect(DIAL).await) }
        });
        for (address, dialled) in futures::future::join_all(dials).await {
            match dialled {
                Err(error) if error.kind() == Kind::WrongCluster => {
                    return Err(Error::new(
                        Kind::WrongCluster,
                        "the data directory belongs to another cluster than the address to join",
                    )
                    .with("address", address)
                    .because(error));
                }
                Err(error) => tracing::debug!(%error, address, "address to join does not answer"),
                Ok(caller) => {
                    if let Some((node, address)) = caller.node.zip(caller.address.as_ref()) {
                        self.pool.set_address(node, address);
                    }
                }
            }
        }
        Ok(())
    }

    async fn anybody_belongs(&self) -> bool {
        let dials = self.config.join.iter().map(|address| {
            let peer = self.pool.address_peer(address);
            async move { peer.connect(DIAL).await }
        });
        let dialled = futures::future::join_all(dials).await;
        dialled.iter().flatten().any(|caller| caller.cluster.is_some())
    }

    async fn join(&self, deadline: Instant) -> Result<Place> {
        let mut last = Error::new(Kind::Unavailable, "there is nobody to join");
        loop {
            for address in &self.config.join {
                match self.ask(address).await {
                    Ok(place) => return Ok(place),
                    Err(error) if lasting(error.kind()) => {
                        return Err(Error::new(
                            error.kind(),
                            "the cluster does not let this node in",
                        )
                        .with("address", address)
                        .because(error));
                    }
                    Err(error) => last = error,
                }
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(Error::new(Kind::Unavailable, "nobody to join answered in time")
                    .with("join", self.config.join.join(","))
                    .with("start_timeout_ms", self.config.start_timeout.as_millis())
                    .because(last));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(&self, address: &str) -> Result<Place> {
        let config = self.config;
        let peer = self.pool.address_peer(address);
        let caller = peer.connect(DIAL).await?;
        if caller.cluster.is_none() {
            return Err(Error::new(Kind::Unavailable, "the node there belongs to no cluster yet"));
        }
        let join = message::Join {
            node: self.node.0,
            address: self.address.to_owned(),
            zone: config.zone.clone().unwrap_or_default(),
            weight_milli: config.weight_milli()?,
            durable: config.data_dir.is_some(),
            partitions: config.founding.partitions.map(u32::from),
            replication_factor: config.founding.replication_factor.map(u32::from),
            vnodes: config.founding.vnodes,
        };
        let reply::Body::Joined(joined) = peer.call(request::Body::Join(join), JOIN).await? else {
            return Err(Error::internal("joining was answered with something else"));
        };
        for member in &joined.members {
            self.pool.set_address(NodeId(member.node), &member.address);
        }
        Ok(Place {
            cluster: convert::required(convert::cluster_id(&joined.cluster)?, "cluster")?,
            metadata: ReplicaId(joined.metadata_replica),
            founding: None,
        })
    }
}

/// Whether asking again would bring the same answer.
fn lasting(kind: Kind) -> bool {
    !matches!(kind, Kind::Unavailable | Kind::Timeout | Kind::Overloaded | Kind::Internal)
}
