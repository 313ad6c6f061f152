//! All links of one process.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::grpc::{self, Incoming, Outgoing};
use super::handler::{Caller, Handler};
use super::hello::{self, Identity};
use super::link::{self, Ending, Lifeline, Link};
use super::message::frame;
use super::peer::Peer;
use super::serving::{Room, Serving};
use super::slots::{Route, Slots, Target};
use crate::types::{ClusterId, Error, Kind, Limits, NodeId, Result, Seam};

/// How long a dial may take, from the name lookup to the other side's hello.
const DIAL: Duration = Duration::from_secs(3);
/// How long `close` waits before it stops what has not stopped by itself.
const CLOSING: Duration = Duration::from_secs(2);
/// The most bytes that wait to be sent over one link.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// All links of one process: those it dialed and those it accepted. Cheap to clone; every clone may
/// be used from any thread. Owns all tasks that it starts; they end with [`Pool::close`], or when
/// the last pool and the last peer are dropped.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

pub(super) struct Inner {
    this: Weak<Inner>,
    identity: Mutex<Identity>,
    handler: Mutex<Option<Arc<dyn Handler>>>,
    seam: Seam,
    queue_bytes: usize,
    room: Room,
    runtime: Option<Handle>,
    slots: Mutex<Slots>,
    linked: watch::Sender<BTreeSet<NodeId>>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl Pool {
    /// A pool without links. To be made inside a tokio runtime, which then runs its tasks; made
    /// elsewhere, its calls fail with `Internal`.
    ///
    /// The handler answers what others ask; without one they get `Unsupported`. A link queues up to
    /// `limits.inflight_bytes` or 64 MiB, whichever is less; all links together handle requests of up
    /// to `limits.inflight_bytes`, and as much again of what replicas say to each other.
    pub fn new(
        identity: Identity,
        handler: Option<Arc<dyn Handler>>,
        limits: &Limits,
        seam: Seam,
    ) -> Pool {
        Pool(Arc::new_cyclic(|this| Inner {
            this: Weak::clone(this),
            identity: Mutex::new(identity),
            handler: Mutex::new(handler),
            seam,
            queue_bytes: limits.inflight_bytes.min(QUEUE_BYTES),
            room: Room::new(limits.inflight_bytes),
            runtime: Handle::try_current().ok(),
            slots: Mutex::new(Slots::default()),
            linked: watch::Sender::new(BTreeSet::new()),
            stop: watch::Sender::new(false),
            tasks: Mutex::new(Some(JoinSet::new())),
        }))
    }

    /// Says which cluster this process belongs to from now on, after joining or founding it. Links
    /// to processes of another one are closed, and so are those to nodes without one: they are to
    /// introduce themselves again.
    pub fn set_cluster(&self, cluster: ClusterId) {
        self.0.identity.lock().cluster = Some(cluster);
        let foreign = self.0.slots.lock().foreign(cluster);
        for link in foreign {
            link.end(Ending::new(Kind::Unavailable, "the node has come to a cluster"));
        }
    }

    /// The cluster this process belongs to; for a client, the one that it met first.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.0.identity.lock().cluster
    }

    /// Writes a node's address, `host:port`, into the book. A new address drops a link that is not
    /// up, and the pause after a failed dial.
    pub fn set_address(&self, node: NodeId, address: &str) {
        let dropped = self.0.slots.lock().set_address(node, address);
        for link in dropped {
            link.end(Ending::new(Kind::Unavailable, "the node's address has changed"));
        }
    }

    /// A node's address, as last set or as last said by the node itself.
    pub fn address(&self, node: NodeId) -> Option<String> {
        self.0.slots.lock().address(node).map(|address| address.to_string())
    }

    /// The peer that is this node. If another one answers at its address, the link is closed and
    /// calls fail with `Unavailable`.
    pub fn node(&self, node: NodeId) -> Peer {
        Peer::remote(Arc::clone(&self.0), Target::Node(node))
    }

