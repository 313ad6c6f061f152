//! What a replica's storage was found to be: damage is told apart from all other failures.
//!
//! openraft passes errors on as text. But a replica whose log or state is damaged must not be started
//! again as if nothing had happened, and one whose disk refuses to read must not go on leading, so either
//! is noted on the way.

use std::io;
use std::sync::{Arc, OnceLock};

use super::types::to_io;
use crate::types::{Error, Kind};

/// Notes the first damage that a replica's storage reports, and the first refusal to read. Cheap to clone;
/// clones share it.
#[derive(Clone, Default)]
pub(super) struct Fault(Arc<Noted>);

#[derive(Default)]
struct Noted {
    damage: OnceLock<String>,
    unreadable: OnceLock<String>,
}

impl Fault {
    /// An error on its way to openraft.
    pub(super) fn pass(&self, error: Error) -> io::Error {
        self.note(&error);
        to_io(error)
    }

    /// Notes an error, if it is one of these.
    pub(super) fn note(&self, error: &Error) {
        // Only the first counts: what follows is likely its consequence.
        if error.kind() == Kind::Corruption {
            self.0.damage.get_or_init(|| error.to_string());
        } else if error.is_unreadable() {
            self.0.unreadable.get_or_init(|| error.to_string());
        }
    }

    /// The damage, if there is any.
    pub(super) fn damage(&self) -> Option<Error> {
        self.0.damage.get().map(|what| Error::new(Kind::Corruption, what.clone()))
    }

    /// What the disk refused to read, if it did.
    pub(super) fn unreadable(&self) -> Option<Error> {
        self.0.unreadable.get().map(|what| Error::internal(what.clone()).unreadable())
    }
}
