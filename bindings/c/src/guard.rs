//! The gate that every call from outside passes: no panic leaves, and no call in a forked child gets
//! far.
#![allow(unsafe_code, reason = "registers a fork handler with the C library")]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kvcore::api::{Error, Result};

use crate::error::distkv_error;
use crate::handles;

/// Runs an export that can fail. Success is null.
///
/// The work is asserted unwind-safe because all it shares is locks that cannot be poisoned and slots
/// that are changed in one step.
pub(crate) fn call(work: impl FnOnce() -> Result<()>) -> *mut distkv_error {
    let error = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return ptr::null_mut(),
        Ok(Err(error)) => error,
        Err(payload) => panicked(payload.as_ref()),
    };
    handles::give(distkv_error::new(error))
}

/// Runs an export that has no way to tell of an error: an accessor, or the end of a handle.
pub(crate) fn answer<T>(otherwise: T, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(otherwise)
}

fn panicked(payload: &(dyn Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    Error::internal("a call panicked").with("panic", text)
}

/// How many forks lie between this process and the one that loaded the library. Asking the kernel for
/// the process id instead would cost 150 ns a call.
static FORKS: AtomicU64 = AtomicU64::new(0);
static COUNTING: AtomicBool = AtomicBool::new(false);

/// The process something was made in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Process(u64);

impl Process {
    /// This process; from here on forks are counted.
    ///
    /// # Errors
    /// `Internal` if the C library cannot register a fork handler.
    pub(crate) fn current() -> Result<Process> {
        // No lock, because a fork might happen while it is held. Two threads that come here at once
        // may both register; then a fork counts twice, which is as good.
        if !COUNTING.load(Ordering::Acquire) {
            // SAFETY: the handler is a function for the life of the process (the library is never
            // unmapped), and only adds to an atomic, which is all that is allowed between fork and
            // exec.
            let failed = unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
            if failed != 0 {
                return Err(Error::internal("a fork handler cannot be registered")
                    .because(std::io::Error::from_raw_os_error(failed)));
            }
            COUNTING.store(true, Ordering::Release);
        }
        Ok(Process(FORKS.load(Ordering::Relaxed)))
    }

    /// Whether this is still that process, and not a child of it.
    pub(crate) fn is_current(self) -> bool {
        self.0 == FORKS.load(Ordering::Relaxed)
    }

    /// A process that this one is not, as a child sees its parent.
    #[cfg(test)]
    pub(crate) fn other() -> Process {
        Process(u64::MAX)
    }
}

extern "C" fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;
    use crate::error::{
        DISTKV_INTERNAL, distkv_error_code, distkv_error_free, distkv_error_message,
    };

    extern "C" fn an_export_that_panics() -> *mut distkv_error {
        call(|| panic!("on purpose"))
    }

    extern "C" fn an_accessor_that_panics() -> i32 {
        answer(-1, || panic!("on purpose"))
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let error = an_export_that_panics();
        assert_eq!(distkv_error_code(error), DISTKV_INTERNAL);
        // SAFETY: the message lives as long as the error.
        let message = unsafe { CStr::from_ptr(distkv_error_message(error)) };
        assert_eq!(message.to_str().unwrap(), "a call panicked panic=`on purpose`");
        distkv_error_free(error);
        assert_eq!(an_accessor_that_panics(), -1);
    }

    #[test]
    fn a_process_knows_itself() {
        let here = Process::current().unwrap();
        assert!(here.is_current());
        assert!(!Process::other().is_current());
    }
}
