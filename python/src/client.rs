//! `distkv.Client`: the handle with the verbs.

use std::path::PathBuf;
use std::sync::Arc;

use kvcore::api::{self, ClientOptions, NodeConfig, PartitionId, Result};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert;
use crate::errors::{guard, raise};
use crate::handle::{Handle, Resource, get};
use crate::ring::{self, Newcomer, Wanted};
use crate::wait::wait;

/// A client and the node in this process that it goes through, if there is one.
#[derive(Clone)]
pub struct Connection {
    client: api::Client,
    node: Option<api::Node>,
    /// Whether the node is closed with the client, because nobody else has a handle to it.
    owns_node: bool,
}

impl Connection {
    /// A client over the network.
    fn remote(client: api::Client) -> Connection {
        Connection { client, node: None, owns_node: false }
    }

    /// A client over somebody else's node. It holds on to the node, so that
    /// `Node(...).client()` does not end with the expression.
    pub fn over(client: api::Client, node: api::Node) -> Connection {
        Connection { client, node: Some(node), owns_node: false }
    }

    /// A client with a node of its own.
    fn embedded(client: api::Client, node: api::Node) -> Connection {
        Connection { client, node: Some(node), owns_node: true }
    }
}

impl Resource for Connection {
    const NAME: &'static str = "client";

    fn close(&self) -> Result<()> {
        self.client.close();
        match &self.node {
            Some(node) if self.owns_node => node.close(),
            _ => Ok(()),
        }
    }
}

/// Connects to a cluster through any of its members; the client finds the others itself.
///
/// endpoints: `HOST:PORT` of members, separated by commas.
/// timeout: seconds that connecting may take, and each call that does not say so itself.
#[pyfunction]
#[pyo3(signature = (endpoints, timeout=5.0))]
pub fn connect(py: Python<'_>, endpoints: &str, timeout: f64) -> PyResult<Client> {
    guard(py, || {
        let timeout = convert::seconds(py, "timeout", timeout)?;
        let options =
            ClientOptions { timeout, connect_timeout: timeout, ..ClientOptions::default() };
        let client = wait(py, || api::Client::connect(endpoints, options))?;
        Ok(Client::new(Connection::remote(client)))
    })
}

/// Opens a store in a directory: a node of its own in this process, and a client over it. Closing the
/// client stops the node.
#[pyfunction]
pub fn open(py: Python<'_>, path: PathBuf) -> PyResult<Client> {
    guard(py, || {
        let config = NodeConfig { data_dir: Some(path), ..NodeConfig::default() };
        let node = wait(py, || api::Node::start(config))?;
        let made = py.detach(|| node.client().map(|client| Connection::embedded(client, node)));
        Ok(Client::new(raise(py, made)?))
    })
}

/// A handle with the verbs; `connect`, `open` and `Node.client` make them. Any thread may use it, any
/// number at once.
///
/// Keys have 1 byte to 16 KiB, values up to 8 MiB; both are bytes, bytearray, memoryview, or str, which
/// is taken as UTF-8. `timeout` is in seconds; None: what the client was made with, 5 s by default.
#[pyclass(frozen, module = "distkv", weakref)]
pub struct Client {
    handle: Arc<Handle<Connection>>,
}

impl Client {
    /// A client that is open.
    pub fn new(connection: Connection) -> Client {
        Client { handle: Handle::new(connection) }
    }

    fn entry(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        consistency: &str,
        timeout: Option<f64>,
    ) -> PyResult<Option<api::Entry>> {
        let key = convert::bytes("key", key)?;
        let options = convert::reading(py, timeout, consistency)?;
        let connection = get(py, &self.handle)?;
        wait(py, move || connection.client.get(key, options))
    }
}

#[pymethods]
impl Client {
    /// Sets the value of a key; its new revision. With `if_revision` only if the key has that revision, 0 for
    /// none, and with `if_absent` only if it is absent; else `ConflictError`, whose `revision` is the one that
    /// it has.
    #[pyo3(signature = (key, value, *, if_revision=None, if_absent=false, timeout=None))]
    fn put(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        if_revision: Option<i64>,
        if_absent: bool,
        timeout: Option<f64>,
    ) -> PyResult<u64> {
        guard(py, || {
            let (key, value) = (convert::bytes("key", key)?, convert::bytes("value", value)?);
            let options = convert::condition(py, timeout, if_revision, if_absent)?;
            let connection = get(py, &self.handle)?;
            wait(py, move || connection.client.put(key, value, options))
        })
    }

