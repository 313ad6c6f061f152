//! One running member of a cluster, in this process.
#![allow(unsafe_code, reason = "exports are `no_mangle`")]

use std::ffi::{CString, c_char};
use std::ptr;

use kvcore::api::{Node, Result};

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
