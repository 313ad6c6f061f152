//! From Python's values to the core's, and back.

use std::time::Duration;

use kvcore::api::{Bytes, CallOptions, Consistency, Entry, Error, Kind, MemberStatus, Status};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString, PyType};

use crate::errors::exception;

/// The longest timeout, in seconds: some thirty years, so that adding it to the time cannot overflow.
const LONGEST: f64 = 1e9;

/// A copy of a key or value: `bytes`, `str` as UTF-8, or anything that has a buffer of bytes.
///
/// # Errors
/// `TypeError` naming the argument and what was given; `UnicodeEncodeError` for a `str` with lone
/// surrogates.
pub fn bytes(what: &str, given: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(bytes) = given.cast::<PyBytes>() {
        return Ok(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    if let Ok(text) = given.cast::<PyString>() {
        return Ok(Bytes::from(text.to_cow()?.into_owned()));
    }
    if let Ok(buffer) = PyBuffer::<u8>::get(given) {
        return Ok(Bytes::from(buffer.to_vec(given.py())?));
    }
    let type_name = given.get_type().name()?;
    Err(PyTypeError::new_err(format!(
        "{what} must be bytes, bytearray, memoryview or str, not `{type_name}`"
    )))
}

/// A span of time given in seconds.
///
/// # Errors
/// `InvalidArgument` naming the argument, if it is negative, no number or beyond all reason.
pub fn seconds(py: Python<'_>, name: &str, given: f64) -> PyResult<Duration> {
    if (0.0..=LONGEST).contains(&given) {
        return Ok(Duration::from_secs_f64(given));
    }
    let error = Error::new(Kind::InvalidArgument, "time out of range")
        .with("argument", name)
        .with("value", given)
        .with("allowed", format!("0 to {LONGEST} seconds"));
    Err(exception(py, &error))
}

/// The options of one call.
///
/// # Errors
/// As [`seconds`].
pub fn options(py: Python<'_>, timeout: Option<f64>) -> PyResult<CallOptions> {
    let timeout = timeout.map(|given| seconds(py, "timeout", given)).transpose()?;
    Ok(CallOptions { timeout, ..CallOptions::default() })
}

/// The options of one call that changes a key.
///
/// # Errors
/// As [`seconds`]; `InvalidArgument` for a revision below 0.
pub fn condition(
    py: Python<'_>,
    timeout: Option<f64>,
    if_revision: Option<i64>,
    if_absent: bool,
) -> PyResult<CallOptions> {
    let if_revision = if_revision.map(|given| number(py, "if_revision", given)).transpose()?;
    Ok(CallOptions { if_revision, if_absent, ..options(py, timeout)? })
}

/// The options of one call that reads a key.
///
/// # Errors
/// As [`seconds`]; `InvalidArgument` for a consistency that is not known.
pub fn reading(py: Python<'_>, timeout: Option<f64>, consistency: &str) -> PyResult<CallOptions> {
    let consistency = match consistency {
        "linearizable" => Consistency::Linearizable,
        "lease" => Consistency::Lease,
        _ => {
            let error = Error::new(Kind::InvalidArgument, "no such consistency")
                .with("consistency", consistency)
                .with("allowed", "linearizable, lease");
            return Err(exception(py, &error));
        }
    };
    Ok(CallOptions { consistency, ..options(py, timeout)? })
}

/// A setting that is narrower in the core than Python's integers.
///
/// # Errors
/// `InvalidArgument` naming the setting; the core checks what lies within its type.
pub fn setting<T: TryFrom<i64>>(
    py: Python<'_>,
    name: &str,
    given: Option<i64>,
) -> PyResult<Option<T>> {
    given.map(|given| narrow(py, "setting", name, given)).transpose()
}

/// An argument that is narrower in the core than Python's integers.
///
/// # Errors
/// `InvalidArgument` naming the argument.
pub fn number<T: TryFrom<i64>>(py: Python<'_>, name: &str, given: i64) -> PyResult<T> {
    narrow(py, "argument", name, given)
}

fn narrow<T: TryFrom<i64>>(
    py: Python<'_>,
    what: &'static str,
    name: &str,
    given: i64,
) -> PyResult<T> {
    T::try_from(given).map_err(|_| {
        let error = Error::new(Kind::InvalidArgument, format!("{what} out of range"))
            .with(what, name)
            .with("value", given);
        exception(py, &error)
    })
}

/// A value and its revision, as `distkv.Entry`.
pub fn entry<'py>(py: Python<'py>, entry: &Entry) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let value = PyBytes::new(py, &entry.value);
    CLASS.import(py, "distkv._entry", "Entry")?.call1((value, entry.revision))
}

/// A node's view of itself and its cluster, as `distkv.Status`.
pub fn status<'py>(py: Python<'py>, status: &Status) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let fields = PyDict::new(py);
    fields.set_item("node", &status.node)?;
    fields.set_item("cluster", &status.cluster)?;
    fields.set_item("address", &status.address)?;
    fields.set_item("version", &status.version)?;
    fields.set_item("epoch", status.epoch)?;
    fields.set_item("partitions", status.partitions)?;
    fields.set_item("replication_factor", status.replication_factor)?;
    fields.set_item("replicas", status.replicas)?;
    fields.set_item("leaders", status.leaders)?;
    fields.set_item("leaderless", status.leaderless)?;
    fields.set_item("lagging", status.lagging)?;
    fields.set_item("moves", status.moves)?;
    fields.set_item("under_replicated", status.under_replicated)?;
    fields.set_item("durable", status.durable)?;
    fields.set_item("damaged", status.damaged)?;
    fields.set_item("full", status.full)?;
    fields.set_item("leaving", status.leaving)?;
    fields.set_item("metadata_leader", status.metadata_leader.as_deref())?;
    fields.set_item("snapshot_bytes_received", status.snapshot_bytes_received)?;
    CLASS.import(py, "distkv._status", "Status")?.call((), Some(&fields))
}

/// One member of the cluster, as `distkv.Member`.
pub fn member<'py>(py: Python<'py>, member: &MemberStatus) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let fields = PyDict::new(py);
    fields.set_item("id", &member.id)?;
    fields.set_item("address", &member.address)?;
    fields.set_item("state", &member.state)?;
    fields.set_item("weight", member.weight)?;
    fields.set_item("zone", member.zone.as_deref())?;
    fields.set_item("replicas", member.replicas)?;
    fields.set_item("leaders", member.leaders)?;
    CLASS.import(py, "distkv._status", "Member")?.call((), Some(&fields))
}