    /// The peer that is whoever answers at this address.
    pub fn address_peer(&self, address: &str) -> Peer {
        Peer::remote(Arc::clone(&self.0), Target::Address(address.into()))
    }

    /// The nodes with a live link, now and as it changes.
    pub fn linked(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.0.linked.subscribe()
    }

    /// Accepts links on this listener until the pool is closed.
    ///
    /// # Errors
    /// `Closed` after [`Pool::close`].
    pub fn serve(&self, listener: TcpListener) -> Result<()> {
        let pool = Weak::clone(&self.0.this);
        let accept = move |outgoing, incoming, door| match pool.upgrade() {
            Some(pool) => pool.accept(outgoing, incoming, door),
            None => Err(Ending::closed().error()),
        };
        self.0.spawn(grpc::server::serve(listener, Arc::new(accept), self.0.stop.subscribe()))
    }

    /// Ends all links and stops all tasks, within 2 s or little more. Calls that were not sent yet,
    /// and all later ones, answer `Closed`; the others `Timeout`.
    pub async fn close(&self) {
        let links = self.0.slots.lock().close();
        for link in links {
            link.end(Ending::closed());
        }
        self.0.stop.send_replace(true);
        let tasks = self.0.tasks.lock().take();
        if let Some(mut tasks) = tasks {
            let all = async { while tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(CLOSING, all).await.is_err() {
                tasks.shutdown().await;
            }
        }
        self.0.handler.lock().take();
        self.0.linked.send_replace(BTreeSet::new());
    }
}

impl Inner {
    /// The link for a call, dialed if need be.
    pub(super) fn link(&self, target: &Target) -> Result<Arc<Link>> {
        let route = {
            let now = self.seam.clock.monotonic();
            self.slots.lock().route(target, now, || Link::new(self.queue_bytes))
        };
        match route? {
            Route::Link(link) => Ok(link),
            Route::Dial(link, address) => {
                let lifeline = Lifeline(Arc::clone(&link));
                let dial = dial(Weak::clone(&self.this), target.clone(), address, lifeline);
                self.spawn(dial).map(|()| link)
            }
        }
    }

    /// The open link that a call would take.
    pub(super) fn current(&self, target: &Target) -> Option<Arc<Link>> {
        self.slots.lock().current(target).cloned()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let mut tasks = self.tasks.lock();
        let tasks = tasks.as_mut().ok_or_else(|| Ending::closed().error())?;
        let runtime = self.runtime.as_ref().ok_or_else(|| {
            Error::internal("the links of this process were made outside of a runtime")
        })?;
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, runtime);
        Ok(())
    }

    /// Judges a hello. A client without a cluster takes the first that it meets for its own.
    fn admit(&self, hello: super::message::Hello) -> Result<Caller> {
        let mut identity = self.identity.lock();
        let caller = identity.admit(hello)?;
        if identity.node.is_none() && identity.cluster.is_none() {
            identity.cluster = caller.cluster;
        }
        Ok(caller)
    }

    fn hello(&self, bulk: bool) -> frame::Body {
        frame::Body::Hello(self.identity.lock().hello(bulk))
    }

    /// Takes a link from the door: the other side speaks first.
    fn accept(
        &self,
        mut outgoing: Outgoing,
        mut incoming: Incoming,
        door: grpc::Door,
    ) -> Result<()> {
        let pool = Weak::clone(&self.this);
        let lifeline = Lifeline(Link::new(self.queue_bytes));
        self.spawn(async move {
            // The door sees to it that this does not wait for ever.
            let Ok(hello) = hello::receive(&mut incoming).await else { return };
            let Some(inner) = pool.upgrade() else { return };
            let admitted = inner.admit(hello);
            let answer = match &admitted {
                Ok(caller) => inner.hello(caller.bulk),
                Err(error) => frame::Body::Failure(super::convert::failure(error)),
            };
            drop(inner);
            let sent = hello::send(&mut outgoing, answer).await;
            if let (Ok(caller), Ok(())) = (admitted, sent) {
                door.greeted();
                carry(&pool, lifeline, caller, None, incoming, outgoing).await;
            }
        })
    }

