//! What a user may configure: plain structs, every field with its default and unit, validated once
//! at the door.
//!
//! What holds for the whole cluster and is fixed at its founding stands in [`ClusterConfig`]; what each
//! node may have its own way stands in [`NodeConfig`], with how much it may store in [`StorageConfig`].

mod cluster;
mod node;
mod storage;

pub use cluster::{ClusterConfig, Founding};
pub use node::{NodeConfig, Timers, check_address};
pub use storage::StorageConfig;
