//! The incoming side: who asks, and what answers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::message::{reply, request};
use crate::types::{ClusterId, Error, Kind, NodeId, Result};

/// What the process on the other side of a link said about itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Caller {
    /// Its identity, or nothing for a client.
    pub node: Option<NodeId>,
    /// Where it can be dialed, or nothing for a client.
    pub address: Option<String>,
    /// The cluster it belongs to, or nothing if it has not joined one yet (or is a client that takes
    /// any).
    pub cluster: Option<ClusterId>,
    /// Whether the link is for snapshots only.
    pub bulk: bool,
}

/// A reply that is being made.
pub type Answer = BoxFuture<'static, Result<reply::Body>>;

/// Answers the requests that arrive over all links of a process.
pub trait Handler: Send + Sync + 'static {
    /// Takes one request.
    ///
    /// Called in the order of arrival, on the task that reads the link: what happens before the
    /// future is returned must not block, and it decides the order. The future runs beside those of
    /// other requests. It is dropped when `timeout` (how long the caller waits) is over or the link
    /// is lost, so it must be safe to drop at any await. A panic is answered with `Internal`.
    fn handle(&self, caller: &Arc<Caller>, request: request::Body, timeout: Duration) -> Answer;
}

/// Has the handler answer, held to the timeout, with a panic made into an error.
pub(super) fn answer(
    handler: &dyn Handler,
    caller: &Arc<Caller>,
    request: request::Body,
    timeout: Duration,
) -> impl Future<Output = Result<reply::Body>> + Send + 'static + use<> {
    let started =
        std::panic::catch_unwind(AssertUnwindSafe(|| handler.handle(caller, request, timeout)));
    async move {
        let answer = AssertUnwindSafe(started.map_err(|_| panicked())?).catch_unwind();
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(panicked()),
            Err(_) => Err(Error::new(Kind::Timeout, "the request was not answered in time")
                .with("timeout_ms", timeout.as_millis())),
        }
    }
}

fn panicked() -> Error {
    tracing::error!("a request handler panicked");
    Error::internal("the request handler panicked")
}
