//! One operation under way.

use std::cell::Cell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::types::{Error, Kind, Result};

type Callback = Box<dyn FnOnce() + Send>;

/// The longest one wait, far enough away for any caller and near enough for any clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// An operation under way, and later its result, which can be taken once.
///
/// It always finishes: by its deadline, by [`cancel`](Op::cancel), or when what it runs on is closed,
/// so that no waiter hangs. Dropping it neither cancels nor waits: the operation goes on and its
/// result is thrown away.
pub struct Op<T> {
    shared: Arc<Shared<T>>,
    task: Option<AbortHandle>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
    cancelled: AtomicBool,
}

enum State<T> {
    Pending { waker: Option<Waker>, callback: Option<Callback> },
    Ready(Result<T>),
    Taken,
}

impl<T: Send + 'static> Op<T> {
    /// Runs `work` on a runtime.
    pub(crate) fn spawn<F>(runtime: &Handle, work: F) -> Op<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let shared = Shared::pending();
        let finish = Finish { shared: shared.clone() };
        let task = runtime.spawn(async move {
            let result = work.await;
            finish.with(result);
        });
        Op { shared, task: Some(task.abort_handle()) }
    }

    /// An operation that is over before it began, for a caller who is refused at the door.
    pub(crate) fn ready(result: Result<T>) -> Op<T> {
        let shared = Shared::pending();
        shared.finish(result);
        Op { shared, task: None }
    }

    /// Blocks until the result is there, and takes it.
    ///
    /// # Errors
    /// The operation's own; `WouldDeadlock` inside a callback of [`on_ready`](Op::on_ready).
    pub fn wait(self) -> Result<T> {
        loop {
            if let Some(result) = self.wait_for(LONGEST) {
                return result;
            }
        }
    }

    /// Blocks for at most that long, and for a year at most; the result if it is there by then, and
    /// takes it.
    pub fn wait_for(&self, patience: Duration) -> Option<Result<T>> {
        if in_callback() {
            return Some(Err(Error::new(
                Kind::WouldDeadlock,
                "a callback may not wait for another operation",
            )));
        }
        let until = Instant::now() + patience.min(LONGEST);
        let mut state = self.shared.state.lock();
        while matches!(*state, State::Pending { .. }) {
            if self.shared.ready.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        take(&mut state)
    }

    /// Whether the result is there.
    pub fn is_ready(&self) -> bool {
        !matches!(*self.shared.state.lock(), State::Pending { .. })
    }

    /// Calls back once, when the result is there; at once if it already is. The callback runs on a
    /// thread of the runtime and must be short. A second callback replaces the first one. A callback
    /// that panics is logged, and harms nobody else.
    pub fn on_ready(&self, callback: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state.lock();
        if let State::Pending { callback: slot, .. } = &mut *state {
            *slot = Some(Box::new(callback));
            return;
        }
        drop(state);
        run(Box::new(callback));
    }

    /// Takes the result if it is there.
    pub fn take(&self) -> Option<Result<T>> {
        take(&mut self.shared.state.lock())
    }

    /// Ends the operation with `Cancelled`, unless it is over. What it had asked for may still
    /// happen.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl<T> Future for Op<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let mut state = self.shared.state.lock();
        if let State::Pending { waker, .. } = &mut *state {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        match take(&mut state) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }
}

fn take<T>(state: &mut State<T>) -> Option<Result<T>> {
    match std::mem::replace(state, State::Taken) {
        State::Ready(result) => Some(result),
        State::Taken => Some(Err(Error::new(Kind::InvalidArgument, "the result was taken before"))),
        pending @ State::Pending { .. } => {
            *state = pending;
            None
        }
    }
}

/// Whether this thread is in the middle of a callback.
pub(super) fn in_callback() -> bool {
    IN_CALLBACK.get()
}

/// Runs a callback. Its panics end here: beyond lies the end of an operation, which may itself be
/// due to a panic, and a second one would end the process.
fn run(callback: Callback) {
    let outer = IN_CALLBACK.replace(true);
    let ran = std::panic::catch_unwind(AssertUnwindSafe(callback));
    IN_CALLBACK.set(outer);
    if ran.is_err() {
        tracing::error!("a callback panicked");
    }
}

impl<T> Shared<T> {
    fn pending() -> Arc<Shared<T>> {
        Arc::new(Shared {
            state: Mutex::new(State::Pending { waker: None, callback: None }),
            ready: Condvar::new(),
            cancelled: AtomicBool::new(false),
        })
    }

