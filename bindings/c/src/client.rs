//! The handle with the verbs.
#![allow(unsafe_code, reason = "exports are `no_mangle`")]

use std::ffi::c_char;
use std::ptr;

use kvcore::api::limits::{KEY_BYTES, VALUE_BYTES};
use kvcore::api::{Client, Result};

use crate::bytes::{distkv_bytes, distkv_slice};
use crate::error::distkv_error;
use crate::handles::{Out, Slot};
use crate::options::distkv_options;
use crate::{bytes, guard, handles, version};

/// A client: the verbs, over a node in this process or over the network. May be used from any number
/// of threads at once.
pub struct distkv_client(Slot<Client>);

impl distkv_client {
    pub(crate) fn new(client: Client) -> Result<distkv_client> {
        Slot::new("client", client).map(distkv_client)
    }

    pub(crate) fn get(client: *const distkv_client) -> Result<Client> {
        handles::look(client, "client", |client| client.0.get())
    }
}

/// Connects a client to a cluster and blocks until a member has answered. Call it as
/// distkv_client_open(endpoints, options, &client), which passes the version.
///
/// @param api_version DISTKV_API_VERSION, as the program was compiled with.
/// @param endpoints   Members to ask, "HOST:PORT", several separated by commas; NUL-terminated. The
///                    client finds the others by itself. Read during the call only.
/// @param options     The client's settings, NULL for the defaults. Read during the call only.
/// @param client      Receives the client, NULL on failure. Free it with distkv_client_free.
/// @return NULL, or DISTKV_INVALID_ARGUMENT (an address that does not parse), DISTKV_UNAVAILABLE
/// (nobody answered in time), DISTKV_UNSUPPORTED (the library is older than the header),
/// DISTKV_INTERNAL. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_client_open_v(
    api_version: u32,
    endpoints: *const c_char,
    options: *const distkv_options,
    client: *mut *mut distkv_client,
) -> *mut distkv_error {
    guard::call(|| {
        let out = Out::required(client, "client", ptr::null_mut())?;
        version::check(api_version)?;
        let endpoints = bytes::text(endpoints, "endpoints")?;
        let connected = Client::connect(&endpoints, distkv_options::for_client(options)).wait()?;
        out.set(handles::give(distkv_client::new(connected)?));
        Ok(())
    })
}

/// Sets the value of a key, and blocks until it is safe on a majority of the key's replicas.
///
/// @param key      1 byte to 16 KiB. Borrowed for the call.
/// @param value    0 bytes to 8 MiB. Borrowed for the call.
/// @param options  The call's settings (timeout, if_revision), NULL for the client's. Read during the call only.
/// @param revision Receives the value's revision, 0 on failure. May be NULL.
/// @return NULL, or DISTKV_INVALID_ARGUMENT (such as an empty key), DISTKV_TOO_LARGE,
/// DISTKV_UNAVAILABLE, DISTKV_TIMEOUT, DISTKV_OVERLOADED, DISTKV_STORAGE_FULL, DISTKV_CLOSED,
/// DISTKV_FORKED, DISTKV_WOULD_DEADLOCK, DISTKV_CANCELLED, DISTKV_SESSION_EXPIRED, DISTKV_INTERNAL; and
/// DISTKV_CONFLICT if the key has another revision than if_revision, and nothing has changed. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_client_put(
    client: *const distkv_client,
    key: distkv_slice,
    value: distkv_slice,
    options: *const distkv_options,
    revision: *mut u64,
) -> *mut distkv_error {
    guard::call(|| {
        let out = Out::optional(revision, 0);
        let client = distkv_client::get(client)?;
        let key = bytes::copy(key, "key", KEY_BYTES)?;
        let value = bytes::copy(value, "value", VALUE_BYTES)?;
        out.set(client.put(key, value, distkv_options::for_call(options)).wait()?);
        Ok(())
    })
}

/// Reads the value of a key, as of now: every write acknowledged before the call is seen. An absent
/// key is no error.
///
/// @param key      1 byte to 16 KiB. Borrowed for the call.
/// @param options  The call's settings (timeout, lease_reads), NULL for the client's. Read during the call only.
/// @param found    Receives whether the key has a value, false on failure. May be NULL.
/// @param value    Receives the value, NULL if the key is absent and on failure; an empty value is not
///                 NULL. Free it with distkv_bytes_free.
/// @param revision Receives the revision that wrote the value, 0 if the key is absent and on failure.
///                 May be NULL.
/// @return NULL, or DISTKV_INVALID_ARGUMENT (such as an empty key), DISTKV_TOO_LARGE,
/// DISTKV_UNAVAILABLE, DISTKV_TIMEOUT, DISTKV_OVERLOADED, DISTKV_CLOSED, DISTKV_FORKED,
/// DISTKV_WOULD_DEADLOCK, DISTKV_CANCELLED, DISTKV_INTERNAL. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_client_get(
    client: *const distkv_client,
    key: distkv_slice,
    options: *const distkv_options,
    found: *mut bool,
    value: *mut *mut distkv_bytes,
    revision: *mut u64,
) -> *mut distkv_error {
    guard::call(|| {
        let found = Out::optional(found, false);
        let revision = Out::optional(revision, 0);
        let value = Out::required(value, "value", ptr::null_mut())?;
        let client = distkv_client::get(client)?;
        let key = bytes::copy(key, "key", KEY_BYTES)?;
        if let Some(entry) = client.get(key, distkv_options::for_call(options)).wait()? {
            found.set(true);
            revision.set(entry.revision);
            value.set(handles::give(distkv_bytes(entry.value)));
        }
        Ok(())
    })
}

/// Removes a key, and blocks until that is safe on a majority of the key's replicas. An absent key is
/// no error.
///
/// @param key     1 byte to 16 KiB. Borrowed for the call.
/// @param options The call's settings (timeout, if_revision), NULL for the client's. Read during the call only.
/// @param existed Receives whether the key had a value, false on failure. May be NULL.
/// @return As distkv_client_put. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_client_delete(
    client: *const distkv_client,
    key: distkv_slice,
    options: *const distkv_options,
    existed: *mut bool,
) -> *mut distkv_error {
    guard::call(|| {
        let out = Out::optional(existed, false);
        let client = distkv_client::get(client)?;
        let key = bytes::copy(key, "key", KEY_BYTES)?;
        out.set(client.delete(key, distkv_options::for_call(options)).wait()?);
        Ok(())
    })
}

/// Closes a client: calls under way end with DISTKV_CLOSED or DISTKV_CANCELLED, later ones on this
/// handle answer DISTKV_CLOSED. The handle is still to be freed. Other clients, and the node if there
/// is one in this process, go on. Closing twice is no error; a second close waits for the first.
///
/// @return NULL, or DISTKV_INVALID_ARGUMENT, DISTKV_FORKED. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_client_close(client: *const distkv_client) -> *mut distkv_error {
    guard::call(|| handles::look(client, "client", |client| client.0.close(close)))
}

/// Frees a client, and closes it first if that was not done. NULL does nothing; neither does a client
/// made before a fork, in the child. No other thread may be using the handle.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_client_free(client: *mut distkv_client) {
    guard::answer((), || {
        if let Some(client) = handles::take_back(client) {
            client.0.end(close);
        }
    });
}

fn close(client: Client) -> Result<()> {
    client.close();
    Ok(())
}

#[cfg(test)]
#[path = "client_test.rs"]
mod tests;
