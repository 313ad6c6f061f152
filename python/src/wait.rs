//! Waiting without the GIL, and giving up at Ctrl-C.

use std::time::Duration;

use kvcore::api::Op;
use pyo3::prelude::*;

use crate::errors::raise;

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
    let (op, mut result) = py.detach(|| {
        let op = start();
        let result = op.wait_for(SLICE);
        (op, result)
    });
    loop {
        if let Some(result) = result {
            return raise(py, result);
        }
        if let Err(interrupt) = py.check_signals() {
            // A result that arrives all the same may be a node, which must not be closed with the GIL.
            py.detach(move || {
                op.cancel();
                drop(op.wait_for(GRACE));
                drop(op);
            });
            return Err(interrupt);
        }
        result = py.detach(|| op.wait_for(SLICE));
    }
}
