//! Errors and panics, as Python exceptions.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kvcore::api::{Error, Kind, Result};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

/// The classes by code. Python defines them, from the table that this module hands out.
static CLASSES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

/// The table of kinds: a tuple of `(code, name, retryable, maybe_applied)`.
pub fn table(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    PyTuple::new(
        py,
        Kind::ALL
            .iter()
            .map(|kind| (kind.code(), kind.name(), kind.retryable(), kind.maybe_applied())),
    )
}

/// The exception for an error.
pub fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let raised = || -> PyResult<PyErr> {
        let classes = CLASSES.get_or_try_init(py, || -> PyResult<Py<PyDict>> {
            let classes = py.import("distkv._errors")?.getattr("CLASSES")?;
            Ok(classes.cast_into::<PyDict>()?.unbind())
        })?;
        let class = classes.bind(py).as_any().get_item(error.kind().code())?;
        let instance = class.call1((error.to_string(),))?;
        if error.kind() == Kind::Conflict {
            instance.setattr("revision", error.revision())?;
        }
        Ok(PyErr::from_value(instance))
    };
    raised().unwrap_or_else(|failed| failed)
}

/// A result of the core as one for Python.
pub fn raise<T>(py: Python<'_>, result: Result<T>) -> PyResult<T> {
    result.map_err(|error| exception(py, &error))
}

/// Runs the body of a call; a panic in it becomes `InternalError`.
pub fn guard<T>(py: Python<'_>, body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    // What a panic leaves half done is behind the core's own locks, and it answers for that itself.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let error = Error::internal("distkv panicked").with("panic", said(panic.as_ref()));
        Err(exception(py, &error))
    })
}

fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("something that is no text")
}
