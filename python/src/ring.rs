//! Who holds what, what is to move and how eagerly: from the core's values to Python's, and back.

use kvcore::api::{self, Error, Kind, MoveStatus, NodeId, NodeLoad, Retune, RingStatus};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::convert;
use crate::errors::{exception, raise};

/// Thousandths in one: the core counts parts of a whole in them.
const MILLI: f64 = 1000.0;

/// A node's id.
///
/// # Errors
/// `InvalidArgument` if it is not hexadecimal.
pub fn node_id(py: Python<'_>, given: &str) -> PyResult<NodeId> {
    raise(py, given.parse())
}

/// A node that is not there yet, from `distkv.Newcomer`.
#[derive(FromPyObject)]
pub struct Newcomer {
    weight: f64,
    zone: Option<String>,
}

impl From<Newcomer> for api::Newcomer {
    fn from(Newcomer { weight, zone }: Newcomer) -> api::Newcomer {
        api::Newcomer { weight, zone }
    }
}

/// What is to be tuned, as Python has it.
pub struct Wanted {
    pub moves_per_node: Option<i64>,
    pub move_rate: Option<i64>,
    pub paused: Option<bool>,
    pub dead_node_timeout: Option<f64>,
    pub max_dead_fraction: Option<f64>,
}

impl Wanted {
    /// What is to be tuned, as the core has it; there it is judged.
    ///
    /// # Errors
    /// `InvalidArgument` for what the core's types cannot hold.
    pub fn change(self, py: Python<'_>) -> PyResult<Retune> {
        let timeout = self.dead_node_timeout.map(|seconds| {
            let time = convert::seconds(py, "dead_node_timeout", seconds)?;
            Ok::<_, PyErr>(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        });
        Ok(Retune {
            moves_per_node: convert::setting(py, "moves_per_node", self.moves_per_node)?,
            move_rate: convert::setting(py, "move_rate", self.move_rate)?,
            paused: self.paused,
            dead_node_timeout_ms: timeout.transpose()?,
            max_dead_milli: self.max_dead_fraction.map(|given| milli(py, given)).transpose()?,
        })
    }
}

fn milli(py: Python<'_>, fraction: f64) -> PyResult<u32> {
    let milli = (fraction * MILLI).round();
    if (0.0..=f64::from(u32::MAX)).contains(&milli) {
        return Ok(milli as u32);
    }
    let error = Error::new(Kind::InvalidArgument, "setting out of range")
        .with("setting", "max_dead_fraction")
        .with("value", fraction);
    Err(exception(py, &error))
}

/// Who holds what, as `distkv.Ring`.
pub fn ring<'py>(py: Python<'py>, ring: &RingStatus) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let fields = PyDict::new(py);
    fields.set_item("epoch", ring.epoch)?;
    fields.set_item("partitions", ring.partitions)?;
    fields.set_item("replication_factor", ring.replication_factor)?;
    fields.set_item("nodes", all(py, &ring.nodes, load)?)?;
    fields.set_item("moves", all(py, &ring.moves, step)?)?;
    fields.set_item("tuning", tuning(py, &ring.tuning)?)?;
    CLASS.import(py, "distkv._ring", "Ring")?.call((), Some(&fields))
}

fn load<'py>(py: Python<'py>, load: &NodeLoad) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let fields = PyDict::new(py);
    fields.set_item("id", &load.id)?;
    fields.set_item("address", &load.address)?;
    fields.set_item("state", &load.state)?;
    fields.set_item("weight", load.weight)?;
    fields.set_item("zone", load.zone.as_deref())?;
    fields.set_item("replicas", load.replicas)?;
    fields.set_item("leaders", load.leaders)?;
    fields.set_item("bytes", load.bytes)?;
    fields.set_item("target", load.target)?;
    CLASS.import(py, "distkv._ring", "NodeLoad")?.call((), Some(&fields))
}

fn step<'py>(py: Python<'py>, step: &MoveStatus) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let fields = PyDict::new(py);
    fields.set_item("partition", step.partition)?;
    fields.set_item("from_node", step.from.as_deref())?;
    fields.set_item("to_node", step.to.as_deref())?;
    fields.set_item("bytes", step.bytes)?;
    fields.set_item("sent", step.sent)?;
    CLASS.import(py, "distkv._ring", "Move")?.call((), Some(&fields))
}

/// How eagerly a cluster moves replicas, as `distkv.Tuning`.
pub fn tuning<'py>(py: Python<'py>, tuning: &api::Tuning) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let fields = PyDict::new(py);
    fields.set_item("moves_per_node", tuning.moves_per_node)?;
    fields.set_item("move_rate", tuning.move_rate)?;
    fields.set_item("paused", tuning.paused)?;
    fields.set_item("dead_node_timeout", tuning.dead_node_timeout().as_secs_f64())?;
    fields.set_item("max_dead_fraction", f64::from(tuning.max_dead_milli) / MILLI)?;
    CLASS.import(py, "distkv._ring", "Tuning")?.call((), Some(&fields))
}

/// What is to move, as `distkv.Plan`.
pub fn plan<'py>(py: Python<'py>, plan: &api::Plan) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let fields = PyDict::new(py);
    fields.set_item("epoch", plan.epoch)?;
    fields.set_item("moves", all(py, &plan.moves, planned_move)?)?;
    fields.set_item("bytes", plan.bytes)?;
    fields.set_item("seconds", plan.seconds)?;
    fields.set_item("nodes", all(py, &plan.nodes, planned_load)?)?;
    CLASS.import(py, "distkv._ring", "Plan")?.call((), Some(&fields))
}

fn planned_move<'py>(py: Python<'py>, step: &api::PlannedMove) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let fields = PyDict::new(py);
    fields.set_item("partition", step.partition)?;
    fields.set_item("from_node", step.from.as_deref())?;
    fields.set_item("to_node", step.to.as_deref())?;
    fields.set_item("bytes", step.bytes)?;
    CLASS.import(py, "distkv._ring", "PlannedMove")?.call((), Some(&fields))
}

fn planned_load<'py>(py: Python<'py>, load: &api::PlannedLoad) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let fields = PyDict::new(py);
    fields.set_item("id", &load.id)?;
    fields.set_item("now", load.now)?;
    fields.set_item("then", load.then)?;
    CLASS.import(py, "distkv._ring", "PlannedLoad")?.call((), Some(&fields))
}

/// A tuple of what each of some values is in Python.
fn all<'py, T>(
    py: Python<'py>,
    values: &[T],
    one: fn(Python<'py>, &T) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyTuple>> {
    let values = values.iter().map(|value| one(py, value)).collect::<PyResult<Vec<_>>>()?;
    PyTuple::new(py, values)
}
