//! The threads that everything asynchronous runs on, and who ends them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use parking_lot::Mutex;

use super::fork;
use tokio::runtime::{Builder, Handle};

use crate::types::{Error, Kind, Result};

/// How long the end of a runtime waits for work that cannot be interrupted.
const PATIENCE: Duration = Duration::from_secs(5);

/// A runtime of one's own: its threads end when it is dropped, wherever that happens.
pub(super) struct Runtime {
    inner: Option<tokio::runtime::Runtime>,
    handle: Handle,
    generation: u64,
}

impl Runtime {
    /// Starts `threads` threads under that name.
    pub(super) fn start(name: &'static str, threads: usize) -> Result<Arc<Runtime>> {
        let inner = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(name)
            .on_thread_start(keep_pipes_quiet)
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(Kind::Internal, "threads cannot be started")
                    .with("threads", threads)
                    .because(error)
            })?;
        let handle = inner.handle().clone();
        Ok(Arc::new(Runtime { inner: Some(inner), handle, generation: fork::generation() }))
    }

    /// The one runtime that thin clients share: made with the first, gone with the last. It is no
    /// global that lives for ever, because such a one shows up in leak reports and hangs after fork.
    pub(super) fn shared() -> Result<Arc<Runtime>> {
        static SHARED: Mutex<(u64, Weak<Runtime>)> = Mutex::new((0, Weak::new()));
        fork::watch();
        // A fork in the middle of another thread's visit here would leave the lock held in the child
        // for ever: an error is better than that.
        let mut shared = SHARED.try_lock_for(PATIENCE).ok_or_else(|| {
            Error::new(Kind::Forked, "the process was forked while a client was being opened")
        })?;
        let generation = fork::generation();
        // What the parent left has no threads here.
        if shared.0 == generation
            && let Some(runtime) = shared.1.upgrade()
        {
            return Ok(runtime);
        }
        let runtime = Runtime::start("distkv-client", 2)?;
        *shared = (generation, Arc::downgrade(&runtime));
        Ok(runtime)
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// Keeps a write to a link that the other side has closed from ending the host's process: a C program has
/// not got SIGPIPE ignored, as those in Rust and Python have. The write fails all the same. What the host does
/// with its signals, and its threads, stay as they are.
fn keep_pipes_quiet() {
    let mut quiet = SigSet::empty();
    quiet.add(Signal::SIGPIPE);
    if let Err(error) = quiet.thread_block() {
        tracing::warn!(%error, "SIGPIPE is not blocked on a thread of the library");
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let Some(runtime) = self.inner.take() else { return };
        if fork::check(self.generation).is_err() {
            // Its threads are in the parent: there is nothing to stop here, and nothing to wait for.
            std::mem::forget(runtime);
            return;
        }
        // The last handle may be dropped by a task, on one of the runtime's own threads, which cannot
        // wait for itself.
        if Handle::try_current().is_ok() {
            runtime.shutdown_background();
        } else {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_link_ends_no_host() {
        let runtime = Runtime::start("distkv-test", 1).unwrap();
        let blocked = || SigSet::thread_get_mask().unwrap().contains(Signal::SIGPIPE);
        assert!(!blocked(), "the host's own threads are its own");
        let worker = runtime.handle().spawn(async move { blocked() });
        let helper = runtime.handle().spawn_blocking(blocked);
        let both = runtime.handle().block_on(async { (worker.await, helper.await) });
        assert!(both.0.unwrap() && both.1.unwrap());
    }
}
