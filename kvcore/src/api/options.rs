//! What a caller may say about a client and about one call.

use std::time::Duration;

use crate::types::{Consistency, Limits};

/// Options of one call.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// How long the call may take; more than a day counts as a day. Default: the client's timeout.
    pub timeout: Option<Duration>,
    /// How fresh a read must be. Default: linearizable.
    pub consistency: Consistency,
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
