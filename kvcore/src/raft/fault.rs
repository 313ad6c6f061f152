//! What a replica's storage was found to be: damage is told apart from all other failures.
//!
//! openraft passes errors on as text. But a replica whose log or state is damaged must not be started
//! again as if nothing had happened, so the kind is noted on the way.

use std::io;
use std::sync::{Arc, OnceLock};

use super::types::to_io;
use crate::types::{Error, Kind};

/// Notes the first damage that a replica's storage reports. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub(super) struct Fault(Arc<OnceLock<String>>);

impl Fault {
    /// An error on its way to openraft.
    pub(super) fn pass(&self, error: Error) -> io::Error {
        self.note(&error);
        to_io(error)
    }

    /// Notes an error, if it is damage.
    pub(super) fn note(&self, error: &Error) {
        if error.kind() == Kind::Corruption {
            // Only the first counts: what follows is likely its consequence.
            self.0.get_or_init(|| error.to_string());
        }
    }

    /// The damage, if there is any.
    pub(super) fn damage(&self) -> Option<Error> {
        self.0.get().map(|what| Error::new(Kind::Corruption, what.clone()))
    }
}
