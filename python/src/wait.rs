//! Waiting without the GIL, and giving up at Ctrl-C.

use std::time::{Duration, Instant};

use kvcore::api::{Error, Op};
use pyo3::prelude::*;

use crate::errors::{exception, raise};

/// How long Ctrl-C may have to wait before it is seen.
const SLICE: Duration = Duration::from_millis(50);

/// How long a cancelled operation gets to let go of what it holds (a port, a directory), so that the
/// program may at once try again.
const GRACE: Duration = Duration::from_secs(1);

/// Starts an operation and waits for its result, both without the GIL.
///
/// # Errors
/// The operation's own. `KeyboardInterrupt`, or whatever else a signal handler of the program raises;
/// the operation is then cancelled.
pub fn wait<T: Send + 'static>(
    py: Python<'_>,
    start: impl FnOnce() -> Op<T> + Send,
) -> PyResult<T> {
    let defect = || exception(py, &Error::internal("an operation was not waited for"));
    wait_for(py, None, start)?.ok_or_else(defect)
}

/// As [`wait`], but for so long at most; then the operation is cancelled, and there is no result.
///
/// # Errors
/// As [`wait`].
pub fn wait_for<T: Send + 'static>(
    py: Python<'_>,
    patience: Option<Duration>,
    start: impl FnOnce() -> Op<T> + Send,
) -> PyResult<Option<T>> {
    let until = patience.map(|patience| Instant::now() + patience);
    let left = || until.map(|until| until.saturating_duration_since(Instant::now()));
    let slice = || left().map_or(SLICE, |left| left.min(SLICE));
    let (op, mut result) = py.detach(|| {
        let op = start();
        let result = op.wait_for(slice());
        (op, result)
    });
    loop {
        if let Some(result) = result {
            return raise(py, result).map(Some);
        }
        let interrupted = py.check_signals();
        if interrupted.is_err() || left().is_some_and(|left| left.is_zero()) {
            // A result that arrives all the same may be a node, which must not be closed with the GIL.
            py.detach(move || {
                op.cancel();
                drop(op.wait_for(GRACE));
                drop(op);
            });
            return interrupted.map(|()| None);
        }
        result = py.detach(|| op.wait_for(slice()));
    }
}
