//! What a user may configure: plain structs, every field with its default and unit, validated once
//! at the door.

mod cluster;
mod node;

pub use cluster::{ClusterConfig, Founding};
pub use node::{NodeConfig, Timers, check_address};
