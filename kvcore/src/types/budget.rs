//! Bytes in flight, held to a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::{Error, Kind, Result};

/// How many bytes may be under way at once, and how many are. Cheap to clone; clones share the count.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: usize,
    used: Arc<AtomicUsize>,
}

/// Some bytes of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Budget {
    /// A budget of that many bytes, all of them free.
    pub fn new(limit: usize) -> Budget {
        Budget { limit, used: Arc::default() }
    }

    /// Takes bytes out of the budget.
    ///
    /// # Errors
    /// `Overloaded` naming what is used and the limit; nothing is taken then.
    pub fn take(&self, bytes: usize) -> Result<Room> {
        let used = self.used.fetch_add(bytes, Ordering::AcqRel);
        // Counted first and given back by the drop, so that no two callers pass on the same bytes.
        let room = Room { used: self.used.clone(), bytes };
        if used.saturating_add(bytes) > self.limit {
            return Err(Error::new(Kind::Overloaded, "too many bytes in flight")
                .with("bytes", used)
                .with("limit", self.limit));
        }
        Ok(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = Budget::new(10);
        let first = budget.take(6).unwrap();
        let error = budget.clone().take(5).unwrap_err();
        assert_eq!(error.kind(), Kind::Overloaded);
        assert!(error.message().ends_with("bytes=`6` limit=`10`"));
        let second = budget.take(4).unwrap();
        drop(first);
        assert!(budget.take(7).is_err());
        assert!(budget.take(6).is_ok());
        drop(second);
    }
}
