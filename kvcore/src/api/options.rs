//! What a caller may say about a client and about one call.

use std::time::Duration;

use crate::types::{Consistency, Error, Kind, Limits, Result, Revision};

/// Options of one call.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// How long the call may take; more than a day counts as a day. Default: the client's timeout.
    pub timeout: Option<Duration>,
    /// How fresh a read must be. Default: linearizable.
    pub consistency: Consistency,
    /// Put or delete only if the key has this revision; an absent key has revision 0. Default: whatever it
    /// has.
    pub if_revision: Option<Revision>,
    /// Put only if the key is absent. Default: whether or not it is.
    pub if_absent: bool,
}

impl CallOptions {
    /// The revision that the key must have, if any must.
    ///
    /// # Errors
    /// `InvalidArgument` if it must be absent and have a revision.
    pub(super) fn condition(&self) -> Result<Option<Revision>> {
        match (self.if_absent, self.if_revision) {
            (true, Some(revision)) if revision != 0 => {
                Err(Error::new(Kind::InvalidArgument, "a key that is absent has no revision")
                    .with("if_revision", revision)
                    .with("if_absent", true))
            }
            (true, _) => Ok(Some(0)),
            (false, condition) => Ok(condition),
        }
    }
}

/// Options of a client.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// How long a call may take that does not say so itself; more than a day counts as a day.
    /// Default: 5 s.
    pub timeout: Duration,
    /// How long connecting may take in all. Default: 5 s.
    pub connect_timeout: Duration,
    /// Limits. Default: the highest allowed.
    pub limits: Limits,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            limits: Limits::default(),
        }
    }
}
