//! The requests of one link that are being handled.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::handler::{Caller, Handler, answer};
use super::link::{LONGEST_WAIT, Link};
use super::message::{Request, request};
use crate::types::{Error, Kind, Result};

/// Requests of each class that one link may have handled at once.
const REQUESTS: usize = 4096;

/// Bytes of requests that all links of a process may have handled at once.
///
/// What replicas say to each other is counted apart from all else: requests of clients wait for
/// commits, commits wait for replicas, and so the former must never use up the room of the latter.
#[derive(Clone)]
pub(super) struct Room {
    replicas: Arc<Semaphore>,
    others: Arc<Semaphore>,
    bytes: usize,
}

impl Room {
    /// Room for that many bytes of each class.
    pub(super) fn new(bytes: usize) -> Room {
        let bytes = bytes.min(u32::MAX as usize);
        Room {
            replicas: Arc::new(Semaphore::new(bytes)),
            others: Arc::new(Semaphore::new(bytes)),
            bytes,
        }
    }
}

/// Handles the requests that arrive over one link; all that still run end with it.
pub(super) struct Serving {
    link: Arc<Link>,
    handler: Option<Arc<dyn Handler>>,
    caller: Arc<Caller>,
    room: Room,
    replicas: Arc<Semaphore>,
    others: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

struct Permit {
    _request: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Serving {
    /// Nothing being handled yet. Without a handler every request is answered `Unsupported`.
    pub(super) fn new(
        link: Arc<Link>,
        handler: Option<Arc<dyn Handler>>,
        caller: Arc<Caller>,
        room: Room,
    ) -> Serving {
        Serving {
            link,
            handler,
            caller,
            room,
            replicas: Arc::new(Semaphore::new(REQUESTS)),
            others: Arc::new(Semaphore::new(REQUESTS)),
            tasks: JoinSet::new(),
        }
    }

    /// Takes one request: it is handled and answered, or refused at once.
    pub(super) fn take(&mut self, call: u64, request: Request) {
        while self.tasks.try_join_next().is_some() {}
        if let Err(refusal) = self.start(call, request) {
            self.link.respond(call, Err(refusal));
        }
    }

    fn start(&mut self, call: u64, request: Request) -> Result<()> {
        let bytes = request.encoded_len();
        let timeout = Duration::from_millis(request.timeout_ms.max(1).into()).min(LONGEST_WAIT);
        let body = request.body.ok_or_else(|| {
            Error::new(Kind::Unsupported, "the request is not known to this version")
        })?;
        let handler = self.handler.as_ref().ok_or_else(|| {
            Error::new(Kind::Unsupported, "this process does not answer requests")
        })?;
        let permit = self.permit(&body, bytes)?;
        let answer = answer(handler.as_ref(), &self.caller, body, timeout);
        let link = Arc::clone(&self.link);
        self.tasks.spawn(async move {
            let result = answer.await;
            link.respond(call, result);
            drop(permit);
        });
        Ok(())
    }

    fn permit(&self, body: &request::Body, bytes: usize) -> Result<Permit> {
        let (requests, room) = match body {
            request::Body::Append(_)
            | request::Body::AskVote(_)
            | request::Body::SnapshotChunk(_)
            | request::Body::SnapshotInstall(_)
            | request::Body::HandOver(_) => (&self.replicas, &self.room.replicas),
            _ => (&self.others, &self.room.others),
        };
        let request = Arc::clone(requests).try_acquire_owned().map_err(|_| {
            Error::new(Kind::Overloaded, "too many requests of one link are being handled")
                .with("limit", REQUESTS)
        })?;
        let weight = u32::try_from(bytes.min(self.room.bytes)).unwrap_or(u32::MAX);
        let bytes = Arc::clone(room).try_acquire_many_owned(weight).map_err(|_| {
            Error::new(Kind::Overloaded, "too many bytes of requests are being handled")
                .with("bytes", bytes)
                .with("limit", self.room.bytes)
        })?;
        Ok(Permit { _request: request, _bytes: bytes })
    }

    /// Stops what still runs, and waits until it has stopped.
    pub(super) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}
