//! The life of a node, from its first file to its last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::core::Core;
use super::damage::Damage;
use super::founding::Seeker;
use super::handlers::Handlers;
use super::host::Host;
use super::identity::{Identity, Place};
use super::storage::{Directory, Storage};
use super::{departure, liveness, mover, rebalancer, space, succession, trimmer, upkeep, vitals};
use crate::metadata::{Change, Metadata, MetadataOptions, NewMember};
use crate::rpc::{self, Caller, Handler, Peer, Pool};
use crate::types::config::{ClusterConfig, NodeConfig};
use crate::types::{ClusterId, Error, GroupId, Kind, NodeId, Result, Seam};
use crate::wal::Tag;

/// How long a node that comes back waits for its partitions to have leaders, before it says that it
/// is ready all the same: the others may have to be started first.
const GRACE: Duration = Duration::from_secs(3);
/// How long a founding may take to be decided.
const FOUND: Duration = Duration::from_secs(10);
/// How long a stopping node waits for what still uses its state.
const RELEASE: Duration = Duration::from_secs(5);
/// How often a starting node looks whether it is ready.
const LOOK: Duration = Duration::from_millis(20);

/// A running node. Must be stopped on the runtime it was started on; dropping it without that ends
/// its tasks but does not wait for them.
pub struct Node {
    core: Arc<Core>,
    handlers: Door,
    listen: SocketAddr,
    tasks: JoinSet<()>,
    // Held to the end: whoever opens the directory next must find everything written, and free.
    directory: Option<Directory>,
}

/// What is there before the node is: taken down again if it does not come to be.
struct Ground {
    directory: Option<Directory>,
    identity: Identity,
    /// Whether the identity was found rather than made.
    known: bool,
    listen: SocketAddr,
    address: String,
    pool: Pool,
    handlers: Door,
    config: NodeConfig,
    seam: Seam,
}

/// The way in, which closes when it is dropped. Links hold the handlers, these hold the node, and the
/// node holds the links: a node that is given up half-way would otherwise keep itself, with its files,
/// for ever.
struct Door(Arc<Handlers>);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Node {
    /// Starts a node; returns when it is a member of a cluster and can serve.
    ///
    /// # Errors
    /// `InvalidArgument`, `WrongCluster`, `Unavailable`, `Corruption`, `StorageFull`, `Unsupported`,
    /// `Internal`. Nothing is left running then.
    pub async fn start(config: NodeConfig, seam: Seam) -> Result<Node> {
        config.validate()?;
        let deadline = Instant::now() + config.start_timeout;
        let ground = Ground::lay(config, seam).await?;
        let (pool, handlers) = (ground.pool.clone(), ground.handlers.0.clone());
        let node = ground.build(deadline).await;
        if node.is_err() {
            handlers.close();
            pool.close().await;
        }
        node
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.core.node
    }

    /// Its cluster.
    pub fn cluster(&self) -> ClusterId {
        self.core.cluster
    }

    /// Where it listens.
    pub fn listen_address(&self) -> SocketAddr {
        self.listen
    }

    /// What others dial.
    pub fn address(&self) -> &str {
        &self.core.address
    }

    /// The node as its own peer, for clients in this process.
    pub fn peer(&self) -> Peer {
        let caller = Caller {
            node: Some(self.core.node),
            address: Some(self.core.address.clone()),
            cluster: Some(self.core.cluster),
            bulk: false,
        };
        Peer::local(self.handlers.0.clone(), Arc::new(caller))
    }

    /// Tells when the node is a member no longer: because it left, or was removed.
    pub fn departed(&self) -> watch::Receiver<bool> {
        self.core.departed.subscribe()
    }

