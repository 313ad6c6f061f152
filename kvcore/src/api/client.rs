//! The handle with the verbs.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::fork;
use super::op::Op;
use super::options::{CallOptions, ClientOptions};
use super::runtime::Runtime;
use super::system;
use crate::client::{self, Router, Way};
use crate::rpc::{Identity, Peer, Pool};
use crate::types::config::check_address;
use crate::types::{Error, Kind, Limits, Result, Revision};

/// A value and the revision that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// The revision of its partition when it was written.
    pub revision: Revision,
}

/// A handle with the verbs: over a node in this process, or over the network. Cheap to clone, usable
/// from any thread; all clones share one session and are closed together.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    client: client::Client,
    timeout: Duration,
    closed: watch::Sender<bool>,
    /// For a client over a node: whether the node is closed.
    node_closed: Option<watch::Receiver<bool>>,
    handle: Handle,
    pool: Option<Pool>,
    generation: u64,
    /// Keeps the threads of thin clients going until the client is closed; a node's client runs on
    /// those of the node.
    runtime: Mutex<Option<Arc<Runtime>>>,
}

impl Client {
    /// Connects a thin client to a cluster through any of the members at `endpoints`
    /// (`host:port`, several separated by commas). The client finds the others itself, and stays with
    /// the cluster it found.
    ///
    /// # Errors
    /// `InvalidArgument` for an endpoint that does not parse; `Unavailable` if none answers within the
    /// connect timeout.
    pub fn connect(endpoints: &str, options: ClientOptions) -> Op<Client> {
        let endpoints: Vec<String> =
            endpoints.split(',').map(|endpoint| endpoint.trim().to_owned()).collect();
        let valid = endpoints.iter().try_for_each(|endpoint| check_address(endpoint));
        if let Err(error) = valid.and_then(|()| options.limits.validate()) {
            return Op::ready(Err(error));
        }
        let runtime = match Runtime::shared() {
            Ok(runtime) => runtime,
            Err(error) => return Op::ready(Err(error)),
        };
        let handle = runtime.handle().clone();
        Op::spawn(&handle.clone(), async move {
            let seam = system::seam();
            let pool = Pool::new(Identity::default(), None, &options.limits, seam.clone());
            let found = Router::connect(pool.clone(), endpoints, options.connect_timeout).await;
            let router = match found {
                Ok(router) => router,
                Err(error) => {
                    pool.close().await;
                    return Err(error);
                }
            };
            Ok(Client(Arc::new(Inner {
                client: client::Client::new(Way::Routed(router), options.limits, seam),
                timeout: options.timeout,
                closed: watch::Sender::new(false),
                node_closed: None,
                handle,
                pool: Some(pool),
                generation: fork::generation(),
                runtime: Mutex::new(Some(runtime)),
            })))
        })
    }

    /// A client over the node in this process; it ends with the node.
    pub(super) fn over(
        peer: Peer,
        handle: Handle,
        limits: Limits,
        node_closed: watch::Receiver<bool>,
    ) -> Client {
        Client(Arc::new(Inner {
            client: client::Client::new(Way::Here(peer), limits, system::seam()),
            timeout: ClientOptions::default().timeout,
            closed: watch::Sender::new(false),
            node_closed: Some(node_closed),
            handle,
            pool: None,
            generation: fork::generation(),
            runtime: Mutex::new(None),
        }))
    }

    /// Sets the value of a key; the new revision.
    ///
    /// # Errors
    /// `InvalidArgument` (empty key), `TooLarge`, `Unavailable`, `Timeout`, `Overloaded`,
    /// `StorageFull`, `Closed`, `Cancelled`, `SessionExpired`, `Internal`.
    pub fn put(&self, key: Bytes, value: Bytes, options: CallOptions) -> Op<Revision> {
        let timeout = self.timeout(&options);
        self.start(move |client| async move { client.put(key, value, timeout).await })
    }

    /// The value of a key with its revision; nothing if it is absent.
    ///
    /// # Errors
    /// `InvalidArgument` (empty key), `TooLarge`, `Unavailable`, `Timeout`, `Overloaded`, `Closed`,
    /// `Cancelled`.
    pub fn get(&self, key: Bytes, options: CallOptions) -> Op<Option<Entry>> {
        let (consistency, timeout) = (options.consistency, self.timeout(&options));
        self.start(move |client| async move {
            let found = client.get(key, consistency, timeout).await?;
            Ok(found.map(|(value, revision)| Entry { value, revision }))
        })
    }

    /// Removes a key; whether it existed.
    ///
    /// # Errors
    /// As [`put`](Client::put).
    pub fn delete(&self, key: Bytes, options: CallOptions) -> Op<bool> {
        let timeout = self.timeout(&options);
        self.start(move |client| async move { client.delete(key, timeout).await })
    }

    /// Closes the client: calls under way end with `Cancelled`, later ones with `Closed`. Closing
    /// twice is no error. Other clients and the node, if there is one in this process, go on. Blocks
    /// for a moment while links are closed.
    pub fn close(&self) {
        self.0.close();
    }

    pub(super) fn timeout(&self, options: &CallOptions) -> Duration {
        options.timeout.unwrap_or(self.0.timeout)
    }

    pub(super) fn start<T, F>(&self, work: impl FnOnce(client::Client) -> F) -> Op<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        if let Err(error) = fork::check(self.0.generation) {
            return Op::ready(Err(error));
        }
        let mut closed = self.0.closed.subscribe();
        if *closed.borrow_and_update() {
            return Op::ready(Err(Error::new(Kind::Closed, "the client is closed")));
        }
        if self.0.node_closed.as_ref().is_some_and(|closed| *closed.borrow()) {
            return Op::ready(Err(Error::new(Kind::Closed, "the client's node is closed")));
        }
        let work = work(self.0.client.clone());
        // The last handle may be dropped with the call under way: the call goes on.
        let alive = self.clone();
        Op::spawn(&self.0.handle, async move {
            let _alive = alive;
            tokio::select! {
                result = work => result,
                _ = closed.wait_for(|closed| *closed) => {
                    Err(Error::new(Kind::Cancelled, "the client was closed with the call under way"))
                }
            }
        })
    }
}

impl Inner {
    fn close(&self) {
        if fork::check(self.generation).is_err() || self.closed.send_replace(true) {
            return;
        }
        let runtime = self.runtime.lock().take();
        if let Some(pool) = self.pool.clone() {
            let done = Op::spawn(&self.handle, async move {
                pool.close().await;
                Ok(())
            });
            // Inside the runtime or a callback nobody may wait; the links end by themselves then.
            if Handle::try_current().is_err() {
                drop(done.wait());
            }
        }
        // On this thread rather than on one of its own: its threads are gone when this returns.
        drop(runtime);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
