//! What C holds of us: opaque pointers, and what lies behind them.
//!
//! The functions here take raw pointers and are not marked `unsafe`, because their callers are exports
//! whose caller is C: what must hold (a pointer is null or was given out here and not yet freed)
//! cannot be proved by anything on this side. The header says so to those who can keep it.
#![allow(unsafe_code, reason = "the place where handles are followed")]

use std::ptr::NonNull;

use kvcore::api::{Error, Kind, Result};
use parking_lot::{Mutex, RwLock};

use crate::guard::Process;

/// Gives a value out as a handle, until [`take_back`] gets it back.
pub(crate) fn give<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// Takes a handle back, to end it. Null is nothing.
pub(crate) fn take_back<T>(handle: *mut T) -> Option<Box<T>> {
    // SAFETY: not null here, so by contract it came from `give` and comes back for the only time.
    NonNull::new(handle).map(|handle| unsafe { Box::from_raw(handle.as_ptr()) })
}

/// Looks at what is behind an optional handle.
pub(crate) fn look_if_any<T, R>(handle: *const T, look: impl FnOnce(Option<&T>) -> R) -> R {
    // SAFETY: null, or by contract it came from `give`, is not freed during the call, and is not
    // changed by another thread (what is used by several threads has only atomics and locks inside).
    look(unsafe { handle.as_ref() })
}

/// Looks at what is behind a handle.
///
/// # Errors
/// `InvalidArgument` naming a null handle; what `look` answers.
pub(crate) fn look<T, R>(
    handle: *const T,
    name: &'static str,
    look: impl FnOnce(&T) -> Result<R>,
) -> Result<R> {
    look_if_any(handle, |value| value.ok_or_else(|| null(name)).and_then(look))
}

/// Changes what is behind a handle that only one thread uses at a time.
///
/// # Errors
/// As [`look`].
pub(crate) fn change<T, R>(
    handle: *mut T,
    name: &'static str,
    change: impl FnOnce(&mut T) -> Result<R>,
) -> Result<R> {
    // SAFETY: as in `look_if_any`, and by contract no other thread uses it at the same time.
    unsafe { handle.as_mut() }.ok_or_else(|| null(name)).and_then(change)
}

/// A null pointer where there must be something.
pub(crate) fn null(name: &'static str) -> Error {
    Error::new(Kind::InvalidArgument, "argument is null").with("argument", name)
}

/// The place for a result: a variable of the caller's.
pub(crate) struct Out<T>(Option<NonNull<T>>);

impl<T> Out<T> {
    /// A place that must be there. It holds `empty` until there is a result, so that after an error
    /// the caller never reads what was there before.
    ///
    /// # Errors
    /// `InvalidArgument` naming a null one.
    pub(crate) fn required(place: *mut T, name: &'static str, empty: T) -> Result<Out<T>> {
        if place.is_null() {
            return Err(null(name));
        }
        Ok(Out::optional(place, empty))
    }

    /// A place for something the caller may not want to know.
    pub(crate) fn optional(place: *mut T, empty: T) -> Out<T> {
        let mut out = Out(NonNull::new(place));
        out.write(empty);
        out
    }

    /// Puts the result there.
    pub(crate) fn set(mut self, value: T) {
        self.write(value);
    }

    fn write(&mut self, value: T) {
        if let Some(place) = self.0 {
            // SAFETY: by contract a variable of this type, which the caller leaves alone during the
            // call. What was there is overwritten, not dropped: it need not be anything.
            unsafe { place.write(value) };
        }
    }
}

/// Something that can be closed before it is freed, and belongs to one process.
pub(crate) struct Slot<T> {
    made_in: Process,
    what: &'static str,
    open: RwLock<Option<T>>,
    closing: Mutex<()>,
}

impl<T: Clone> Slot<T> {
    /// A slot with something open in it; `what` is its name in messages.
    ///
    /// # Errors
    /// `Internal` if forks cannot be noticed.
    pub(crate) fn new(what: &'static str, value: T) -> Result<Slot<T>> {
        Ok(Slot {
            made_in: Process::current()?,
            what,
            open: RwLock::new(Some(value)),
            closing: Mutex::new(()),
        })
    }

    /// What is in it. The caller has it for its own, so that another thread may close meanwhile.
    ///
    /// # Errors
    /// `Closed`; `Forked` in a child of the process that made it.
    pub(crate) fn get(&self) -> Result<T> {
        self.check_process()?;
        self.open.read().clone().ok_or_else(|| {
            Error::new(Kind::Closed, "the handle was closed").with("handle", self.what)
        })
    }

    /// Empties it and closes what was in it. A second close waits for a first one under way, and is no
    /// error.
    ///
    /// # Errors
    /// `Forked`; what `close` answers.
    pub(crate) fn close(&self, close: impl FnOnce(T) -> Result<()>) -> Result<()> {
        self.check_process()?;
        let _turn = self.closing.lock();
        // By a statement of its own: nobody is to wait for the lock while `close` takes its time.
        let taken = self.open.write().take();
        taken.map_or(Ok(()), close)
    }

    /// Ends it: closes what is still open, or leaks all of it in a child of the process that made it,
    /// where nothing behind it has threads any more and any lock may be held for ever.
    pub(crate) fn end(self, close: impl FnOnce(T) -> Result<()>) {
        if self.made_in.is_current() {
            // Whoever cares how closing went has closed before.
            drop(self.close(close));
        } else {
            std::mem::forget(self);
        }
    }

    fn check_process(&self) -> Result<()> {
        // Before any lock: in a child nobody may be left to open it again.
        if self.made_in.is_current() {
            return Ok(());
        }
        Err(Error::new(Kind::Forked, "the handle was made before a fork and is used in the child")
            .with("handle", self.what))
    }
}

#[cfg(test)]
#[path = "handles_test.rs"]
mod tests;
