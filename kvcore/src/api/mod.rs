//! Floor 6: the only door for programs and bindings.
//!
//! A program starts a [`Node`] (it holds replicas, votes, and serves anyone) or connects a thin
//! [`Client`] (it holds only the routing table); both lead to the same verbs. Every verb returns an
//! [`Op`], one operation under way: wait for it on a thread, poll it, await it, be called back, or
//! cancel it. That one type is what C futures, Python's blocking and asynchronous calls and Rust's
//! own `await` are all made of.
//!
//! A node owns its runtime: a few named threads that begin with it and end when it is closed. Thin
//! clients share one, which ends with the last of them. Nothing here outlives its handles, installs
//! signal handlers or touches the host's allocator.
//!
//! Every handle is cheap to clone and may be used from any thread.

mod administration;
mod client;
#[allow(unsafe_code)]
mod fork;
mod node;
mod op;
mod options;
mod runtime;
mod system;

pub use client::{Client, Entry};
pub use node::Node;
pub use op::Op;
pub use options::{CallOptions, ClientOptions};

#[cfg(feature = "rocksdb")]
pub use crate::node::{Inspection, LogFiles, StateFiles, StoredReplica, inspect};
pub use crate::node::{
    MemberStatus, MoveStatus, Newcomer, NodeLoad, Plan, PlannedLoad, PlannedMove, RingStatus,
    Status,
};
pub use crate::types::config::{Founding, NodeConfig, Retune, StorageConfig, Timers, Tuning};
pub use crate::types::limits;
pub use crate::types::{
    ClusterId, Consistency, Error, Kind, Limits, NodeId, PartitionId, Result, Revision,
};
pub use bytes::Bytes;

/// The version of this library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