    /// Stops the node: hands over what it leads, ends its tasks, puts everything on disk, and lets go of
    /// the directory.
    ///
    /// # Errors
    /// What the disk says; `Internal` if something does not let go of the state in time. The node is
    /// stopped all the same.
    pub async fn stop(self) -> Result<()> {
        let Node { core, handlers, mut tasks, directory, .. } = self;
        // First of all, so that nobody gives back what is handed over.
        core.stopping.store(true, Ordering::Release);
        tasks.shutdown().await;
        mover::hand_over_all(&core).await;
        handlers.0.close();
        // The links before the replicas, so that nothing is asked of a replica that is stopping.
        core.pool.close().await;
        if core.storage.log_is_full() {
            // Nobody waits for room any more: they would not stop before there is some.
            core.storage.end_log();
        }
        core.host.stop().await;
        core.metadata.stop().await;
        let storage = core.storage.clone();
        drop(core);
        let closed = close(storage.clone()).await;
        let released = release(storage).await;
        drop(directory);
        closed.and(released)
    }
}

impl Ground {
    /// Takes hold of the directory and the port.
    async fn lay(config: NodeConfig, seam: Seam) -> Result<Ground> {
        let directory = config.data_dir.as_deref().map(Directory::lock).transpose()?;
        let identity = match &directory {
            Some(directory) => Identity::load(directory.path())?,
            None => None,
        };
        let known = identity.is_some();
        let identity = identity.unwrap_or_else(|| Identity::new(&seam));
        let listen = config.listen_address()?;
        let unusable = |error: std::io::Error| {
            Error::new(Kind::InvalidArgument, "the address cannot be listened on")
                .with("listen", &config.listen)
                .because(error)
        };
        let listener = TcpListener::bind(listen).await.map_err(unusable)?;
        let bound = listener.local_addr().map_err(unusable)?;
        let address = config.advertise.clone().unwrap_or_else(|| bound.to_string());
        let handlers = Arc::new(Handlers::new(config.limits.inflight_bytes));
        let who = rpc::Identity {
            node: Some(identity.node),
            cluster: identity.place.as_ref().map(|place| place.cluster),
            address: address.clone(),
        };
        let handler: Arc<dyn Handler> = handlers.clone();
        let pool = Pool::new(who, Some(handler), &config.limits, seam.clone());
        if let Err(error) = pool.serve(listener) {
            pool.close().await;
            return Err(error);
        }
        let handlers = Door(handlers);
        Ok(Ground {
            directory,
            identity,
            known,
            listen: bound,
            address,
            pool,
            handlers,
            config,
            seam,
        })
    }

    async fn build(mut self, deadline: Instant) -> Result<Node> {
        let resumed = self.identity.place.is_some();
        let (place, storage) = match self.identity.place.clone() {
            Some(place) => {
                self.seeker().check().await?;
                let directory = self.directory.as_ref();
                directory.map_or(Ok(()), Storage::check)?;
                (place, self.open().await?)
            }
            None => self.settle(deadline).await?,
        };
        let storage = Arc::new(storage);
        let built = self.run(&place, storage.clone()).await;
        let (core, tasks) = match built {
            Ok(built) => built,
            Err(error) => return Err(abandon(storage, error).await),
        };
        let node = Node {
            core,
            handlers: self.handlers,
            listen: self.listen,
            tasks,
            directory: self.directory,
        };
        let ready = ready(&node.core, &place, resumed, deadline).await;
        if let Err(error) = ready {
            // The reason for stopping says more than what stopping might add.
            drop(node.stop().await);
            return Err(error);
        }
        Ok(node)
    }

