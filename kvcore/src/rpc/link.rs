//! One live stream between two processes. It knows nothing of what carries it: a sink and a stream
//! of packets are enough.

use std::sync::Arc;
use std::time::Duration;

use futures::{Sink, SinkExt, Stream, StreamExt};
use prost::Message;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::calls::{Abandoned, Calls, OPEN_CALLS};
use super::convert;
use super::handler::Caller;
use super::message::{Frame, Packet, Reply, Request, frame, reply, request};
use super::queue::{Lane, Queue, Refusal};
use super::serving::Serving;
use crate::types::{Error, Kind, Result, limits};

/// About the most that is put into one packet; a larger frame goes alone.
const PACKET_BYTES: usize = 256 * 1024;
/// The longest that a call may wait, whatever it says.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Why a link is no more. The kind is one that rules out that anything was applied, since it is the
/// answer to what has not been sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ending {
    kind: Kind,
    message: String,
}

impl Ending {
    /// An end with that kind and sentence.
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Ending {
        let kind = if kind.maybe_applied() { Kind::Unavailable } else { kind };
        Ending { kind, message: message.into() }
    }

    /// The end of everything in this process.
    pub(super) fn closed() -> Ending {
        Ending::new(Kind::Closed, "the links of this process are closed")
    }

    /// The answer to what has not been sent.
    pub(super) fn error(&self) -> Error {
        Error::new(self.kind, self.message.clone())
    }
}

impl From<&Error> for Ending {
    fn from(error: &Error) -> Ending {
        Ending::new(error.kind(), error.to_string())
    }
}

#[derive(Clone, Debug)]
enum Stage {
    Opening,
    Open(Arc<Caller>),
    Ended(Ending),
}

/// A link, from before it is connected (calls wait in its queue) to after its end (calls fail).
pub(super) struct Link {
    queue: Queue,
    calls: Calls,
    stage: watch::Sender<Stage>,
}

impl Link {
    /// A link that is not open yet, with a queue for up to `queue_bytes`.
    pub(super) fn new(queue_bytes: usize) -> Arc<Link> {
        Arc::new(Link {
            queue: Queue::new(queue_bytes),
            calls: Calls::default(),
            stage: watch::Sender::new(Stage::Opening),
        })
    }

