//! What a client asks of a cluster as a whole.
#![allow(unsafe_code, reason = "exports are `no_mangle`")]

use std::ffi::c_char;
use std::ptr;

use kvcore::api::{Error, Kind, Newcomer, NodeId, PartitionId, Result};

use crate::bytes::distkv_bytes;
use crate::client::distkv_client;
use crate::error::distkv_error;
use crate::handles::Out;
use crate::options::distkv_options;
use crate::{bytes, guard, handles};

/// Who holds and leads how much, and the moves under way, as the node that answers sees it: a JSON
/// object {"epoch", "partitions", "replication_factor", "nodes": [{"id", "address", "state", "weight",
/// "zone", "replicas", "leaders", "bytes", "target"}], "moves": [{"partition", "from", "to", "bytes",
/// "sent"}], "tuning"}; later versions may add to it.
///
/// @param json Receives the text, in UTF-8 and not NUL-terminated, NULL on failure. Free it with
///             distkv_bytes_free.
/// @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_UNAVAILABLE, DISTKV_CLOSED, DISTKV_FORKED,
/// DISTKV_WOULD_DEADLOCK, DISTKV_CANCELLED, DISTKV_UNSUPPORTED (the node is of an older version),
/// DISTKV_INTERNAL. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_client_ring_json(
    client: *const distkv_client,
    json: *mut *mut distkv_bytes,
) -> *mut distkv_error {
    guard::call(|| {
        let out = Out::required(json, "json", ptr::null_mut())?;
        let client = distkv_client::get(client)?;
        out.set(give(&client.ring().wait()?)?);
        Ok(())
    })
}

/// Which moves are to come; or would be, if nodes came and went. Changes nothing. A JSON object {"epoch",
/// "moves": [{"partition", "from", "to", "bytes"}], "bytes", "seconds", "nodes": [{"id", "now",
/// "then"}]}; later versions may add to it. The first newcomer is called "new-1".
///
/// @param with    The nodes that would come, separated by commas: the weight of each, 0.01 to 100, and if
///                it is in a zone a colon and the zone, as in "1:rack-2,0.5". A zone with a comma cannot be
///                asked about. NULL or "": none. Borrowed for the call.
/// @param without The ids of the members that would leave, separated by commas. NULL or "": none. Borrowed
///                for the call.
/// @param options The call's settings (timeout), NULL for the client's. Read during the call only.
/// @param json    Receives the text, in UTF-8 and not NUL-terminated, NULL on failure. Free it with
///                distkv_bytes_free.
/// @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_NOT_FOUND (an id of no member), DISTKV_UNAVAILABLE,
/// DISTKV_TIMEOUT, DISTKV_CLOSED, DISTKV_FORKED, DISTKV_WOULD_DEADLOCK, DISTKV_CANCELLED,
/// DISTKV_UNSUPPORTED, DISTKV_INTERNAL. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_client_plan_json(
    client: *const distkv_client,
    with: *const c_char,
    without: *const c_char,
    options: *const distkv_options,
    json: *mut *mut distkv_bytes,
) -> *mut distkv_error {
    guard::call(|| {
        let out = Out::required(json, "json", ptr::null_mut())?;
        let client = distkv_client::get(client)?;
        let with = list(bytes::text_if_any(with, "with")?, newcomer)?;
        let without = list(bytes::text_if_any(without, "without")?, str::parse)?;
        let plan = client.plan(with, without, distkv_options::for_call(options)).wait()?;
        out.set(give(&plan)?);
        Ok(())
    })
}

/// Has a member leave: its replicas go to others, then it is removed from the cluster. Returns once that
/// is decided; distkv_client_ring_json shows how far it is. Asking again changes nothing.
///
/// @param node    The id of the member, 16 hexadecimal digits, NUL-terminated. Borrowed for the call.
/// @param options The call's settings (timeout), NULL for the client's. Read during the call only.
/// @return NULL, or DISTKV_INVALID_ARGUMENT (such as nobody left to hold what it holds), DISTKV_NOT_FOUND
/// (an id of no member), DISTKV_UNAVAILABLE, DISTKV_TIMEOUT, DISTKV_CLOSED, DISTKV_FORKED,
/// DISTKV_WOULD_DEADLOCK, DISTKV_CANCELLED, DISTKV_INTERNAL. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_client_leave(
    client: *const distkv_client,
    node: *const c_char,
    options: *const distkv_options,
) -> *mut distkv_error {
    guard::call(|| {
        let client = distkv_client::get(client)?;
        client.leave(node_id(node)?, distkv_options::for_call(options)).wait()
    })
}