    fn seeker(&self) -> Seeker<'_> {
        Seeker {
            node: self.identity.node,
            address: &self.address,
            config: &self.config,
            pool: &self.pool,
            seam: &self.seam,
        }
    }

    /// Opens the storage. Reading the log back may take seconds, so it has a thread of its own.
    async fn open(&self) -> Result<Storage> {
        let path = self.directory.as_ref().map(|directory| directory.path().to_owned());
        let (config, seed) = (self.config.storage.clone(), self.seam.entropy.next_u64());
        let opened = tokio::task::spawn_blocking(move || {
            if let Some(path) = &path {
                space::make_room(path, &config)?;
            }
            Storage::open(path.as_deref(), &config, seed)
        })
        .await;
        opened.map_err(|error| Error::internal("opening was interrupted").because(error))?
    }

    /// Finds a place in a cluster; it is on disk before anything is built on it.
    async fn settle(&mut self, deadline: Instant) -> Result<(Place, Storage)> {
        self.check_intent()?;
        // The storage before the place: a node that cannot keep anything must not become a member, and
        // a directory that has a place but no storage has lost it.
        let storage = self.open().await?;
        match self.take_place(&storage, deadline).await {
            Ok(place) => Ok((place, storage)),
            Err(error) => Err(abandon(Arc::new(storage), error).await),
        }
    }

    /// A directory that was used to look for a cluster is not used to found one: the node's id may have
    /// been let in although the answer was lost.
    fn check_intent(&self) -> Result<()> {
        let config = &self.config;
        match &self.directory {
            Some(directory) if self.known && config.join.is_empty() && !config.bootstrap => {
                Err(Error::new(
                    Kind::InvalidArgument,
                    "the data directory was used to join a cluster; give it addresses to join, or \
                     remove it to found one",
                )
                .with("data_dir", directory.path().display()))
            }
            _ => Ok(()),
        }
    }

    async fn take_place(&mut self, storage: &Storage, deadline: Instant) -> Result<Place> {
        if !self.known && !storage.is_empty()? {
            return Err(Error::new(
                Kind::Corruption,
                "the data directory has lost its identity; remove all of it to join as a new node",
            ));
        }
        // The id goes to disk before it is told to anybody: a join whose answer is lost is asked for
        // again under the same id.
        if let Some(directory) = self.directory.as_ref().filter(|_| !self.config.join.is_empty()) {
            self.identity.save(directory.path())?;
        }
        let place = self.seeker().find(deadline).await?;
        self.identity.place = Some(place.clone());
        if let Some(directory) = &self.directory {
            self.identity.save(directory.path())?;
        }
        self.pool.set_cluster(place.cluster);
        Ok(place)
    }

    async fn metadata(&self, place: &Place, storage: &Storage) -> Result<Metadata> {
        let tag = Tag { group: GroupId::Metadata, replica: place.metadata };
        Metadata::start(MetadataOptions {
            replica: place.metadata,
            log: storage.log(tag)?,
            engine: storage.engine(),
            pool: self.pool.clone(),
            staging: storage.staging(),
            timers: self.config.timers.clone(),
        })
        .await
    }

    /// Starts the metadata replica and the tasks.
    async fn run(&self, place: &Place, storage: Arc<Storage>) -> Result<(Arc<Core>, JoinSet<()>)> {
        let node = self.identity.node;
        let damage = Arc::new(Damage::load(storage.directory())?);
        // What is held back is given back before anything needs it.
        let (keeper, space) = space::Keeper::new(&storage)?;
        let metadata = match self.metadata(place, &storage).await {
            // What was opened failed at once, as when merging comes upon a damaged file.
            Err(error) if storage.failure().is_some() => {
                tracing::error!(%error, "the disk failed: opening what is on it anew");
                mend(&storage, &damage).await?;
                self.metadata(place, &storage).await?
            }
            started => started?,
        };
        let host = Host::new(
            node,
            self.config.clone(),
            self.pool.clone(),
            storage.clone(),
            self.seam.clone(),
            damage,
        );
        let core = Arc::new(Core {
            node,
            cluster: place.cluster,
            address: self.address.clone(),
            config: self.config.clone(),
            pool: self.pool.clone(),
            storage,
            space,
            vitals: Mutex::default(),
            sizes: Mutex::default(),
            stopping: AtomicBool::new(false),
            departed: watch::Sender::new(false),
            metadata,
            host,
        });
        self.handlers.0.open(core.clone());
        if let Some(founding) = &place.founding
            && let Err(error) = found(&core, founding.clone()).await
        {
            core.metadata.stop().await;
            return Err(error);
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(upkeep::run(core.clone()));
        tasks.spawn(space::run(core.clone(), keeper));
        tasks.spawn(trimmer::run(core.clone()));
        tasks.spawn(liveness::run(core.clone()));
        tasks.spawn(mover::run(core.clone()));
        tasks.spawn(rebalancer::run(core.clone()));
        tasks.spawn(succession::run(core.clone()));
        tasks.spawn(vitals::run(core.clone()));
        tasks.spawn(departure::run(core.clone(), self.handlers.0.clone()));
        Ok((core, tasks))
    }
}

