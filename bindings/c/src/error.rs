//! Errors, as C reads them.
#![allow(unsafe_code, reason = "exports are `no_mangle`")]

use std::ffi::{CString, c_char, c_int};

use kvcore::api::Error;

use crate::{bytes, guard, handles};

/// No error.
pub const DISTKV_OK: c_int = 0;
/// The caller asked for something that makes no sense; the message names it.
pub const DISTKV_INVALID_ARGUMENT: c_int = 1;
/// An administrative object does not exist. A missing key is no error.
pub const DISTKV_NOT_FOUND: c_int = 2;
/// A condition did not hold; distkv_error_revision has the current revision.
pub const DISTKV_CONFLICT: c_int = 3;
/// Something is above its limit; the message names both.
pub const DISTKV_TOO_LARGE: c_int = 4;
/// No quorum or no leader in time.
pub const DISTKV_UNAVAILABLE: c_int = 5;
/// The time was up after the command had been proposed: the outcome is unknown.
pub const DISTKV_TIMEOUT: c_int = 6;
/// A queue or table is full; later may be better.
pub const DISTKV_OVERLOADED: c_int = 7;
/// The disk is full. Heals when space returns.
pub const DISTKV_STORAGE_FULL: c_int = 8;
/// Stored bytes are not what was written.
pub const DISTKV_CORRUPTION: c_int = 9;
/// The caller did not say who it is.
pub const DISTKV_UNAUTHENTICATED: c_int = 10;
/// The caller may not do that.
pub const DISTKV_PERMISSION_DENIED: c_int = 11;
/// The handle was closed.
pub const DISTKV_CLOSED: c_int = 12;
/// The handle was made before a fork and used in the child.
pub const DISTKV_FORKED: c_int = 13;
/// A blocking call inside a callback.
pub const DISTKV_WOULD_DEADLOCK: c_int = 14;
/// The other side belongs to another cluster.
pub const DISTKV_WRONG_CLUSTER: c_int = 15;
/// The caller cancelled the call; the outcome is unknown.
pub const DISTKV_CANCELLED: c_int = 16;
/// The other side, or the library, is of another version and cannot do this.
pub const DISTKV_UNSUPPORTED: c_int = 17;
/// A defect in distkv.
pub const DISTKV_INTERNAL: c_int = 18;
/// The retry came too late to be recognized as one.
pub const DISTKV_SESSION_EXPIRED: c_int = 19;

/// What went wrong with a call. Owned by the caller, who frees it with distkv_error_free; it depends
/// on no other handle. May be read from any thread.
pub struct distkv_error {
    error: Error,
    message: CString,
}

impl distkv_error {
    pub(crate) fn new(error: Error) -> distkv_error {
        let message = bytes::for_c(error.to_string());
        distkv_error { error, message }
    }
}

/// The error's code, one of the DISTKV_ constants; a newer library may answer with one that this
/// header does not know. DISTKV_OK if `error` is NULL. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_error_code(error: *const distkv_error) -> c_int {
    read(error, DISTKV_OK, |error| c_int::try_from(error.kind().code()).unwrap_or(DISTKV_INTERNAL))
}

/// Whether the same call may succeed if made again. false if `error` is NULL. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_error_retryable(error: *const distkv_error) -> bool {
    read(error, false, |error| error.kind().retryable())
}

/// Whether the change may have been made although the call failed. If false, it was not made and
/// never will be. false if `error` is NULL. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_error_maybe_applied(error: *const distkv_error) -> bool {
    read(error, false, |error| error.kind().maybe_applied())
}

/// The revision in force, for DISTKV_CONFLICT (0: the key is absent); 0 for all other errors and if
/// `error` is NULL. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_error_revision(error: *const distkv_error) -> u64 {
    read(error, 0, |error| error.revision().unwrap_or(0))
}

/// What happened, for people: a lowercase sentence in UTF-8 with name=`value` pairs last,
/// NUL-terminated. Belongs to the error and is valid until that is freed; never NULL; empty if
/// `error` is NULL. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_error_message(error: *const distkv_error) -> *const c_char {
    guard::answer(c"".as_ptr(), || {
        handles::look_if_any(error, |error| error.map_or(c"".as_ptr(), |e| e.message.as_ptr()))
    })
}

/// Frees an error. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_error_free(error: *mut distkv_error) {
    guard::answer((), || drop(handles::take_back(error)));
}

fn read<T: Copy>(error: *const distkv_error, none: T, read: impl FnOnce(&Error) -> T) -> T {
    guard::answer(none, || {
        handles::look_if_any(error, |error| error.map_or(none, |error| read(&error.error)))
    })
}

#[cfg(test)]
#[path = "error_test.rs"]
mod tests;
