//! The outgoing side: one process to call.

use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;

use super::handler::{Caller, Handler, answer};
use super::message::{reply, request};
use super::pool::Inner;
use super::slots::Target;
use crate::types::Result;

/// One process to call: a node by its id, whoever answers at an address, or this process itself.
/// Cheap to clone; every clone may be used from any thread.
#[derive(Clone)]
pub struct Peer(Way);

#[derive(Clone)]
enum Way {
    Remote { pool: Arc<Inner>, target: Target },
    Local { handler: Arc<dyn Handler>, caller: Arc<Caller> },
}

impl Peer {
    pub(super) fn remote(pool: Arc<Inner>, target: Target) -> Peer {
        Peer(Way::Remote { pool, target })
    }

    /// This process as its own peer: calls go straight to the handler, which sees `caller` as who
    /// asks. Nothing is encoded; the timeout holds. Dropping a call drops the handler's future.
    pub fn local(handler: Arc<dyn Handler>, caller: Arc<Caller>) -> Peer {
        Peer(Way::Local { handler, caller })
    }

    /// Sends a request. Pieces of a snapshot for a node go over a link of their own, all else over one
    /// link, in order. The request is in the queue, behind all earlier ones, when this returns; the
    /// future resolves with the reply. Dropping it gives the call up. To be awaited inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// - `Unavailable`: it was not sent: there is no link, or none came up in time. After a failed
    ///   dial, calls fail at once for 50 ms, doubling to 1 s, with the error of that dial, which can
    ///   also be `WrongCluster` or `Unsupported`.
    /// - `Timeout`: it was sent, and the time was up or the link lost before the answer.
    /// - `Overloaded`: too much is waiting to be sent or answered, here or there.
    /// - `TooLarge`: it is above `limits::MESSAGE_BYTES`.
    /// - `Closed`: the pool is closed.
    /// - Whatever the other side answers.
    pub fn call(
        &self,
        request: request::Body,
        timeout: Duration,
    ) -> impl Future<Output = Result<reply::Body>> + Send + 'static + use<> {
        let started = match &self.0 {
            Way::Local { handler, caller } => {
                Ok(Either::Left(answer(handler.as_ref(), caller, request, timeout)))
            }
            Way::Remote { pool, target } => pool
                .link(&target.carrying(&request))
                .and_then(|link| link.start(request, timeout))
                .map(|pending| Either::Right(pending.finish())),
        };
        async move { started?.await }
    }

    /// Whether there is a live link.
    pub fn connected(&self) -> bool {
        self.caller().is_some()
    }

    /// Who is on the other side of the live link, if there is one.
    pub fn caller(&self) -> Option<Arc<Caller>> {
        match &self.0 {
            Way::Local { caller, .. } => Some(Arc::clone(caller)),
            Way::Remote { pool, target } => pool.current(target)?.caller(),
        }
    }

    /// Waits for a live link, dialing if need be; says who is on the other side.
    ///
    /// # Errors
    /// `Unavailable` if none comes up in time, or why the dial failed: see [`Peer::call`].
    pub async fn connect(&self, timeout: Duration) -> Result<Arc<Caller>> {
        match &self.0 {
            Way::Local { caller, .. } => Ok(Arc::clone(caller)),
            Way::Remote { pool, target } => pool.link(target)?.opened(timeout).await,
        }
    }
}
