//! What happens to this library in a forked child. One of the few places with `unsafe`.
//!
//! A fork copies the memory but not the threads: nothing that was started before it works in the
//! child. So the child counts a new generation, by which handles of the parent are told apart: they
//! answer `Forked`, and what they hold is leaked rather than torn down.
//!
//! One thing tears itself down all the same: RocksDB, at exit, joins background threads that the child
//! does not have, which is undefined and crashes in practice. A child therefore leaves by an exit
//! handler of ours, which flushes the C streams and ends the process with its status before RocksDB's
//! is reached. Handlers that the child registers itself have run by then; those registered before the
//! fork are the parent's, and do not run.

use std::ffi::{c_int, c_void};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::types::{Error, Kind, Result};

static WATCHING: Once = Once::new();
static GENERATION: AtomicU64 = AtomicU64::new(0);
static HAS_ENGINE: AtomicBool = AtomicBool::new(false);

/// Begins to notice forks, once in a process.
pub(super) fn watch() {
    WATCHING.call_once(|| {
        // SAFETY: the handler only touches atomics and registers an exit handler, both allowed in the
        // child of a fork; it is a function of this library, which is never unloaded.
        let failed = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        if failed != 0 {
            tracing::warn!(error = failed, "forks of this process will not be noticed");
        }
    });
}

/// Notes that a file-based engine has been opened in this process.
pub(super) fn has_engine() {
    HAS_ENGINE.store(true, Ordering::Release);
}

/// How many forks lie between the first process that used the library and this one.
pub(super) fn generation() -> u64 {
    GENERATION.load(Ordering::Acquire)
}

/// Checks that a handle was made in this very process.
pub(super) fn check(made_in: u64) -> Result<()> {
    if made_in == generation() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Forked,
        "the handle was made before the process was forked; open a new one",
    ))
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if HAS_ENGINE.load(Ordering::Acquire) {
        // SAFETY: `on_exit` takes a function of this shape and hands it the exit status; there is
        // nothing to be done if its table is full.
        unsafe { on_exit(leave, std::ptr::null_mut()) };
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe extern "C" {
    fn on_exit(handler: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
extern "C" fn leave(status: c_int, _argument: *mut c_void) {
    // SAFETY: a null stream means all of them, and `_exit` takes any status.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::_exit(status)
    }
}
