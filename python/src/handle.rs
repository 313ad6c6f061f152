//! A handle that can be closed at any time, and the list of those that are open.

use std::sync::{Arc, Weak};

use kvcore::api::{Error, Kind, Result};
use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::errors::{exception, guard, raise};

/// What a handle holds while it is open.
pub trait Resource: Clone + Send + Sync + 'static {
    /// What messages call it.
    const NAME: &'static str;

    /// Closes it; may block.
    fn close(&self) -> Result<()>;
}

/// The place of a resource until it is closed.
///
/// Its lock is only ever taken with the GIL held and never across anything that blocks. So no thread
/// can hold it while another forks, and no two threads can wait for each other's lock and GIL.
pub struct Handle<R: Resource> {
    open: Mutex<Option<R>>,
    process: u32,
}

impl<R: Resource> Handle<R> {
    /// A handle that is closed at the end of the interpreter, if not before.
    pub fn new(resource: R) -> Arc<Handle<R>> {
        let handle =
            Arc::new(Handle { open: Mutex::new(Some(resource)), process: std::process::id() });
        let weak: Weak<dyn Close> = Arc::downgrade(&(handle.clone() as Arc<dyn Close>));
        let mut open = OPEN.lock();
        open.retain(|handle| handle.strong_count() > 0);
        open.push(weak);
        handle
    }

    /// The resource. Use it up inside `detach`: it may be the last one by then.
    ///
    /// # Errors
    /// `Closed`, or `Forked` in a child of the process that opened it.
    pub fn get(&self) -> Result<R> {
        let name = R::NAME;
        if self.inherited() {
            return Err(Error::new(
                Kind::Forked,
                format!("the {name} was opened before a fork: open another in the child"),
            ));
        }
        let resource = self.open.lock().clone();
        resource.ok_or_else(|| Error::new(Kind::Closed, format!("the {name} is closed")))
    }

    /// Whether it is still open.
    pub fn is_open(&self) -> bool {
        self.open.lock().is_some()
    }

    /// Closes it without holding the GIL. Closing twice is no error.
    ///
    /// # Errors
    /// What went wrong while closing; it is closed all the same.
    pub fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.take() {
            Some(resource) => raise(py, py.detach(move || resource.close())),
            None => Ok(()),
        }
    }

    /// Takes the resource out, if it is this process's.
    fn take(&self) -> Option<R> {
        let resource = self.open.lock().take();
        if self.inherited() {
            // A child of a fork has the parent's handles but none of its threads: closing would wait
            // for them for ever, and could touch the parent's files.
            std::mem::forget(resource);
            return None;
        }
        resource
    }

    fn inherited(&self) -> bool {
        self.process != std::process::id()
    }
}

impl<R: Resource> Drop for Handle<R> {
    fn drop(&mut self) {
        let mut last = self.take();
        if last.is_some() {
            // None when the interpreter is already gone: then there is no GIL to let go of.
            Python::try_attach(|py| py.detach(|| drop(last.take())));
        }
    }
}

/// A handle of any kind.
trait Close: Send + Sync {
    fn close(&self, py: Python<'_>) -> PyResult<()>;
}

impl<R: Resource> Close for Handle<R> {
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        Handle::close(self, py)
    }
}

/// All that may be open, in the order of opening.
static OPEN: Mutex<Vec<Weak<dyn Close>>> = Mutex::new(Vec::new());

/// Closes every handle that is still open, the youngest first: clients before the nodes they were
/// made from. The package calls it when the interpreter ends.
#[pyfunction]
pub fn close_all(py: Python<'_>) -> PyResult<()> {
    guard(py, || {
        let open = std::mem::take(&mut *OPEN.lock());
        for handle in open.iter().rev().filter_map(Weak::upgrade) {
            if let Err(error) = handle.close(py) {
                error.write_unraisable(py, None);
            }
        }
        Ok(())
    })
}

/// The resource of a handle, or the exception.
pub fn get<R: Resource>(py: Python<'_>, handle: &Handle<R>) -> PyResult<R> {
    handle.get().map_err(|error| exception(py, &error))
}
