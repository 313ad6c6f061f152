//! What is fixed at a cluster's founding.

use serde::{Deserialize, Serialize};

use crate::types::error::{Error, Kind, Result};
use crate::types::limits;

/// What a cluster is founded with; the same for all its life.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterConfig {
    /// Partitions: a power of two from 1 to 4096. Default: 64.
    pub partitions: u16,
    /// Replicas of each partition, as far as there are nodes: 1 to 9. Default: 3.
    pub replication_factor: u8,
    /// Virtual nodes of a node of weight 1, on the ring: 1 to 4096. Default: 64.
    pub vnodes: u32,
    /// Whether nodes keep their data on disk (with a data directory) or only in memory.
    pub durable: bool,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig { partitions: 64, replication_factor: 3, vnodes: 64, durable: true }
    }
}

impl ClusterConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field, its value and what it may be.
    pub fn validate(&self) -> Result<()> {
        let partitions = self.partitions;
        if !partitions.is_power_of_two() || partitions > limits::PARTITIONS {
            return Err(out_of_range(
                "partitions",
                partitions,
                format!("a power of two from 1 to {}", limits::PARTITIONS),
            ));
        }
        if self.replication_factor == 0 || self.replication_factor > limits::REPLICATION_FACTOR {
            return Err(out_of_range(
                "replication_factor",
                self.replication_factor,
                format!("1 to {}", limits::REPLICATION_FACTOR),
            ));
        }
        if self.vnodes == 0 || self.vnodes > limits::VNODES {
            return Err(out_of_range("vnodes", self.vnodes, format!("1 to {}", limits::VNODES)));
        }
        Ok(())
    }
}

/// What a starting node says about its cluster: each field is a demand, or nothing. A founder takes
/// the default for what is not said; a joining node takes what the cluster has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Founding {
    /// Partitions. Default: 64 for a founder.
    pub partitions: Option<u16>,
    /// Replication factor. Default: 3 for a founder.
    pub replication_factor: Option<u8>,
    /// Virtual nodes. Default: 64 for a founder.
    pub vnodes: Option<u32>,
}

impl Founding {
    /// What a founder makes of it.
    ///
    /// # Errors
    /// As [`ClusterConfig::validate`].
    pub fn found(&self, durable: bool) -> Result<ClusterConfig> {
        let default = ClusterConfig::default();
        let config = ClusterConfig {
            partitions: self.partitions.unwrap_or(default.partitions),
            replication_factor: self.replication_factor.unwrap_or(default.replication_factor),
            vnodes: self.vnodes.unwrap_or(default.vnodes),
            durable,
        };
        config.validate()?;
        Ok(config)
    }

    /// Checks the demands against a cluster's.
    ///
    /// # Errors
    /// `InvalidArgument` naming what differs.
    pub fn agrees_with(&self, durable: bool, cluster: &ClusterConfig) -> Result<()> {
        differs("partitions", self.partitions, cluster.partitions)?;
        differs("replication_factor", self.replication_factor, cluster.replication_factor)?;
        differs("vnodes", self.vnodes, cluster.vnodes)?;
        differs("durable", Some(durable), cluster.durable)
    }
}

fn differs<T: PartialEq + std::fmt::Display>(
    name: &'static str,
    asked: Option<T>,
    cluster: T,
) -> Result<()> {
    match asked {
        Some(asked) if asked != cluster => {
            Err(Error::new(Kind::InvalidArgument, "the cluster was founded with another setting")
                .with("setting", name)
                .with("asked", asked)
                .with("cluster", cluster))
        }
        _ => Ok(()),
    }
}

fn out_of_range(name: &'static str, value: impl std::fmt::Display, allowed: String) -> Error {
    Error::new(Kind::InvalidArgument, "setting out of range")
        .with("setting", name)
        .with("value", value)
        .with("allowed", allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_extremes_are_not() {
        ClusterConfig::default().validate().unwrap();
        for bad in [
            ClusterConfig { partitions: 0, ..ClusterConfig::default() },
            ClusterConfig { partitions: 48, ..ClusterConfig::default() },
            ClusterConfig { partitions: 8192, ..ClusterConfig::default() },
            ClusterConfig { replication_factor: 0, ..ClusterConfig::default() },
            ClusterConfig { vnodes: 0, ..ClusterConfig::default() },
        ] {
            assert_eq!(bad.validate().unwrap_err().kind(), Kind::InvalidArgument, "{bad:?}");
        }
    }

    #[test]
    fn a_joining_node_must_agree_with_what_it_names() {
        let cluster = ClusterConfig::default();
        Founding::default().agrees_with(true, &cluster).unwrap();
        let other = Founding { partitions: Some(128), ..Founding::default() };
        let error = other.agrees_with(true, &cluster).unwrap_err();
        assert!(error.message().contains("setting=`partitions` asked=`128` cluster=`64`"));
        assert!(Founding::default().agrees_with(false, &cluster).is_err());
    }
}
