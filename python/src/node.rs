//! `distkv.Node`: one running member of a cluster, in this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kvcore::api::{self, Error, Founding, Kind, NodeConfig, Result, StorageConfig};
use pyo3::prelude::*;

use crate::client::{Client, Connection};
use crate::convert;
use crate::errors::{exception, guard, raise};
use crate::handle::{Handle, Resource, get};
use crate::wait::{wait, wait_for};

impl Resource for api::Node {
    const NAME: &'static str = "node";

    fn close(&self) -> Result<()> {
        api::Node::close(self)
    }
}

/// A node: it holds replicas, votes, and serves anyone. It runs until it is closed, until it and the
/// clients made from it are gone, or until the interpreter ends.
///
/// Starting one ends when it is a member of a cluster and can serve. Given addresses to `join` it joins
/// their cluster; given none it founds one in an empty directory, or goes on in the directory's.
///
/// data_dir: the directory with its identity, log and data. None: all in memory, gone with the process.
/// listen: `IP:PORT` to listen on; port 0 picks a free one.
/// join: `HOST:PORT` of members, any of which is asked to let this node in.
/// partitions, replication_factor, vnodes: what the cluster is founded with, or must be.
///     None: 64, 3 and 64 for a founder, the cluster's for a node that joins.
/// advertise: `HOST:PORT` that others are told to dial. None: the address listened on.
/// bootstrap: found a cluster although there are addresses to join, if none belongs to one.
/// zone: the failure zone (rack, data centre) of this node.
/// weight: its share of the data against others', 0.01 to 100.
/// start_timeout: seconds that starting may take.
/// memory_limit: bytes of memory for what is stored: with a data_dir for caches and tables that are not
///     written out yet, without one for all keys and values. None: 512 MiB.
/// log_budget: bytes that the log of all replicas may take. None: 1 GiB.
/// disk_reserve: bytes of disk held back to clear up with when it is full. None: 256 MiB.
/// snapshot_rate: bytes a second sent of snapshots. None: 16 MiB.
/// compaction_rate: bytes a second written in the background. None: 256 MiB.
#[pyclass(frozen, module = "distkv", weakref)]
pub struct Node {
    handle: Arc<Handle<api::Node>>,
    id: String,
    cluster: String,
    address: String,
}

