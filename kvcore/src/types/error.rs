//! What can go wrong: one error type, with a kind out of one table.
//!
//! The table is the contract of every language: each binding is generated or checked from
//! [`Kind::ALL`]. "Maybe applied: no" is a promise: once a command has been proposed, an unknown
//! outcome is always `Timeout`, `Cancelled`, `Internal` or `SessionExpired`.

use std::fmt;

use super::ids::Revision;

/// A result with distkv's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, retry: $retry:literal, applied: $applied:literal;)*) => {
        /// What went wrong, as far as a program needs to know.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u32)]
        pub enum Kind {
            $($(#[$doc])* $name = $code,)*
        }

        impl Kind {
            /// Every kind, in the order of the codes.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];

            /// The kind's name, the same in every language.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$name => stringify!($name),)* }
            }

            /// Whether the same call may succeed if made again.
            pub fn retryable(self) -> bool {
                match self { $(Kind::$name => $retry,)* }
            }

            /// Whether the command may have been applied although the call failed.
            pub fn maybe_applied(self) -> bool {
                match self { $(Kind::$name => $applied,)* }
            }
        }
    };
}

kinds! {
    /// The caller asked for something that makes no sense; the message names it.
    InvalidArgument = 1, retry: false, applied: false;
    /// An administrative object does not exist. A missing key is no error.
    NotFound = 2, retry: false, applied: false;
    /// A condition did not hold; carries the current revision.
    Conflict = 3, retry: false, applied: false;
    /// Something is above its limit; the message names both.
    TooLarge = 4, retry: false, applied: false;
    /// No quorum or no leader in time.
    Unavailable = 5, retry: true, applied: false;
    /// The time was up after the command had been proposed: the outcome is unknown.
    Timeout = 6, retry: true, applied: true;
    /// A queue or table is full; later may be better.
    Overloaded = 7, retry: true, applied: false;
    /// The disk is full. Heals when space returns.
    StorageFull = 8, retry: true, applied: false;
    /// Stored bytes are not what was written.
    Corruption = 9, retry: false, applied: false;
    /// The caller did not say who it is.
    Unauthenticated = 10, retry: false, applied: false;
    /// The caller may not do that.
    PermissionDenied = 11, retry: false, applied: false;
    /// The handle was closed.
    Closed = 12, retry: false, applied: false;
    /// The handle was made before a fork and used in the child.
    Forked = 13, retry: false, applied: false;
    /// A blocking call inside a callback.
    WouldDeadlock = 14, retry: false, applied: false;
    /// The other side belongs to another cluster.
    WrongCluster = 15, retry: false, applied: false;
    /// The caller cancelled the call; the outcome is unknown.
    Cancelled = 16, retry: false, applied: true;
    /// The other side is of another version and cannot do this.
    Unsupported = 17, retry: false, applied: false;
    /// A defect in distkv.
    Internal = 18, retry: false, applied: true;
    /// The retry came too late to be recognized as one.
    SessionExpired = 19, retry: false, applied: true;
}

impl Kind {
    /// The kind's code, fixed for ever; 0 means success.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The kind with that code.
    pub fn from_code(code: u32) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.code() == code)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error: a kind, a sentence, and the things it is about. One pointer wide.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    revision: Option<Revision>,
    unreadable: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of that kind. The message is a lowercase sentence without a full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        let (message, revision, unreadable, source) = (message.into(), None, false, None);
        Error(Box::new(Inner { kind, message, revision, unreadable, source }))
    }

    /// A defect in distkv: something that its own code rules out.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(Kind::Internal, message)
    }

    /// Adds ``name=`value` `` at the end of the message.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Error {
        use fmt::Write;
        let written = write!(self.0.message, " {name}=`{value}`");
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
        self
    }

    /// Adds the error underneath.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// Adds the revision in force, for `Conflict`.
    #[must_use]
    pub fn at_revision(mut self, revision: Revision) -> Error {
        self.0.revision = Some(revision);
        self
    }

    /// Says that the disk refused to read back what it stores: it may next time, or never again.
    #[must_use]
    pub fn unreadable(mut self) -> Error {
        self.0.unreadable = true;
        self
    }

    /// The same error under another kind: for the one place that knows more than where it arose.
    #[must_use]
    pub fn into_kind(mut self, kind: Kind) -> Error {
        self.0.kind = kind;
        self
    }

    /// The same error for one more of those who wait for it; what lay underneath becomes part of its
    /// message.
    #[must_use]
    pub fn again(&self) -> Error {
        let mut error = Error::new(self.0.kind, self.to_string());
        error.0.revision = self.0.revision;
        error.0.unreadable = self.0.unreadable;
        error
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The sentence, with its pairs, without the source.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether it is that the disk refused to read back what it stores.
    pub fn is_unreadable(&self) -> bool {
        self.0.unreadable
    }

    /// The revision in force, for `Conflict`.
    pub fn revision(&self) -> Option<Revision> {
        self.0.revision
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

/// A failed system call: a full disk is `StorageFull`, all else `Internal` until the place that made
/// the call says better.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Kind::StorageFull
            }
            _ => Kind::Internal,
        };
        Error::new(kind, "input or output failed").because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_dense_and_read_back() {
        for (at, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(kind.code() as usize, at + 1);
            assert_eq!(Kind::from_code(kind.code()), Some(*kind));
        }
        assert_eq!(Kind::from_code(0), None);
        assert_eq!(Kind::from_code(20), None);
    }

    #[test]
    fn only_unknown_outcomes_may_have_been_applied() {
        let applied: Vec<_> = Kind::ALL.iter().filter(|kind| kind.maybe_applied()).collect();
        assert_eq!(
            applied,
            [&Kind::Timeout, &Kind::Cancelled, &Kind::Internal, &Kind::SessionExpired]
        );
    }

    #[test]
    fn a_message_ends_with_its_pairs() {
        let error =
            Error::new(Kind::InvalidArgument, "address does not parse").with("value", "x:y");
        assert_eq!(error.to_string(), "address does not parse value=`x:y`");
        assert_eq!(format!("{error:?}"), "InvalidArgument: address does not parse value=`x:y`");
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(Error::from(full).kind(), Kind::StorageFull);
        let other = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert_eq!(Error::from(other).kind(), Kind::Internal);
    }
}
