//! How much memory and disk a node may take for what it stores, and how fast it may move it.

use crate::types::error::{Error, Kind, Result};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// What a node's log and state may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// Bytes of memory for the state. With a data directory: cached blocks, indexes and filters, and
    /// tables that are not written out yet. Without one: all keys and values, beyond which writes are
    /// answered `Overloaded`. The log's buffers come on top, up to 192 MiB under load. 16 MiB to 1 TiB.
    /// Default: 512 MiB.
    pub memory_limit: u64,
    /// Bytes that the Raft log of all replicas together may take, on disk or in memory. Half of it is
    /// for entries: beyond that the oldest are dropped, once they are in the state, and a replica that
    /// still lacks them gets a snapshot instead. The other half is for what cannot be given back at
    /// once, since files are freed as a whole. A node in memory takes half of its memory limit if that
    /// is less. 64 MiB to 1 TiB. Default: 1 GiB.
    pub log_budget: u64,
    /// Bytes of disk held back: when the disk is full, they are what the node clears up with. No more
    /// than a sixteenth of the file system is taken. 0, or 1 MiB to 1 TiB. Default: 256 MiB.
    pub disk_reserve: u64,
    /// Bytes a second that the node sends of snapshots to other replicas, all of them together. 1 MiB
    /// to 4 GiB. Default: 16 MiB.
    pub snapshot_rate: u64,
    /// Bytes a second that are written to disk in the background, to write out tables and to merge
    /// files. 1 MiB to 16 GiB. Default: 256 MiB.
    pub compaction_rate: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        StorageConfig {
            memory_limit: 512 * MIB,
            log_budget: GIB,
            disk_reserve: 256 * MIB,
            snapshot_rate: 16 * MIB,
            compaction_rate: 256 * MIB,
        }
    }
}

impl StorageConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field, its value and what it may be.
    pub fn validate(&self) -> Result<()> {
        let all = [
            ("memory_limit", self.memory_limit, 16 * MIB, 1024 * GIB),
            ("log_budget", self.log_budget, 64 * MIB, 1024 * GIB),
            ("snapshot_rate", self.snapshot_rate, MIB, 4 * GIB - 1),
            ("compaction_rate", self.compaction_rate, MIB, 16 * GIB),
            ("disk_reserve", self.disk_reserve, MIB, 1024 * GIB),
        ];
        for (name, value, least, most) in all {
            let without = name == "disk_reserve" && value == 0;
            if !without && (value < least || value > most) {
                return Err(Error::new(Kind::InvalidArgument, "storage setting out of range")
                    .with("setting", name)
                    .with("value", value)
                    .with("least", least)
                    .with("most", most));
            }
        }
        Ok(())
    }

    /// What the log keeps of entries before it drops the oldest, in bytes.
    pub fn log_entries(&self, durable: bool) -> u64 {
        let budget =
            if durable { self.log_budget } else { self.log_budget.min(self.memory_limit / 2) };
        budget / 2
    }

    /// The size of one file of the log, in bytes: 64 MiB, or less for a small budget, which is to be
    /// made of some files at least.
    pub fn log_segment(&self) -> u64 {
        (self.log_budget / 16).clamp(4 * MIB, 64 * MIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_its_range() {
        let config = StorageConfig::default();
        config.validate().unwrap();
        StorageConfig { disk_reserve: 0, ..config.clone() }.validate().unwrap();
        for bad in [
            StorageConfig { memory_limit: MIB, ..config.clone() },
            StorageConfig { log_budget: MIB, ..config.clone() },
            StorageConfig { disk_reserve: 1, ..config.clone() },
            StorageConfig { disk_reserve: u64::MAX, ..config.clone() },
            StorageConfig { snapshot_rate: 4 * GIB, ..config.clone() },
            StorageConfig { compaction_rate: 0, ..config.clone() },
        ] {
            let error = bad.validate().unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument);
            assert!(error.message().contains("setting=`"), "{error}");
        }
    }

    #[test]
    fn a_small_budget_is_made_of_small_files() {
        let small = StorageConfig { log_budget: 64 * MIB, ..StorageConfig::default() };
        assert_eq!(small.log_segment(), 4 * MIB);
        assert_eq!(StorageConfig::default().log_segment(), 64 * MIB);
        assert_eq!(StorageConfig::default().log_entries(true), 512 * MIB);
        assert_eq!(StorageConfig::default().log_entries(false), 128 * MIB);
    }
}