    /// Puts a request into the queue.
    ///
    /// # Errors
    /// `TooLarge`, `Overloaded`, or why the link has ended.
    pub(super) fn start(
        self: &Arc<Link>,
        body: request::Body,
        timeout: Duration,
    ) -> Result<Pending> {
        let timeout = timeout.min(LONGEST_WAIT);
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1);
        let lane = Lane::of_request(&body);
        let request = Request { timeout_ms, body: Some(body) };
        let bytes = request.encoded_len();
        if bytes > limits::MESSAGE_BYTES {
            return Err(Error::new(Kind::TooLarge, "request is too large")
                .with("bytes", bytes)
                .with("limit", limits::MESSAGE_BYTES));
        }
        let (call, answer) = self.calls.open().map_err(|refusal| match refusal {
            Refusal::Full => Error::new(Kind::Overloaded, "too many calls over one link")
                .with("limit", OPEN_CALLS),
            Refusal::Closed => self.why_ended(),
        })?;
        let deadline = Instant::now() + timeout;
        let pending = Pending { link: Arc::clone(self), call, answer, deadline };
        let frame = Frame { call, body: Some(frame::Body::Request(request)) };
        match self.queue.push(lane, frame) {
            Ok(()) => Ok(pending),
            Err(Refusal::Full) => Err(Error::new(Kind::Overloaded, "the link's queue is full")
                .with("bytes", bytes)
                .with("limit", self.queue.limit())),
            Err(Refusal::Closed) => Err(self.why_ended()),
        }
    }

    /// Answers a request of the other side.
    pub(super) fn respond(&self, call: u64, result: Result<reply::Body>) {
        let result = result.and_then(|reply| self.push_reply(call, reply));
        let Err(error) = result else { return };
        let body = frame::Body::Failure(convert::failure(&error));
        if let Err(Refusal::Full) = self.queue.push(Lane::Urgent, Frame { call, body: Some(body) })
        {
            // There is room for thousands of failures: the other side sends and does not read.
            self.end(Ending::new(Kind::Unavailable, "the other side does not read its answers"));
        }
    }

    /// Queues a reply, or says what to answer instead. What the request did is done by now, so the
    /// error must leave the outcome open.
    fn push_reply(&self, call: u64, body: reply::Body) -> Result<()> {
        let lane = Lane::of_reply(&body);
        let reply = Reply { body: Some(body) };
        let bytes = reply.encoded_len();
        if bytes > limits::MESSAGE_BYTES {
            return Err(Error::internal("the reply is larger than a message may be")
                .with("bytes", bytes)
                .with("limit", limits::MESSAGE_BYTES));
        }
        match self.queue.push(lane, Frame { call, body: Some(frame::Body::Reply(reply)) }) {
            Ok(()) | Err(Refusal::Closed) => Ok(()),
            Err(Refusal::Full) => Err(Error::new(Kind::Timeout, "the reply could not be queued")
                .with("bytes", bytes)
                .with("limit", self.queue.limit())),
        }
    }

    /// Notes who is on the other side: from now on the link is open, unless it has ended.
    pub(super) fn open(&self, caller: &Arc<Caller>) {
        self.stage.send_if_modified(|stage| {
            let opening = matches!(stage, Stage::Opening);
            if opening {
                *stage = Stage::Open(Arc::clone(caller));
            }
            opening
        });
    }

    /// Ends the link and every call on it; the first reason counts.
    pub(super) fn end(&self, ending: Ending) {
        self.stage.send_if_modified(|stage| {
            let first = !matches!(stage, Stage::Ended(_));
            if first {
                *stage = Stage::Ended(ending);
            }
            first
        });
        self.queue.close();
        self.calls.end(|| self.why_ended());
    }

    /// Who is on the other side, while the link is open.
    pub(super) fn caller(&self) -> Option<Arc<Caller>> {
        match &*self.stage.borrow() {
            Stage::Open(caller) => Some(Arc::clone(caller)),
            Stage::Opening | Stage::Ended(_) => None,
        }
    }

    /// Waits until the link is open.
    ///
    /// # Errors
    /// Why the link has ended instead; `Unavailable` when the time is up.
    pub(super) async fn opened(&self, timeout: Duration) -> Result<Arc<Caller>> {
        let mut stage = self.stage.subscribe();
        let settled = stage.wait_for(|stage| !matches!(stage, Stage::Opening));
        match tokio::time::timeout(timeout.min(LONGEST_WAIT), settled).await {
            Ok(Ok(stage)) => match &*stage {
                Stage::Open(caller) => Ok(Arc::clone(caller)),
                Stage::Ended(ending) => Err(ending.error()),
                Stage::Opening => Err(Error::internal("the link is neither open nor ended")),
            },
            Ok(Err(_)) => Err(Error::internal("the link is gone although it is in use")),
            Err(_) => Err(Error::new(Kind::Unavailable, "no link came up in time")
                .with("timeout_ms", timeout.as_millis())),
        }
    }

    /// Waits until the link has ended.
    pub(super) async fn ended(&self) -> Ending {
        let mut stage = self.stage.subscribe();
        // The sender is part of the link, so the wait itself cannot fail.
        if stage.wait_for(|stage| matches!(stage, Stage::Ended(_))).await.is_err() {
            return Ending::closed();
        }
        Ending::from(&self.why_ended())
    }

    fn why_ended(&self) -> Error {
        match &*self.stage.borrow() {
            Stage::Ended(ending) => ending.error(),
            _ => Error::new(Kind::Unavailable, "the link has ended"),
        }
    }
}

