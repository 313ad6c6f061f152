//! One running member of a cluster, in this process.
#![allow(unsafe_code, reason = "exports are `no_mangle`")]

use std::ffi::{CString, c_char};
use std::ptr;
use std::time::Duration;

use kvcore::api::{Error, Kind, Node, Op, Result};

use crate::client::distkv_client;
use crate::error::distkv_error;
use crate::handles::{Out, Slot};
use crate::options::distkv_options;
use crate::{bytes, guard, handles, version};

/// A node: one member of a cluster, running in this process. May be used from any number of threads
/// at once.
pub struct distkv_node {
    node: Slot<Node>,
    id: CString,
    cluster: CString,
    address: CString,
}

impl distkv_node {
    fn new(node: Node) -> Result<distkv_node> {
        Ok(distkv_node {
            id: bytes::for_c(node.id().to_string()),
            cluster: bytes::for_c(node.cluster().to_string()),
            address: bytes::for_c(node.address()),
            node: Slot::new("node", node)?,
        })
    }
}

/// Starts a node and blocks until it is a member of a cluster and can serve. Call it as
/// distkv_node_open(options, &node), which passes the version.
///
/// @param api_version DISTKV_API_VERSION, as the program was compiled with.
/// @param options     The node's settings; NULL for the defaults: a node in memory, on a free port of
///                    the loopback interface, that founds a cluster. Read during the call only.
/// @param node        Receives the node, NULL on failure. Stop it with distkv_node_close, free it with
///                    distkv_node_free.
/// @return NULL, or DISTKV_INVALID_ARGUMENT (a setting out of range, an address or directory in use,
/// settings other than the cluster's), DISTKV_WRONG_CLUSTER, DISTKV_UNAVAILABLE (nobody to join
/// answered in time), DISTKV_CORRUPTION, DISTKV_STORAGE_FULL, DISTKV_UNSUPPORTED (the library is older
/// than the header), DISTKV_INTERNAL. A failure leaves nothing running. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_node_open_v(
    api_version: u32,
    options: *const distkv_options,
    node: *mut *mut distkv_node,
) -> *mut distkv_error {
    guard::call(|| {
        let out = Out::required(node, "node", ptr::null_mut())?;
        version::check(api_version)?;
        let started = Node::start(distkv_options::for_node(options)).wait()?;
        out.set(handles::give(distkv_node::new(started)?));
        Ok(())
    })
}

/// The node's id: 16 hexadecimal digits, NUL-terminated.
///
/// @param id Receives the text. It belongs to the node and is valid until distkv_node_free.
/// @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_CLOSED, DISTKV_FORKED. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_node_id(
    node: *const distkv_node,
    id: *mut *const c_char,
) -> *mut distkv_error {
    tell(node, id, "id", |node| &node.id)
}

/// The id of the cluster the node belongs to: 32 hexadecimal digits, NUL-terminated.
///
/// @param cluster Receives the text. It belongs to the node and is valid until distkv_node_free.
/// @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_CLOSED, DISTKV_FORKED. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_node_cluster(
    node: *const distkv_node,
    cluster: *mut *const c_char,
) -> *mut distkv_error {
    tell(node, cluster, "cluster", |node| &node.cluster)
}

/// The address that others are told to dial: "HOST:PORT", NUL-terminated.
///
/// @param address Receives the text. It belongs to the node and is valid until distkv_node_free.
/// @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_CLOSED, DISTKV_FORKED. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_node_address(
    node: *const distkv_node,
    address: *mut *const c_char,
) -> *mut distkv_error {
    tell(node, address, "address", |node| &node.address)
}

/// A client over this node, with no network between them.
///
/// @param client Receives the client, NULL on failure. Each call makes one more handle, to be freed
///               with distkv_client_free, before or after the node; once the node is closed, calls on
///               it answer DISTKV_CLOSED.
/// @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_CLOSED, DISTKV_FORKED. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_node_client(
    node: *const distkv_node,
    client: *mut *mut distkv_client,
) -> *mut distkv_error {
    guard::call(|| {
        let out = Out::required(client, "client", ptr::null_mut())?;
        let made = handles::look(node, "node", |node| node.node.get()?.client())?;
        out.set(handles::give(distkv_client::new(made)?));
        Ok(())
    })
}

