//! The settings of a node: from flags, from a TOML file with the same names, and what the library is
//! told in the end.
//!
//! Flags and file are one struct, so that neither can have a name that the other lacks. Every field is
//! optional: what a flag says wins over the file, and what neither says has the default.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use kvcore::api::{Error, Founding, Kind, NodeConfig, Result, StorageConfig};
use serde::Deserialize;

const LISTEN: &str = "127.0.0.1:7400";
const DATA_DIR: &str = "./distkv-data";

#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where to listen, with a numeric host; port 0 picks a free one [default: 127.0.0.1:7400]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// What others are told to dial [default: the address listened on]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// The directory that holds the node's identity, log and state [default: ./distkv-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Keep everything in memory; the node is forgotten with its process
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub in_memory: Option<bool>,
    /// Members, any of which is asked to let this node in [default: none; an empty node founds a cluster]
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',')]
    pub join: Vec<String>,
    /// Found a cluster although there are addresses to join, if none of them belongs to one
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub bootstrap: Option<bool>,
    /// Partitions of the cluster, a power of two; fixed at its founding [default: 64]
    #[arg(long)]
    pub partitions: Option<u16>,
    /// Replicas of each partition; fixed at the founding [default: 3]
    #[arg(long)]
    pub replication_factor: Option<u8>,
    /// Virtual nodes of a node of weight 1; fixed at the founding [default: 64]
    #[arg(long)]
    pub vnodes: Option<u32>,
    /// The failure zone (rack, data centre) of this node [default: none]
    #[arg(long)]
    pub zone: Option<String>,
    /// The node's share of the data against others', 0.01 to 100 [default: 1]
    #[arg(long)]
    pub weight: Option<f64>,
    /// How long the node may take to become able to serve [default: 60]
    #[arg(long, value_name = "SECONDS")]
    pub start_timeout: Option<Seconds>,
    /// Memory for what is stored, in bytes or as in 512MiB: caches and unwritten tables, or all data in memory [default: 512MiB]
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<ByteSize>,
    /// What the log of all replicas may take [default: 1GiB]
    #[arg(long, value_name = "BYTES")]
    pub log_budget: Option<ByteSize>,
    /// Disk held back to clear up with when it is full, a sixteenth of the file system at most; 0 for none [default: 256MiB]
    #[arg(long, value_name = "BYTES")]
    pub disk_reserve: Option<ByteSize>,
    /// What is sent of snapshots to other nodes, a second [default: 16MiB]
    #[arg(long, value_name = "BYTES")]
    pub snapshot_rate: Option<ByteSize>,
    /// What is written to disk in the background, a second [default: 256MiB]
    #[arg(long, value_name = "BYTES")]
    pub compaction_rate: Option<ByteSize>,
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// `InvalidArgument` naming the file, if it cannot be read, is no TOML, or has a key or value that
    /// makes no sense; an unknown key is answered with the known ones.
    pub fn read(file: &Path) -> Result<Settings> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Error::new(Kind::InvalidArgument, "config file cannot be read")
                .with("file", file.display())
                .because(error)
        })?;
        toml::from_str(&text).map_err(|error| {
            let what = format!("config file makes no sense: {}", error.message().trim());
            let bad = Error::new(Kind::InvalidArgument, what).with("file", file.display());
            match error.span().and_then(|span| text.get(..span.start)) {
                Some(before) => bad.with("line", before.matches('\n').count() + 1),
                None => bad,
            }
        })
    }

    /// These settings, and what they leave open as `file` says it.
    #[must_use]
    pub fn over(self, file: Settings) -> Settings {
        // Disk or memory is one question, though it has two names: who answers it by one of them is not
        // contradicted by the other one in the file.
        let (data_dir, in_memory) = if self.data_dir.is_some() || self.in_memory == Some(true) {
            (self.data_dir, self.in_memory)
        } else {
            (file.data_dir, self.in_memory.or(file.in_memory))
        };
        Settings {
            listen: self.listen.or(file.listen),
            advertise: self.advertise.or(file.advertise),
            data_dir,
            in_memory,
            join: if self.join.is_empty() { file.join } else { self.join },
            bootstrap: self.bootstrap.or(file.bootstrap),
            partitions: self.partitions.or(file.partitions),
            replication_factor: self.replication_factor.or(file.replication_factor),
            vnodes: self.vnodes.or(file.vnodes),
            zone: self.zone.or(file.zone),
            weight: self.weight.or(file.weight),
            start_timeout: self.start_timeout.or(file.start_timeout),
            memory_limit: self.memory_limit.or(file.memory_limit),
            log_budget: self.log_budget.or(file.log_budget),
            disk_reserve: self.disk_reserve.or(file.disk_reserve),
            snapshot_rate: self.snapshot_rate.or(file.snapshot_rate),
            compaction_rate: self.compaction_rate.or(file.compaction_rate),
        }
    }

    /// What the library is told.
    ///
    /// # Errors
    /// `InvalidArgument` for a node that is to live in memory and in a directory. Everything else is
    /// checked by the library when the node starts.
    pub fn node_config(self) -> Result<NodeConfig> {
        let default = NodeConfig::default();
        let data_dir = match (self.in_memory, self.data_dir) {
            (Some(true), Some(dir)) => {
                return Err(Error::new(
                    Kind::InvalidArgument,
                    "a node in memory has no data directory",
                )
                .with("in_memory", true)
                .with("data_dir", dir.display()));
            }
            (Some(true), None) => None,
            (_, dir) => Some(dir.unwrap_or_else(|| DATA_DIR.into())),
        };
        let bytes = |given: Option<ByteSize>, default| given.map_or(default, |size| size.as_u64());
        Ok(NodeConfig {
            listen: self.listen.unwrap_or_else(|| LISTEN.into()),
            advertise: self.advertise,
            data_dir,
            join: self.join.iter().map(|address| address.trim().to_owned()).collect(),
            bootstrap: self.bootstrap.unwrap_or(default.bootstrap),
            founding: Founding {
                partitions: self.partitions,
                replication_factor: self.replication_factor,
                vnodes: self.vnodes,
            },
            zone: self.zone,
            weight: self.weight.unwrap_or(default.weight),
            start_timeout: self.start_timeout.map_or(default.start_timeout, Duration::from),
            storage: StorageConfig {
                memory_limit: bytes(self.memory_limit, default.storage.memory_limit),
                log_budget: bytes(self.log_budget, default.storage.log_budget),
                disk_reserve: bytes(self.disk_reserve, default.storage.disk_reserve),
                snapshot_rate: bytes(self.snapshot_rate, default.storage.snapshot_rate),
                compaction_rate: bytes(self.compaction_rate, default.storage.compaction_rate),
            },
            ..default
        })
    }
}

/// A time in seconds, 0.001 to 86400, perhaps with a fraction.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "f64")]
pub struct Seconds(Duration);

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Duration {
        seconds.0
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Seconds, String> {
        if !(0.001..=86_400.0).contains(&seconds) {
            return Err(format!("`{seconds}` is not a number of seconds from 0.001 to 86400"));
        }
        Ok(Seconds(Duration::from_secs_f64(seconds)))
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seconds, String> {
        let seconds: f64 =
            text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
        Seconds::try_from(seconds)
    }
}

#[cfg(test)]
#[path = "config_test.rs"]
mod tests;
