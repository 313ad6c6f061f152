//! Floor 3: consensus.
//!
//! A [`Group`] is one replica's membership in one Raft group: one for metadata, one for each
//! partition the node holds. It takes a payload, gets it into the logs of a majority, hands it to the
//! group's [`Apply`] on every replica in the same order, and gives back what that came to. It proves
//! leadership for reads, and it changes who is a member.
//!
//! The algorithm itself is openraft's (Ongaro and Ousterhout, *In Search of an Understandable
//! Consensus Algorithm*, 2014; pre-vote and read index from Ongaro's thesis). This floor is the one
//! place that knows it, and gives it its three hands:
//!
//! - [`log_store`]: the group's log, on the node's shared segment log or in memory;
//! - [`state_machine`]: committed entries become engine batches, with the position they came from in
//!   the same batch;
//! - [`network`] outwards and [`inbox`] inwards: appends keep their order on the shared link and are
//!   pipelined.
//!
//! A log does not grow for ever: whoever runs the groups has them trimmed ([`Group::trim`]), down to what
//! the engine has on disk. A replica that lacks what is gone gets a [`snapshot`]: the group's part of the
//! engine, in files that travel apart from the log and become its state in one step ([`staging`]).
//!
//! Payloads are opaque bytes here: what they mean is decided one floor up. All groups are of one type,
//! because each instantiation of the library costs a minute of compile time.

mod arrival;
pub mod audit;
mod config;
mod fault;
pub mod group;
mod inbox;
#[cfg(test)]
#[path = "journal_test.rs"]
mod journal;
pub mod log_store;
mod mark;
mod membership;
mod memory_log;
mod network;
mod pace;
mod snapshot;
pub mod staging;
pub mod state_machine;
mod types;

pub use group::{Group, GroupOptions, Health, Voters};
pub use log_store::{LogStore, Weight};
pub use memory_log::MemoryLog;
pub use staging::Staging;
pub use state_machine::Apply;
pub use types::Reply;
