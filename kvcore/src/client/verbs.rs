//! The verbs.

use std::time::Duration;

use bytes::Bytes;

use super::retry;
use super::router::Router;
use super::session::Session;
use crate::rpc::Peer;
use crate::rpc::message::{self, execute, executed, reply, request};
use crate::types::{Budget, Consistency, Error, Limits, Mutation, Outcome, Result, Revision, Seam};

/// How a client reaches the cluster.
#[derive(Clone)]
pub enum Way {
    /// Through the node in this process, which finds the leader itself.
    Here(Peer),
    /// Over the network, with a picture of its own.
    Routed(Router),
}

/// The verbs over a cluster. Cheap to clone; all clones share one session.
#[derive(Clone)]
pub struct Client {
    way: Way,
    session: Session,
    seam: Seam,
    limits: Limits,
    in_flight: Budget,
}

impl Client {
    /// A client with a new session.
    pub fn new(way: Way, limits: Limits, seam: Seam) -> Client {
        let session = Session::new(seam.clone());
        let in_flight = Budget::new(limits.inflight_bytes);
        Client { way, session, seam, limits, in_flight }
    }

    /// Sets the value of a key; its new revision.
    ///
    /// # Errors
    /// `InvalidArgument`, `TooLarge`, `Overloaded`, `Unavailable`, `Timeout`, `SessionExpired`, and
    /// what the leader met: `StorageFull`, `Internal`.
    pub async fn put(&self, key: Bytes, value: Bytes, timeout: Duration) -> Result<Revision> {
        self.limits.check_key(&key)?;
        self.limits.check_value(&value)?;
        match self.mutate(Mutation::Put { key, value }, timeout).await? {
            Outcome::Put { revision } => Ok(revision),
            _ => Err(unexpected()),
        }
    }

    /// Removes a key; whether it existed.
    ///
    /// # Errors
    /// As [`put`](Client::put).
    pub async fn delete(&self, key: Bytes, timeout: Duration) -> Result<bool> {
        self.limits.check_key(&key)?;
        match self.mutate(Mutation::Delete { key }, timeout).await? {
            Outcome::Deleted { existed } => Ok(existed),
            _ => Err(unexpected()),
        }
    }

    /// The value of a key as of now, with its revision; nothing if it is absent.
    ///
    /// # Errors
    /// `InvalidArgument`, `TooLarge`, `Overloaded`, `Unavailable`, `Timeout`, and what the leader met.
    pub async fn get(
        &self,
        key: Bytes,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<Option<(Bytes, Revision)>> {
        self.limits.check_key(&key)?;
        let _room = self.in_flight.take(key.len())?;
        let get = message::Get { key: key.clone(), consistency: consistency.number() };
        let operation = execute::Operation::Get(get);
        let execute =
            message::Execute { operation: Some(operation), ..message::Execute::default() };
        match self.execute(&key, execute, timeout).await?.result {
            Some(executed::Result::Value(value)) if value.found => {
                Ok(Some((value.value, value.revision)))
            }
            Some(executed::Result::Value(_)) => Ok(None),
            _ => Err(unexpected()),
        }
    }

    /// Asks any node something that is not about a key. Asked again if the node cannot answer.
    ///
    /// # Errors
    /// `Unavailable`, `Timeout`, and what the node answers.
    pub async fn ask(&self, question: request::Body, timeout: Duration) -> Result<reply::Body> {
        let asked = retry::until(timeout, self.seam.entropy.next_u64(), |left| {
            let peer = match &self.way {
                Way::Here(peer) => peer.clone(),
                Way::Routed(router) => router.anybody(),
            };
            peer.call(question.clone(), left)
        });
        asked.await
    }

    async fn mutate(&self, mutation: Mutation, timeout: Duration) -> Result<Outcome> {
        let _room = self.in_flight.take(mutation.weight())?;
        let key = mutation.key().clone();
        let under_way = self.session.begin(mutation, timeout);
        let execute = message::Execute::from(under_way.command.clone());
        Outcome::try_from(self.execute(&key, execute, timeout).await?)
    }

    async fn execute(
        &self,
        key: &Bytes,
        execute: message::Execute,
        timeout: Duration,
    ) -> Result<message::Executed> {
        retry::until(timeout, self.seam.entropy.next_u64(), |left| {
            let peer = match &self.way {
                Way::Here(peer) => peer.clone(),
                Way::Routed(router) => router.peer(key),
            };
            let call = peer.call(request::Body::Execute(execute.clone()), left);
            async move {
                let answer = call.await;
                if let Way::Routed(router) = &self.way {
                    match &answer {
                        Ok(reply::Body::Executed(executed)) => router.heard(executed.epoch),
                        Ok(_) => {}
                        Err(_) => router.failed(key),
                    }
                }
                match answer? {
                    reply::Body::Executed(executed) => Ok(executed),
                    _ => Err(unexpected()),
                }
            }
        })
        .await
    }
}

fn unexpected() -> Error {
    Error::internal("a request was answered with something else")
}
