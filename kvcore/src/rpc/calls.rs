//! The calls of one link that wait for their answers.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::message::reply;
use super::queue::Refusal;
use crate::types::{Error, Kind, Result};

/// Calls one link may have open at once. The answering side holds fewer (see `serving`).
pub(super) const OPEN_CALLS: usize = 16 * 1024;

struct Waiting {
    answer: oneshot::Sender<Result<reply::Body>>,
    /// Whether the request may have left this process.
    sent: bool,
}

#[derive(Default)]
struct State {
    last: u64,
    waiting: HashMap<u64, Waiting>,
    ended: bool,
}

/// What is known of a call that its caller gave up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Abandoned {
    /// It never left this process, and it will not.
    Unsent,
    /// It may have arrived.
    Sent,
    /// It has been answered.
    Answered,
}

/// The open calls, by number.
#[derive(Default)]
pub(super) struct Calls(Mutex<State>);

impl Calls {
    /// Opens a call. Its number is larger than that of any call before.
    pub(super) fn open(&self) -> Result<(u64, oneshot::Receiver<Result<reply::Body>>), Refusal> {
        let mut state = self.0.lock();
        if state.ended {
            return Err(Refusal::Closed);
        }
        if state.waiting.len() >= OPEN_CALLS {
            return Err(Refusal::Full);
        }
        let (answer, receiver) = oneshot::channel();
        state.last += 1;
        let call = state.last;
        state.waiting.insert(call, Waiting { answer, sent: false });
        Ok((call, receiver))
    }

    /// Notes that the request is about to leave. False if nobody waits for its answer any more.
    pub(super) fn leaving(&self, call: u64) -> bool {
        match self.0.lock().waiting.get_mut(&call) {
            Some(waiting) => {
                waiting.sent = true;
                true
            }
            None => false,
        }
    }

    /// Hands the answer to the caller, if there still is one.
    pub(super) fn answer(&self, call: u64, answer: Result<reply::Body>) {
        let waiting = self.0.lock().waiting.remove(&call);
        if let Some(waiting) = waiting {
            // The caller may have gone in the same moment; then nobody is there to be told.
            drop(waiting.answer.send(answer));
        }
    }

    /// Forgets a call.
    pub(super) fn abandon(&self, call: u64) -> Abandoned {
        match self.0.lock().waiting.remove(&call) {
            Some(Waiting { sent: true, .. }) => Abandoned::Sent,
            Some(Waiting { sent: false, .. }) => Abandoned::Unsent,
            None => Abandoned::Answered,
        }
    }

    /// Ends every call and refuses new ones: `unsent` makes the error of those that have not left,
    /// all others end with `Timeout`, since nobody can tell what became of them.
    pub(super) fn end(&self, unsent: impl Fn() -> Error) {
        let waiting = {
            let mut state = self.0.lock();
            state.ended = true;
            std::mem::take(&mut state.waiting)
        };
        for call in waiting.into_values() {
            let error = match call.sent {
                true => Error::new(Kind::Timeout, "the link was lost before the answer came")
                    .because(unsent()),
                false => unsent(),
            };
            drop(call.answer.send(Err(error)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_call_follows_its_way() {
        let calls = Calls::default();
        let (unsent, _answer) = calls.open().unwrap();
        let (sent, _answer) = calls.open().unwrap();
        assert!(sent > unsent);
        assert!(calls.leaving(sent));
        assert_eq!(calls.abandon(unsent), Abandoned::Unsent);
        assert_eq!(calls.abandon(sent), Abandoned::Sent);
        assert_eq!(calls.abandon(sent), Abandoned::Answered);
        // What nobody waits for must not be sent.
        assert!(!calls.leaving(unsent));
    }

    #[test]
    fn the_end_tells_sent_from_unsent() {
        let calls = Calls::default();
        let (_, mut unsent) = calls.open().unwrap();
        let (call, mut sent) = calls.open().unwrap();
        assert!(calls.leaving(call));
        calls.end(|| Error::new(Kind::Unavailable, "gone"));
        assert_eq!(unsent.try_recv().unwrap().unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(sent.try_recv().unwrap().unwrap_err().kind(), Kind::Timeout);
        assert_eq!(calls.open().unwrap_err(), Refusal::Closed);
    }

    #[test]
    fn open_calls_are_bounded() {
        let calls = Calls::default();
        let open: Vec<_> = (0..OPEN_CALLS).map(|_| calls.open().unwrap()).collect();
        assert_eq!(calls.open().unwrap_err(), Refusal::Full);
        calls.abandon(open[0].0);
        calls.open().unwrap();
    }
}
