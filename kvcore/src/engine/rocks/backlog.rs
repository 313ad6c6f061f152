//! How far the disk is behind with what was written, and whether that is for want of space.
//!
//! Flushed tables gather in level 0 until they are compacted. With too many of them there, RocksDB
//! slows writers down and then stops them, and has whoever flushes wait without an end. So whoever may
//! wait does so here first, and with an end.
//!
//! A compaction that finds no room is tried again, every second, and each failure is counted. That
//! count is all that can be seen of it from outside: to writers it looks like any other backlog.

use std::thread::sleep;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Database, RocksEngine, error, handle};
use crate::engine::Family;
use crate::types::{Error, Kind, Result};

/// Tables in level 0 at which RocksDB slows writers down, and makes flushes wait.
pub(super) const SLOWDOWN: u64 = 20;

/// How long to wait while nothing moves.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// Two looks at the count that lie further apart say nothing about now.
const LOOKS: Duration = Duration::from_secs(5);
/// For how long a failed compaction explains why writers are refused.
const RECENT: Duration = Duration::from_secs(3);

/// What is known of compactions that failed for want of space.
pub(super) struct Backlog(Mutex<Looks>);

struct Looks {
    failures: u64,
    last: Instant,
    failed: Option<Instant>,
}

impl Backlog {
    pub(super) fn new() -> Backlog {
        Backlog(Mutex::new(Looks { failures: 0, last: Instant::now(), failed: None }))
    }

    /// Whether compactions have lately failed for want of space. Only what fails between two looks is
    /// noticed. What fails for another reason stops all writes, so it does not come here.
    pub(super) fn wants_space(&self, database: &Database) -> bool {
        let failures = database.property_int_value(rocksdb::properties::BACKGROUND_ERRORS);
        let failures = failures.ok().flatten().unwrap_or_default();
        self.0.lock().look(failures, Instant::now())
    }
}

impl Looks {
    fn look(&mut self, failures: u64, now: Instant) -> bool {
        if failures > self.failures && now.duration_since(self.last) < LOOKS {
            self.failed = Some(now);
        }
        self.failures = failures;
        self.last = now;
        self.failed.is_some_and(|failed| now.duration_since(failed) < RECENT)
    }
}

/// The error of writers and others when compactions want space.
pub(super) fn no_space() -> Error {
    Error::new(Kind::StorageFull, "there is no room to compact the state")
}

/// Returns when each family has fewer than `tables` in level 0, and writers are let in. As long as
/// the backlog gets smaller there is no end to hope.
pub(super) fn wait(engine: &RocksEngine, tables: u64) -> Result<()> {
    let mut least = u64::MAX;
    let mut since = Instant::now();
    loop {
        let waiting = level_0(&engine.database)?;
        let writers = engine.probe();
        match writers {
            Ok(()) if waiting < tables => return Ok(()),
            Err(error) if error.kind() != Kind::Overloaded => return Err(error),
            _ => {}
        }
        if engine.backlog.wants_space(&engine.database) {
            return Err(no_space());
        }
        if waiting < least {
            (least, since) = (waiting, Instant::now());
        }
        if since.elapsed() > PATIENCE {
            return Err(Error::new(Kind::Overloaded, "the state does not catch up")
                .with("tables", waiting)
                .with("limit", tables));
        }
        sleep(PAUSE);
    }
}

/// The number of tables in level 0 of the family that has more of them.
pub(super) fn level_0(database: &Database) -> Result<u64> {
    let mut most = 0;
    for family in [Family::Data, Family::Meta] {
        let name = rocksdb::properties::num_files_at_level(0);
        let value = database.property_value_cf(handle(database, family)?, &*name);
        let tables = value.map_err(error::on_read)?.and_then(|value| value.parse().ok());
        let tables: u64 =
            tables.ok_or_else(|| Error::internal("the number of tables is not known"))?;
        most = most.max(tables);
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_while_it_is_recent() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut looks = Looks { failures: 0, last: start, failed: None };
        assert!(!looks.look(0, at(1)));
        assert!(looks.look(1, at(2)));
        assert!(looks.look(1, at(4)), "the next try may not have failed yet");
        assert!(!looks.look(1, at(6)), "there was time to try again");
        assert!(!looks.look(7, at(60)), "nobody knows when these were");
        assert!(looks.look(8, at(61)));
    }
}
