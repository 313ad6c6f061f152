//! `distkv._native`: the part of the Python package that is written in Rust.
//!
//! Python's `distkv.Node` and `distkv.Client` are the handles of the same names in `kvcore::api`. Four
//! rules hold for all that stands here:
//!
//! - A call that may block lets go of the GIL and looks for signals every 50 ms, so that other threads
//!   run and Ctrl-C works ([`wait`]).
//! - A handle may be closed at any moment by any thread, by the garbage collector or at the end of the
//!   interpreter; later calls raise `ClosedError`, and closing never happens with the GIL held
//!   ([`handle`]).
//! - An error is raised as the class that `distkv._errors` has for its kind; a panic becomes
//!   `InternalError`, since `PanicException` would slip through `except Exception` ([`errors`]).
//! - What comes in from Python is copied, so that the store never holds on to the interpreter's objects
//!   ([`convert`], [`ring`]).

mod client;
mod convert;
mod errors;
mod handle;
mod node;
mod ring;
mod wait;

use pyo3::prelude::*;

use errors::guard;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", kvcore::api::VERSION)?;
    module.add("KINDS", errors::table(module.py())?)?;
    module.add_class::<node::Node>()?;
    module.add_class::<client::Client>()?;
    module.add_function(wrap_pyfunction!(client::connect, module)?)?;
    module.add_function(wrap_pyfunction!(client::open, module)?)?;
    module.add_function(wrap_pyfunction!(handle::close_all, module)?)?;
    module.add_function(wrap_pyfunction!(_panic, module)?)
}

/// Panics, for the test that a panic is raised as `InternalError`.
#[pyfunction]
#[expect(clippy::panic, reason = "it is there to panic")]
fn _panic(py: Python<'_>) -> PyResult<()> {
    guard(py, || py.detach(|| panic!("on purpose")))
}