    fn opened(&self, link: &Arc<Link>, caller: &Arc<Caller>, dialed: Option<&Target>) -> Serving {
        link.open(caller);
        {
            let mut slots = self.slots.lock();
            if slots.closed() {
                link.end(Ending::closed());
            } else {
                slots.opened(link, caller, dialed);
                self.tell_linked(&slots);
            }
        }
        let handler = self.handler.lock().clone();
        Serving::new(Arc::clone(link), handler, Arc::clone(caller), self.room.clone())
    }

    fn lost(
        &self,
        link: &Arc<Link>,
        dialed: Option<&Target>,
        ending: &Ending,
        opened_at: Duration,
    ) {
        let now = self.seam.clock.monotonic();
        let lived = now.saturating_sub(opened_at);
        let mut slots = self.slots.lock();
        slots.lost(link, dialed, ending, lived, now, self.seam.entropy.next_u64());
        self.tell_linked(&slots);
    }

    /// To be called with the lock held, so that the last word is the newest.
    fn tell_linked(&self, slots: &Slots) {
        let linked = slots.linked();
        self.linked.send_if_modified(|told| {
            let changed = *told != linked;
            *told = linked;
            changed
        });
    }
}

/// Dials, greets and then carries a link to its end.
async fn dial(pool: Weak<Inner>, target: Target, address: Arc<str>, lifeline: Lifeline) {
    let link = Arc::clone(&lifeline.0);
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(DIAL, greet(&pool, &target, &address)) => {
            greeted.unwrap_or_else(|_| {
                Err(Error::new(Kind::Unavailable, "the peer did not answer in time"))
            })
        }
        ending = link.ended() => Err(ending.error()),
    };
    match greeted {
        Ok((caller, incoming, outgoing)) => {
            carry(&pool, lifeline, caller, Some(target), incoming, outgoing).await;
        }
        Err(error) => {
            let ending = Ending::from(&error.with("address", &address));
            if let Some(pool) = pool.upgrade() {
                let now = pool.seam.clock.monotonic();
                let chance = pool.seam.entropy.next_u64();
                pool.slots.lock().failed(&target, &link, &ending, now, chance);
            }
            link.end(ending);
        }
    }
}

async fn greet(
    pool: &Weak<Inner>,
    target: &Target,
    address: &str,
) -> Result<(Caller, Incoming, Outgoing)> {
    let upgrade = || pool.upgrade().ok_or_else(|| Ending::closed().error());
    let (mut outgoing, mut incoming) = grpc::client::dial(address).await?;
    let ours = upgrade()?.hello(matches!(target, Target::Bulk(_)));
    hello::send(&mut outgoing, ours).await?;
    let theirs = hello::receive(&mut incoming).await?;
    let caller = upgrade()?.admit(theirs)?;
    match target {
        Target::Node(node) | Target::Bulk(node) if caller.node != Some(*node) => {
            Err(Error::new(Kind::Unavailable, "another node answers at the address")
                .with("expected", node)
                .with("found", caller.node.map_or_else(|| "a client".into(), |id| id.to_string())))
        }
        _ => Ok((caller, incoming, outgoing)),
    }
}

async fn carry(
    pool: &Weak<Inner>,
    lifeline: Lifeline,
    caller: Caller,
    dialed: Option<Target>,
    incoming: Incoming,
    outgoing: Outgoing,
) {
    let link = &lifeline.0;
    let Some(inner) = pool.upgrade() else { return };
    let serving = inner.opened(link, &Arc::new(caller), dialed.as_ref());
    let opened_at = inner.seam.clock.monotonic();
    drop(inner);
    let ending = link::run(link, serving, incoming, outgoing).await;
    if let Some(inner) = pool.upgrade() {
        inner.lost(link, dialed.as_ref(), &ending, opened_at);
    }
}

#[cfg(test)]
#[path = "pool_test.rs"]
mod tests;
