//! distkv: a strongly consistent, distributed key-value store inside the process that uses it.

pub mod rpc;
pub mod types;
