//! Floor 4: one partition's keys.
//!
//! A [`Replica`] is this node's copy of one partition. Commands that wait at the same moment become
//! one log entry; the group gets it to a majority; and [`apply`] turns it, on every replica alike, into
//! one engine batch: the values, the revision counter and the answers that make a retry harmless
//! ([`sessions`]). Reads ask the group for proof that this replica still leads, one proof for all that
//! wait ([`read`]), or trust its [`lease`], and then go straight to the engine.
//!
//! What is stored: under each key its value behind the 8 bytes of its revision; beside the data, the
//! partition's counter and log time, and one record for each answer that may still be asked for.

mod apply;
mod audit;
mod lease;
mod propose;
mod read;
mod replica;
mod sessions;

pub use audit::{Tally, audit, audit_entry};
pub use replica::{Replica, ReplicaOptions};