/// Removes a member that will not come back; others get its replicas. It never becomes a member again
/// under that id.
///
/// @param node    The id of the member, 16 hexadecimal digits, NUL-terminated. Borrowed for the call.
/// @param force   Whether to remove it although it is up, has the last copy of something, or is needed for
///                a majority of some partition's replicas; what it alone had is lost then.
/// @param options The call's settings (timeout), NULL for the client's. Read during the call only.
/// @return As distkv_client_leave; DISTKV_INVALID_ARGUMENT also for what needs force. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_client_remove(
    client: *const distkv_client,
    node: *const c_char,
    force: bool,
    options: *const distkv_options,
) -> *mut distkv_error {
    guard::call(|| {
        let client = distkv_client::get(client)?;
        client.remove(node_id(node)?, force, distkv_options::for_call(options)).wait()
    })
}

/// Has a partition led by another one of the nodes that hold it. Returns once that is decided; the leader
/// follows within a moment, once the node is up to date.
///
/// @param partition The partition, counted from 0.
/// @param node      The id of the member, 16 hexadecimal digits, NUL-terminated. Borrowed for the call.
/// @param options   The call's settings (timeout), NULL for the client's. Read during the call only.
/// @return As distkv_client_leave; DISTKV_NOT_FOUND if there is no such partition or the node does not
/// hold it. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_client_transfer(
    client: *const distkv_client,
    partition: u32,
    node: *const c_char,
    options: *const distkv_options,
) -> *mut distkv_error {
    guard::call(|| {
        let client = distkv_client::get(client)?;
        let partition = u16::try_from(partition).map(PartitionId).map_err(|_| {
            Error::new(Kind::NotFound, "no such partition").with("partition", partition)
        })?;
        client.transfer(partition, node_id(node)?, distkv_options::for_call(options)).wait()
    })
}

/// Changes how eagerly the cluster moves replicas and what it takes for dead: whatever of
/// distkv_options_set_moves_per_node, _move_rate, _paused, _dead_node_timeout_ms and _max_dead_fraction was
/// set in the options. The rest stays as it is.
///
/// @param options What to change, and the call's settings (timeout); NULL changes nothing. Read during the
///                call only.
/// @param json    Receives what it is then, a JSON object {"moves_per_node", "move_rate", "paused",
///                "dead_node_timeout_ms", "max_dead_milli"} (thousandths) to which later versions may add,
///                in UTF-8 and not NUL-terminated; NULL on failure. Free it with distkv_bytes_free. May be
///                NULL.
/// @return As distkv_client_leave; DISTKV_INVALID_ARGUMENT for a setting out of range. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_client_tune(
    client: *const distkv_client,
    options: *const distkv_options,
    json: *mut *mut distkv_bytes,
) -> *mut distkv_error {
    guard::call(|| {
        let wanted = !json.is_null();
        let out = Out::optional(json, ptr::null_mut());
        let client = distkv_client::get(client)?;
        let change = distkv_options::for_tuning(options);
        let tuning = client.tune(change, distkv_options::for_call(options)).wait()?;
        if wanted {
            out.set(give(&tuning)?);
        }
        Ok(())
    })
}

/// Gives a value out as JSON.
fn give<T: serde::Serialize>(value: &T) -> Result<*mut distkv_bytes> {
    let json = serde_json::to_vec(value)
        .map_err(|error| Error::internal("a report cannot be written as json").because(error))?;
    Ok(handles::give(distkv_bytes(json.into())))
}

fn node_id(node: *const c_char) -> Result<NodeId> {
    bytes::text(node, "node")?.parse()
}

/// The parts of a text that are separated by commas.
fn list<T>(text: Option<String>, one: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    match text.as_deref() {
        None | Some("") => Ok(Vec::new()),
        Some(text) => text.split(',').map(one).collect(),
    }
}

/// A node that is not there yet, as "WEIGHT" or "WEIGHT:ZONE".
fn newcomer(text: &str) -> Result<Newcomer> {
    let (weight, zone) = match text.split_once(':') {
        Some((weight, zone)) => (weight, Some(zone.to_owned())),
        None => (text, None),
    };
    let wrong = || {
        Error::new(Kind::InvalidArgument, "a newcomer is not WEIGHT or WEIGHT:ZONE")
            .with("newcomer", text)
    };
    if zone.as_deref() == Some("") {
        return Err(wrong());
    }
    Ok(Newcomer { weight: weight.parse().map_err(|_| wrong())?, zone })
}

#[cfg(test)]
#[path = "administration_test.rs"]
mod tests;