/// Opens anew what has failed, before anything runs on it.
async fn mend(storage: &Arc<Storage>, damage: &Arc<Damage>) -> Result<()> {
    let (storage, damage) = (storage.clone(), damage.clone());
    let mended = tokio::task::spawn_blocking(move || {
        storage.reopen(|group, replica, error| damage.salvaged(group, replica, error))
    });
    mended.await.map_err(|error| Error::internal("opening was interrupted").because(error))?
}

async fn close(storage: Arc<Storage>) -> Result<()> {
    let closed = tokio::task::spawn_blocking(move || storage.close()).await;
    closed.map_err(|error| Error::internal("closing was interrupted").because(error))?
}

/// Waits until requests and replicas that are ending have let go of the state, and closes it.
async fn release(storage: Arc<Storage>) -> Result<()> {
    let engine = storage.engine();
    drop(storage);
    let deadline = Instant::now() + RELEASE;
    while Arc::strong_count(&engine) > 1 {
        if Instant::now() >= deadline {
            return Err(Error::internal("the state is still in use")
                .with("holders", Arc::strong_count(&engine) - 1)
                .with("waited_ms", RELEASE.as_millis()));
        }
        tokio::time::sleep(LOOK).await;
    }
    let dropped = tokio::task::spawn_blocking(move || drop(engine)).await;
    dropped.map_err(|error| Error::internal("closing was interrupted").because(error))
}

/// Closes what was opened for a node that does not come to be; the reason for that stays the error.
async fn abandon(storage: Arc<Storage>, error: Error) -> Error {
    if let Err(second) = close(storage).await {
        tracing::warn!(error = %second, "storage did not close cleanly");
    }
    error
}

/// Founds the cluster, or finishes a founding that was interrupted.
async fn found(core: &Core, config: ClusterConfig) -> Result<()> {
    core.metadata.found(core.node).await?;
    if core.state().founded() {
        return Ok(());
    }
    let deadline = Instant::now() + FOUND;
    let change = Change::Found {
        cluster: core.cluster,
        config,
        founder: NewMember {
            node: core.node,
            address: core.address.clone(),
            zone: core.config.zone.clone(),
            weight_milli: core.config.weight_milli()?,
        },
    };
    while !core.state().founded() {
        match core.decide(&change, FOUND).await {
            Ok(_) => return Ok(()),
            // The group has elected nobody yet, or the founding is on its way here.
            Err(error) if error.kind() == Kind::Unavailable && Instant::now() < deadline => {
                core.metadata.group().changed(LOOK).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until the node can serve.
async fn ready(core: &Core, place: &Place, resumed: bool, deadline: Instant) -> Result<()> {
    let grace = Instant::now() + GRACE;
    loop {
        let state = core.state();
        if *core.departed.borrow() {
            return Err(departure::refusal(core));
        }
        if state.founded() {
            core.config.founding.agrees_with(core.config.data_dir.is_some(), &state.config)?;
        }
        let partitions = state.table.iter().map(|(partition, _)| partition);
        let missing = partitions
            .filter(|partition| {
                // A damaged replica is none to wait for.
                let hosted = state.hosted(*partition, core.node);
                hosted.is_some() && hosted != core.host.damage().of(*partition)
            })
            .find(|partition| core.host.replica(*partition).is_none());
        let member = state.founded() && state.members.contains_key(&core.node);
        if member && missing.is_none() {
            let replicas = core.host.replicas();
            let led = core.metadata.group().leader().is_some()
                && replicas.iter().all(|replica| replica.group().leader().is_some());
            if led || (resumed && Instant::now() >= grace) {
                return Ok(());
            }
        }
        if Instant::now() >= deadline {
            return Err(Error::new(Kind::Unavailable, "the node did not come up in time")
                .with("member", member)
                .with("cluster", place.cluster)
                .with("start_timeout_ms", core.config.start_timeout.as_millis()));
        }
        tokio::time::sleep(LOOK).await;
    }
}
