//! What a user may configure: plain structs, every field with its default and unit, validated once
//! at the door.
//!
//! What holds for the whole cluster and is fixed at its founding stands in [`ClusterConfig`], and what may be
//! changed while it runs in [`Tuning`]; what each node may have its own way stands in [`NodeConfig`], with how
//! much it may store in [`StorageConfig`].

mod cluster;
mod node;
mod storage;
mod tuning;

pub use cluster::{ClusterConfig, Founding};
pub use node::{NodeConfig, Timers, check_address, weight_milli};
pub use storage::StorageConfig;
pub use tuning::{Retune, Tuning};