/// Ends its link when dropped: a link never outlives the task that carries it.
pub(super) struct Lifeline(pub(super) Arc<Link>);

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.end(Ending::closed());
    }
}

/// A call on its way. Dropping it forgets the call, and takes back the request if it has not left.
pub(super) struct Pending {
    link: Arc<Link>,
    call: u64,
    answer: oneshot::Receiver<Result<reply::Body>>,
    deadline: Instant,
}

impl Pending {
    /// Waits for the reply.
    ///
    /// # Errors
    /// What the other side answered; `Unavailable` if the request never left; `Timeout` if it did and
    /// no answer came.
    pub(super) async fn finish(mut self) -> Result<reply::Body> {
        if let Ok(answer) = tokio::time::timeout_at(self.deadline, &mut self.answer).await {
            return answer.unwrap_or_else(|_| Err(no_answer()));
        }
        match self.link.calls.abandon(self.call) {
            Abandoned::Unsent => {
                Err(Error::new(Kind::Unavailable, "the request could not be sent in time"))
            }
            Abandoned::Sent => Err(no_answer()),
            // The answer came in the very moment that the time was up.
            Abandoned::Answered => self.answer.try_recv().unwrap_or_else(|_| Err(no_answer())),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.link.calls.abandon(self.call);
    }
}

fn no_answer() -> Error {
    Error::new(Kind::Timeout, "no answer came in time")
}

/// Carries a link over a pair of a stream and a sink until either ends, or the link is ended; then
/// ends the link, and stops what its requests still do.
pub(super) async fn run<I, O>(
    link: &Arc<Link>,
    mut serving: Serving,
    incoming: I,
    outgoing: O,
) -> Ending
where
    I: Stream<Item = Result<Packet>> + Unpin,
    O: Sink<Packet> + Unpin,
{
    let ending = tokio::select! {
        ending = read(link, &mut serving, incoming) => ending,
        ending = write(link, outgoing) => ending,
        ending = link.ended() => ending,
    };
    link.end(ending.clone());
    serving.stop().await;
    ending
}

async fn read<I>(link: &Link, serving: &mut Serving, mut incoming: I) -> Ending
where
    I: Stream<Item = Result<Packet>> + Unpin,
{
    loop {
        let packet = match incoming.next().await {
            Some(Ok(packet)) => packet,
            Some(Err(error)) => return Ending::new(Kind::Unavailable, error.to_string()),
            None => return Ending::new(Kind::Unavailable, "the other side closed the link"),
        };
        for Frame { call, body } in packet.frames {
            match body {
                Some(frame::Body::Request(request)) => serving.take(call, request),
                Some(frame::Body::Reply(Reply { body })) => {
                    link.calls.answer(call, body.ok_or_else(unknown_reply));
                }
                Some(frame::Body::Failure(failure)) => {
                    link.calls.answer(call, Err(convert::error(failure)));
                }
                Some(frame::Body::Hello(_)) => {
                    return Ending::new(Kind::Unavailable, "the other side said hello twice");
                }
                // Of a kind that only newer versions know: not for us.
                None => {}
            }
        }
    }
}

fn unknown_reply() -> Error {
    Error::internal("the reply is not known to this version")
}

async fn write<O>(link: &Link, mut outgoing: O) -> Ending
where
    O: Sink<Packet> + Unpin,
{
    let wanted = |frame: &Frame| match frame.body {
        Some(frame::Body::Request(_)) => link.calls.leaving(frame.call),
        _ => true,
    };
    while let Some(packet) = link.queue.take(PACKET_BYTES, wanted).await {
        if outgoing.send(packet).await.is_err() {
            return Ending::new(Kind::Unavailable, "the other side closed the link");
        }
    }
    Ending::from(&link.why_ended())
}

#[cfg(test)]
#[path = "link_test.rs"]
mod tests;