    fn finish(&self, result: Result<T>) {
        let mut state = self.state.lock();
        if !matches!(*state, State::Pending { .. }) {
            return;
        }
        let before = std::mem::replace(&mut *state, State::Ready(result));
        drop(state);
        self.ready.notify_all();
        if let State::Pending { waker, callback } = before {
            if let Some(waker) = waker {
                waker.wake();
            }
            if let Some(callback) = callback {
                run(callback);
            }
        }
    }
}

/// Finishes the operation, whatever happens to the task that holds this: a panic, an abort or the
/// end of the runtime all drop it.
struct Finish<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Finish<T> {
    fn with(self, result: Result<T>) {
        self.shared.finish(result);
    }
}

impl<T> Drop for Finish<T> {
    fn drop(&mut self) {
        let error = if std::thread::panicking() {
            Error::internal("an operation panicked")
        } else if self.shared.cancelled.load(Ordering::Acquire) {
            Error::new(Kind::Cancelled, "the operation was cancelled")
        } else {
            Error::new(Kind::Cancelled, "the operation ended with the node or client it ran on")
        };
        self.shared.finish(Err(error));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
    }

    #[test]
    fn waits_and_takes_once() {
        let runtime = runtime();
        let (open, gate) = tokio::sync::oneshot::channel::<()>();
        let op = Op::spawn(runtime.handle(), async move {
            gate.await.map_err(|_| Error::internal("gate"))?;
            Ok(7)
        });
        assert!(!op.is_ready());
        assert!(op.wait_for(Duration::from_millis(1)).is_none());
        open.send(()).unwrap();
        assert_eq!(op.wait_for(Duration::from_secs(30)).unwrap().unwrap(), 7);
        assert_eq!(op.take().unwrap().unwrap_err().kind(), Kind::InvalidArgument);
    }

    #[test]
    fn a_cancelled_or_orphaned_operation_ends() {
        let runtime = runtime();
        let op: Op<()> = Op::spawn(runtime.handle(), std::future::pending());
        op.cancel();
        assert_eq!(op.wait().unwrap_err().kind(), Kind::Cancelled);

        let op: Op<()> = Op::spawn(runtime.handle(), std::future::pending());
        runtime.shutdown_background();
        assert_eq!(op.wait().unwrap_err().kind(), Kind::Cancelled);
    }

    #[test]
    fn a_panicking_operation_ends_as_internal() {
        let runtime = runtime();
        let op: Op<()> = Op::spawn(runtime.handle(), async { panic!("on purpose") });
        assert_eq!(op.wait().unwrap_err().kind(), Kind::Internal);
    }

    #[test]
    fn calls_back_once_and_forbids_waiting_inside() {
        let runtime = runtime();
        let (open, gate) = tokio::sync::oneshot::channel::<()>();
        let op = Op::spawn(runtime.handle(), async move {
            gate.await.map_err(|_| Error::internal("gate"))?;
            Ok(())
        });
        let (say, heard) = mpsc::channel();
        let late = say.clone();
        op.on_ready(move || {
            let inner = Op::ready(Ok(1));
            say.send(inner.wait().unwrap_err().kind()).unwrap();
        });
        open.send(()).unwrap();
        assert_eq!(heard.recv_timeout(Duration::from_secs(30)).unwrap(), Kind::WouldDeadlock);
        op.on_ready(move || late.send(Kind::Closed).unwrap());
        assert_eq!(heard.recv().unwrap(), Kind::Closed);
    }

    #[test]
    fn a_panicking_callback_harms_nobody() {
        let runtime = runtime();
        let (open, gate) = tokio::sync::oneshot::channel::<()>();
        // The callback runs while the operation's own panic unwinds.
        let op: Op<()> = Op::spawn(runtime.handle(), async move {
            drop(gate.await);
            panic!("on purpose")
        });
        op.on_ready(|| panic!("on purpose, too"));
        open.send(()).unwrap();
        assert_eq!(op.wait().unwrap_err().kind(), Kind::Internal);
        // On this thread, which may wait again afterwards.
        Op::ready(Ok(1)).on_ready(|| panic!("on purpose, once more"));
        let op = Op::spawn(runtime.handle(), async { Ok(3) });
        assert_eq!(op.wait().unwrap(), 3);
    }

    #[test]
    fn an_endless_wait_is_a_long_one() {
        let runtime = runtime();
        let op = Op::spawn(runtime.handle(), async { Ok(3) });
        assert_eq!(op.wait_for(Duration::MAX).unwrap().unwrap(), 3);
    }

    #[test]
    fn can_be_awaited() {
        let runtime = runtime();
        let op = Op::spawn(runtime.handle(), async { Ok(3) });
        assert_eq!(runtime.block_on(op).unwrap(), 3);
    }
}
