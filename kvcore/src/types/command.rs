//! What a client may ask a partition to change, and what it is told.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::{Error, Kind};
use super::ids::{Revision, SessionId};

/// One change to one key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mutation {
    /// Sets the value of a key.
    Put {
        /// The key: 1 byte to `limits::KEY_BYTES`.
        key: Bytes,
        /// The value: up to `limits::VALUE_BYTES`, may be empty.
        value: Bytes,
        /// Only if the key has this revision, 0 for none; else the answer is `Conflict`.
        if_revision: Option<Revision>,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: Bytes,
        /// Only if the key has this revision, 0 for none; else the answer is `Conflict`.
        if_revision: Option<Revision>,
    },
}

impl Mutation {
    /// The key that the mutation is about.
    pub fn key(&self) -> &Bytes {
        match self {
            Mutation::Put { key, .. } | Mutation::Delete { key, .. } => key,
        }
    }

    /// What revision the key must have, if that is asked for.
    pub fn if_revision(&self) -> Option<Revision> {
        match self {
            Mutation::Put { if_revision, .. } | Mutation::Delete { if_revision, .. } => {
                *if_revision
            }
        }
    }

    /// About how many bytes it takes in a queue or a log entry.
    pub fn weight(&self) -> usize {
        64 + match self {
            Mutation::Put { key, value, .. } => key.len() + value.len(),
            Mutation::Delete { key, .. } => key.len(),
        }
    }
}

/// A mutation together with what makes it apply exactly once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Command {
    /// Who asks.
    pub session: SessionId,
    /// The session's number for this command: larger for each new one, the same for a retry.
    pub sequence: u64,
    /// The lowest sequence the session has no answer to yet: answers below it may be forgotten.
    pub lowest_unanswered: u64,
    /// The log time, in milliseconds since 1970, after which a retry is no longer recognized and is
    /// refused with `SessionExpired`.
    pub not_after_ms: u64,
    /// What to change.
    pub mutation: Mutation,
}

/// What applying one command came to. Errors are outcomes as well: they are remembered with the
/// session, so that a retry gets the same answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The key was set, and its value has this revision.
    Put {
        /// The revision of the new value.
        revision: Revision,
    },
    /// The key was removed, or was absent.
    Deleted {
        /// Whether there was something to remove.
        existed: bool,
    },
    /// Nothing was changed.
    Refused {
        /// The error's code, of [`Kind`].
        code: u32,
        /// The revision in force, for a conflict.
        revision: Option<Revision>,
    },
}

impl Outcome {
    /// The refusal as an error, anything else unchanged.
    ///
    /// # Errors
    /// The kind that the command was refused with.
    pub fn into_result(self) -> Result<Outcome, Error> {
        let Outcome::Refused { code, revision } = self else { return Ok(self) };
        let kind = Kind::from_code(code).unwrap_or(Kind::Internal);
        let error = Error::new(
            kind,
            match kind {
                Kind::Conflict => "the condition does not hold",
                Kind::Overloaded => "the partition remembers too many sessions",
                Kind::SessionExpired => "the retry came too late to be recognized",
                _ => "the command was refused",
            },
        );
        Err(match revision {
            Some(revision) => error.at_revision(revision).with("revision", revision),
            None => error,
        })
    }
}
