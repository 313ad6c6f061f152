//! distkv: a strongly consistent, distributed key-value store inside the process that uses it.

pub mod types;
pub mod wal;