#[pymethods]
impl Node {
    #[new]
    #[pyo3(signature = (
        data_dir=None, listen="127.0.0.1:0", *, join=Vec::new(), partitions=None,
        replication_factor=None, vnodes=None, advertise=None, bootstrap=false, zone=None,
        weight=1.0, start_timeout=60.0, memory_limit=None, log_budget=None, disk_reserve=None,
        snapshot_rate=None, compaction_rate=None
    ), text_signature = "(data_dir=None, listen='127.0.0.1:0', *, join=(), partitions=None, \
        replication_factor=None, vnodes=None, advertise=None, bootstrap=False, zone=None, \
        weight=1.0, start_timeout=60.0, memory_limit=None, log_budget=None, disk_reserve=None, \
        snapshot_rate=None, compaction_rate=None)")]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        py: Python<'_>,
        data_dir: Option<PathBuf>,
        listen: &str,
        join: Vec<String>,
        partitions: Option<i64>,
        replication_factor: Option<i64>,
        vnodes: Option<i64>,
        advertise: Option<String>,
        bootstrap: bool,
        zone: Option<String>,
        weight: f64,
        start_timeout: f64,
        memory_limit: Option<i64>,
        log_budget: Option<i64>,
        disk_reserve: Option<i64>,
        snapshot_rate: Option<i64>,
        compaction_rate: Option<i64>,
    ) -> PyResult<Node> {
        guard(py, || {
            let default = StorageConfig::default();
            let bytes = |name, value, default| {
                convert::setting(py, name, value).map(|value| value.unwrap_or(default))
            };
            let config = NodeConfig {
                listen: listen.into(),
                advertise,
                data_dir,
                join,
                bootstrap,
                founding: Founding {
                    partitions: convert::setting(py, "partitions", partitions)?,
                    replication_factor: convert::setting(
                        py,
                        "replication_factor",
                        replication_factor,
                    )?,
                    vnodes: convert::setting(py, "vnodes", vnodes)?,
                },
                zone,
                weight,
                start_timeout: convert::seconds(py, "start_timeout", start_timeout)?,
                storage: StorageConfig {
                    memory_limit: bytes("memory_limit", memory_limit, default.memory_limit)?,
                    log_budget: bytes("log_budget", log_budget, default.log_budget)?,
                    disk_reserve: bytes("disk_reserve", disk_reserve, default.disk_reserve)?,
                    snapshot_rate: bytes("snapshot_rate", snapshot_rate, default.snapshot_rate)?,
                    compaction_rate: bytes(
                        "compaction_rate",
                        compaction_rate,
                        default.compaction_rate,
                    )?,
                },
                ..NodeConfig::default()
            };
            let node = wait(py, || api::Node::start(config))?;
            Ok(Node {
                id: node.id().to_string(),
                cluster: node.cluster().to_string(),
                address: node.address(),
                handle: Handle::new(node),
            })
        })
    }

    /// The node's id: 16 hexadecimal digits, kept in its data directory.
    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    /// The id of the cluster it belongs to: 32 hexadecimal digits.
    #[getter]
    fn cluster(&self) -> &str {
        &self.cluster
    }

    /// What others are told to dial, `HOST:PORT`.
    #[getter]
    fn address(&self) -> &str {
        &self.address
    }

    /// A client over this node: no network between them. Closing it leaves the node running.
    fn client(&self, py: Python<'_>) -> PyResult<Client> {
        guard(py, || {
            let node = get(py, &self.handle)?;
            let made = py.detach(|| node.client().map(|client| Connection::over(client, node)));
            Ok(Client::new(raise(py, made)?))
        })
    }

    /// What the node knows of itself and its cluster.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let node = get(py, &self.handle)?;
            let status = wait(py, move || node.status())?;
            convert::status(py, &status)
        })
    }

    /// Leaves the cluster: what the node holds goes to others, it is removed from the cluster, and closed.
    /// Blocks until then. It never becomes a member again; with an empty directory it is a new node.
    ///
    /// timeout: seconds that it may take. None: no bound. TimeoutError says that it was not enough; the
    ///     node is open then and goes on leaving, as it does after Ctrl-C.
    #[pyo3(signature = (timeout=None))]
    fn leave(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        guard(py, || {
            let patience = patience(py, timeout)?;
            let node = get(py, &self.handle)?;
            if wait_for(py, patience, move || node.leave())?.is_some() {
                return self.handle.close(py);
            }
            let error = Error::new(Kind::Timeout, "the node has not left yet, and goes on leaving");
            Err(exception(py, &error.with("node", &self.id)))
        })
    }

    /// Waits until the node is no longer a member of the cluster, because it has left or was removed,
    /// whoever asked for it; it is to be closed then. Whether that is so.
    ///
    /// timeout: seconds to wait, 0 to only look. None: no bound.
    #[pyo3(signature = (timeout=None))]
    fn wait_departed(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        guard(py, || {
            let patience = patience(py, timeout)?;
            let node = get(py, &self.handle)?;
            Ok(wait_for(py, patience, move || node.departed())?.is_some())
        })
    }

    /// Stops the node: calls under way end, everything acknowledged is on disk, its threads are gone.
    /// Blocks until then. Later calls raise ClosedError; closing twice is no error.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        guard(py, || self.handle.close(py))
    }

    fn __enter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        guard(py, || {
            let node = get(py, &slf.get().handle)?;
            py.detach(|| drop(node));
            Ok(slf)
        })
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        let closed = if self.handle.is_open() { "" } else { " closed" };
        let Node { id, cluster, address, .. } = self;
        format!("<distkv.Node id={id} address={address} cluster={cluster}{closed}>")
    }
}

fn patience(py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Duration>> {
    timeout.map(|given| convert::seconds(py, "timeout", given)).transpose()
}