    /// The value of a key; None if it is absent. `consistency` is `"linearizable"`, or `"lease"` to trust the
    /// leader's lease rather than have it ask a majority: as fresh as long as the nodes' clocks run alike.
    #[pyo3(signature = (key, *, consistency="linearizable", timeout=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        consistency: &str,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        guard(py, || {
            let entry = self.entry(py, key, consistency, timeout)?;
            Ok(entry.map(|entry| PyBytes::new(py, &entry.value)))
        })
    }

    /// The value of a key and the revision that wrote it; None if it is absent. See `get`.
    #[pyo3(signature = (key, *, consistency="linearizable", timeout=None))]
    fn get_entry<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        consistency: &str,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        guard(py, || {
            let entry = self.entry(py, key, consistency, timeout)?;
            entry.map(|entry| convert::entry(py, &entry)).transpose()
        })
    }

    /// Removes a key; whether it existed. With `if_revision` only if it has that revision, as for `put`.
    #[pyo3(signature = (key, *, if_revision=None, timeout=None))]
    fn delete(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        if_revision: Option<i64>,
        timeout: Option<f64>,
    ) -> PyResult<bool> {
        guard(py, || {
            let key = convert::bytes("key", key)?;
            let options = convert::condition(py, timeout, if_revision, false)?;
            let connection = get(py, &self.handle)?;
            wait(py, move || connection.client.delete(key, options))
        })
    }

    /// What the node that answers knows of itself and its cluster.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let connection = get(py, &self.handle)?;
            let status = wait(py, move || connection.client.status())?;
            convert::status(py, &status)
        })
    }

    /// The members of the cluster, as the node that answers sees them.
    fn members<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        guard(py, || {
            let connection = get(py, &self.handle)?;
            let members = wait(py, move || connection.client.members())?;
            members.iter().map(|member| convert::member(py, member)).collect()
        })
    }

    /// Who holds and leads how much, and the moves under way, as the node that answers sees it.
    fn ring<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let connection = get(py, &self.handle)?;
            let ring = wait(py, move || connection.client.ring())?;
            ring::ring(py, &ring)
        })
    }

    /// Which moves are to come; or would be, if `with_nodes` (of `Newcomer`) came and `without_nodes` (of
    /// ids) left. Changes nothing. NotFoundError for an id of no member.
    #[pyo3(
        signature = (*, with_nodes=Vec::new(), without_nodes=Vec::new(), timeout=None),
        text_signature = "($self, *, with_nodes=(), without_nodes=(), timeout=None)"
    )]
    fn plan<'py>(
        &self,
        py: Python<'py>,
        with_nodes: Vec<Newcomer>,
        without_nodes: Vec<String>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let options = convert::options(py, timeout)?;
            let with = with_nodes.into_iter().map(api::Newcomer::from).collect();
            let without = without_nodes.iter().map(|node| ring::node_id(py, node));
            let without = without.collect::<PyResult<_>>()?;
            let connection = get(py, &self.handle)?;
            let plan = wait(py, move || connection.client.plan(with, without, options))?;
            ring::plan(py, &plan)
        })
    }

    /// Has a member leave: its replicas go to others, then it is removed from the cluster. Returns once
    /// that is decided; `ring` shows how far it is. NotFoundError for an id of no member.
    #[pyo3(signature = (node, *, timeout=None))]
    fn leave(&self, py: Python<'_>, node: &str, timeout: Option<f64>) -> PyResult<()> {
        guard(py, || {
            let (node, options) = (ring::node_id(py, node)?, convert::options(py, timeout)?);
            let connection = get(py, &self.handle)?;
            wait(py, move || connection.client.leave(node, options))
        })
    }

    /// Removes a member that will not come back; others get its replicas. Refused, unless `force` is set,
    /// for a node that is up, and where the last copy of something or a majority would be lost.
    /// NotFoundError for an id of no member.
    #[pyo3(signature = (node, *, force=false, timeout=None))]
    fn remove(
        &self,
        py: Python<'_>,
        node: &str,
        force: bool,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        guard(py, || {
            let (node, options) = (ring::node_id(py, node)?, convert::options(py, timeout)?);
            let connection = get(py, &self.handle)?;
            wait(py, move || connection.client.remove(node, force, options))
        })
    }

    /// Has a partition, counted from 0, led by another one of the nodes that hold it. Returns once that
    /// is decided. NotFoundError if there is no such partition or the node does not hold it.
    #[pyo3(signature = (partition, node, *, timeout=None))]
    fn transfer(
        &self,
        py: Python<'_>,
        partition: i64,
        node: &str,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        guard(py, || {
            let (node, options) = (ring::node_id(py, node)?, convert::options(py, timeout)?);
            let partition = PartitionId(convert::number(py, "partition", partition)?);
            let connection = get(py, &self.handle)?;
            wait(py, move || connection.client.transfer(partition, node, options))
        })
    }

    /// Changes how eagerly the cluster moves replicas and what it takes for dead, as far as it is told;
    /// what it is then. `Tuning` says what each means. `dead_node_timeout` is in seconds.
    #[pyo3(signature = (
        *, moves_per_node=None, move_rate=None, paused=None, dead_node_timeout=None,
        max_dead_fraction=None, timeout=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn tune<'py>(
        &self,
        py: Python<'py>,
        moves_per_node: Option<i64>,
        move_rate: Option<i64>,
        paused: Option<bool>,
        dead_node_timeout: Option<f64>,
        max_dead_fraction: Option<f64>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(py, || {
            let options = convert::options(py, timeout)?;
            let wanted =
                Wanted { moves_per_node, move_rate, paused, dead_node_timeout, max_dead_fraction };
            let change = wanted.change(py)?;
            let connection = get(py, &self.handle)?;
            let tuning = wait(py, move || connection.client.tune(change, options))?;
            ring::tuning(py, &tuning)
        })
    }

    /// Closes the client; calls under way and later ones raise ClosedError or CancelledError. Closing
    /// twice is no error.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        guard(py, || self.handle.close(py))
    }

    fn __enter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        guard(py, || {
            let connection = get(py, &slf.get().handle)?;
            py.detach(|| drop(connection));
            Ok(slf)
        })
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> &'static str {
        if self.handle.is_open() { "<distkv.Client>" } else { "<distkv.Client closed>" }
    }
}
