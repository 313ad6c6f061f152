//! Where a story happens, and how many may at once.

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;

use crate::seat::Seat;

/// Stories that may run at once in one test program: each may have four nodes.
const STORIES: usize = 2;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// A scratch directory, and the permit to run a story. Drop it last: declare it first.
pub struct Stage {
    scratch: TempDir,
    _permit: Permit,
}

impl Stage {
    /// Waits until there is room for one more story.
    ///
    /// # Panics
    /// If there can be no scratch directory.
    #[expect(clippy::new_without_default, reason = "it waits: nothing to do by the way")]
    pub fn new() -> Stage {
        let permit = Permit::wait();
        Stage { scratch: tempfile::tempdir().unwrap(), _permit: permit }
    }

    /// A directory for this story alone.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// A seat with a directory and an address of its own, on which nobody sits yet.
    pub fn seat(&self, label: &str) -> Seat {
        Seat::new(label, self.path(), unused_address())
    }
}

struct Permit;

impl Permit {
    fn wait() -> Permit {
        let mut running = RUNNING.lock();
        while *running >= STORIES {
            ENDED.wait(&mut running);
        }
        *running += 1;
        Permit
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *RUNNING.lock() -= 1;
        ENDED.notify_one();
    }
}

/// An address on which nobody listens, and that is given out only once.
///
/// It is outside of the range from which the operating system takes ports for outgoing connections:
/// a killed node's address must still be free when it comes back, though others dialled it meanwhile.
///
/// # Panics
/// If there is none.
pub fn unused_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..10_000 {
        let nth =
            std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let address = format!("127.0.0.1:{}", 20_000 + nth % 12_000);
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
    panic!("no port is free from 20000 to 31999")
}