/// Has the node leave its cluster, and blocks until what it holds has gone to others and it is no longer
/// a member. It is then to be closed and freed. It never becomes a member again; with an empty directory
/// it is a new node.
///
/// @param timeout_ms How long to wait at most, in milliseconds; 0 for no bound. After DISTKV_TIMEOUT the
///                   node goes on leaving; calling again waits on.
/// @return NULL, or DISTKV_INVALID_ARGUMENT (such as nobody left to hold what it holds),
/// DISTKV_UNAVAILABLE, DISTKV_TIMEOUT, DISTKV_CLOSED, DISTKV_FORKED, DISTKV_WOULD_DEADLOCK,
/// DISTKV_CANCELLED, DISTKV_INTERNAL. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_node_leave(
    node: *const distkv_node,
    timeout_ms: u32,
) -> *mut distkv_error {
    guard::call(|| {
        let leaving = handles::look(node, "node", |node| Ok(node.node.get()?.leave()))?;
        if wait(leaving, timeout_ms)? {
            return Ok(());
        }
        Err(Error::new(Kind::Timeout, "the node has not left yet, and goes on leaving")
            .with("timeout_ms", timeout_ms))
    })
}

/// Blocks until the node is no longer a member of its cluster, because it has left or was removed, by
/// whomever. It is then to be closed and freed.
///
/// @param timeout_ms How long to wait at most, in milliseconds; 0 for no bound.
/// @param departed   Receives whether it is no longer a member, false if the time was up and on failure.
/// @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_CLOSED, DISTKV_FORKED, DISTKV_WOULD_DEADLOCK,
/// DISTKV_CANCELLED. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_node_wait_departed(
    node: *const distkv_node,
    timeout_ms: u32,
    departed: *mut bool,
) -> *mut distkv_error {
    guard::call(|| {
        let out = Out::required(departed, "departed", false)?;
        let departing = handles::look(node, "node", |node| Ok(node.node.get()?.departed()))?;
        out.set(wait(departing, timeout_ms)?);
        Ok(())
    })
}

/// Stops the node and blocks until all that was acknowledged is on disk and its threads are gone.
/// Calls under way end; later ones on this handle answer DISTKV_CLOSED. The handle is still to be
/// freed. Closing twice is no error; a second close waits for the first.
///
/// @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_FORKED, or what went wrong while closing (the node
/// is closed all the same). Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_node_close(node: *const distkv_node) -> *mut distkv_error {
    guard::call(|| handles::look(node, "node", |node| node.node.close(close)))
}

/// Frees a node, and closes it first if that was not done, as distkv_node_close would; what went wrong
/// then is lost. NULL does nothing; neither does a node made before a fork, in the child. No other
/// thread may be using the handle.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_node_free(node: *mut distkv_node) {
    guard::answer((), || {
        if let Some(node) = handles::take_back(node) {
            node.node.end(close);
        }
    });
}

/// Whether an operation was over in time. One that was not is given up: it only watches.
fn wait(op: Op<()>, timeout_ms: u32) -> Result<bool> {
    if timeout_ms == 0 {
        return op.wait().map(|()| true);
    }
    let done = op.wait_for(Duration::from_millis(timeout_ms.into()));
    if done.is_none() {
        op.cancel();
    }
    done.transpose().map(|done| done.is_some())
}

fn close(node: Node) -> Result<()> {
    node.close()
}

fn tell(
    node: *const distkv_node,
    place: *mut *const c_char,
    name: &'static str,
    what: impl FnOnce(&distkv_node) -> &CString,
) -> *mut distkv_error {
    guard::call(|| {
        let out = Out::required(place, name, ptr::null())?;
        out.set(handles::look(node, "node", |node| {
            node.node.get()?;
            Ok(what(node).as_ptr())
        })?);
        Ok(())
    })
}
