//! distkv: a strongly consistent, distributed key-value store inside the process that uses it.

pub mod api;
pub mod client;
pub mod engine;
pub mod metadata;
pub mod node;
pub mod partition;
pub mod placement;
pub mod raft;
pub mod rpc;
pub mod types;
pub mod wal;
