//! Floor 3: the verbs, from the caller's side.
//!
//! A [`Client`] turns each verb into a request and sees it through: it numbers mutations in its
//! session so that a retry is recognized ([`session`]), finds who leads the key's partition
//! ([`router`]; a client over a node in the same process leaves that to the node), and tries again
//! until an answer or the deadline comes ([`retry`]).
//!
//! An outcome that became unknown on the way stays unknown: once an attempt may have been applied,
//! only an answer from the partition itself can say otherwise.

mod retry;
mod router;
mod session;
mod verbs;

pub use router::Router;
pub use verbs::{Client, Way};
