//! The handle with the verbs.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::op::Op;
use super::options::{CallOptions, ClientOptions};
use super::runtime::Runtime;
use super::status::{MemberStatus, Status};
use crate::types::{Result, Revision};

/// A value and the revision that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// The revision of its partition when it was written.
    pub revision: Revision,
}

/// A handle with the verbs: over a node in this process, or over the network. Cheap to clone, usable
/// from any thread.
#[derive(Clone)]
pub struct Client {
    runtime: Arc<Runtime>,
    limits: crate::types::Limits,
    fake: Arc<Mutex<BTreeMap<Bytes, Entry>>>,
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
        for endpoint in endpoints.split(',') {
            if let Err(error) = crate::types::config::check_address(endpoint.trim()) {
                return Op::ready(Err(error));
            }
        }
        Op::ready(Runtime::shared().map(|runtime| Client {
            runtime,
            limits: options.limits,
            fake: Arc::default(),
        }))
    }

    pub(super) fn fake(limits: crate::types::Limits) -> Result<Client> {
        Ok(Client { runtime: Runtime::shared()?, limits, fake: Arc::default() })
    }

    /// Sets the value of a key; the new revision.
    ///
    /// # Errors
    /// `InvalidArgument` (empty key), `TooLarge`, `Unavailable`, `Timeout`, `Overloaded`,
    /// `StorageFull`, `Closed`, `Cancelled`, `SessionExpired`, `Internal`.
    pub fn put(&self, key: Bytes, value: Bytes, options: CallOptions) -> Op<Revision> {
        let _ = options;
        let checked = self.limits.check_key(&key).and_then(|()| self.limits.check_value(&value));
        if let Err(error) = checked {
            return Op::ready(Err(error));
        }
        let fake = self.fake.clone();
        Op::spawn(self.runtime.handle(), async move {
            let mut fake = fake.lock();
            let revision = fake.len() as u64 + 1;
            fake.insert(key, Entry { value, revision });
            Ok(revision)
        })
    }

    /// The value of a key with its revision; nothing if it is absent.
    ///
    /// # Errors
    /// `InvalidArgument` (empty key), `TooLarge`, `Unavailable`, `Timeout`, `Overloaded`, `Closed`,
    /// `Cancelled`.
    pub fn get(&self, key: Bytes, options: CallOptions) -> Op<Option<Entry>> {
        let _ = options;
        if let Err(error) = self.limits.check_key(&key) {
            return Op::ready(Err(error));
        }
        let fake = self.fake.clone();
        Op::spawn(self.runtime.handle(), async move { Ok(fake.lock().get(&key).cloned()) })
    }

    /// Removes a key; whether it existed.
    ///
    /// # Errors
    /// As [`put`](Client::put).
    pub fn delete(&self, key: Bytes, options: CallOptions) -> Op<bool> {
        let _ = options;
        if let Err(error) = self.limits.check_key(&key) {
            return Op::ready(Err(error));
        }
        let fake = self.fake.clone();
        Op::spawn(self.runtime.handle(), async move { Ok(fake.lock().remove(&key).is_some()) })
    }

    /// What the node that answers knows of itself and its cluster.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`, `Cancelled`.
    pub fn status(&self) -> Op<Status> {
        Op::ready(Ok(Status::default()))
    }

    /// The members of the cluster.
    ///
    /// # Errors
    /// As [`status`](Client::status).
    pub fn members(&self) -> Op<Vec<MemberStatus>> {
        Op::ready(Ok(Vec::new()))
    }

    /// Closes the client: calls under way and later ones end with `Closed` or `Cancelled`. Closing
    /// twice is no error. Other clients and the node, if there is one in this process, go on.
    pub fn close(&self) {}
}
