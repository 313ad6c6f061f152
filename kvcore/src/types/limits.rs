//! How much of anything there may be. Everything has a limit; at the limit the caller gets a typed
//! error that names it.

use super::error::{Error, Kind, Result};

/// The most a key may have, in bytes. A key has at least one byte.
pub const KEY_BYTES: usize = 16 * 1024;
/// The most a value may have, in bytes. A value may be empty.
pub const VALUE_BYTES: usize = 8 * 1024 * 1024;
/// The most one batch may carry, in bytes.
pub const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// The most operations one batch may carry.
pub const BATCH_OPERATIONS: usize = 10_000;
/// The largest message between two processes, in bytes.
pub const MESSAGE_BYTES: usize = 20 * 1024 * 1024;
/// Bytes of requests a node holds in flight at once.
pub const INFLIGHT_BYTES: usize = 256 * 1024 * 1024;
/// Sessions one partition remembers.
pub const SESSIONS_PER_PARTITION: usize = 10_000;
/// Partitions of a cluster: a power of two from 1 to this.
pub const PARTITIONS: u16 = 4096;
/// Virtual nodes of one member of weight 1.
pub const VNODES: u32 = 4096;
/// The replication factor.
pub const REPLICATION_FACTOR: u8 = 9;

/// The limits in force on a node or client: the constants above, or less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a key. Default: 16 KiB, which is also the most.
    pub key_bytes: usize,
    /// Bytes of a value. Default: 8 MiB, which is also the most.
    pub value_bytes: usize,
    /// Bytes of requests in flight at once. Default: 256 MiB, which is also the most.
    pub inflight_bytes: usize,
    /// Sessions one partition remembers. Default: 10,000, which is also the most.
    pub sessions_per_partition: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            key_bytes: KEY_BYTES,
            value_bytes: VALUE_BYTES,
            inflight_bytes: INFLIGHT_BYTES,
            sessions_per_partition: SESSIONS_PER_PARTITION,
        }
    }
}

impl Limits {
    /// Checks that no limit is above its ceiling or zero.
    ///
    /// # Errors
    /// `InvalidArgument` naming the limit.
    pub fn validate(&self) -> Result<()> {
        let all = [
            ("key_bytes", self.key_bytes, KEY_BYTES),
            ("value_bytes", self.value_bytes, VALUE_BYTES),
            ("inflight_bytes", self.inflight_bytes, INFLIGHT_BYTES),
            ("sessions_per_partition", self.sessions_per_partition, SESSIONS_PER_PARTITION),
        ];
        for (name, value, most) in all {
            if value == 0 || value > most {
                return Err(Error::new(Kind::InvalidArgument, "limit out of range")
                    .with("limit", name)
                    .with("value", value)
                    .with("most", most));
            }
        }
        Ok(())
    }

    /// Checks a key.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty key, `TooLarge` for one above the limit.
    pub fn check_key(&self, key: &[u8]) -> Result<()> {
        if key.is_empty() {
            return Err(Error::new(Kind::InvalidArgument, "key is empty")
                .with("least", "1 byte")
                .with("most", self.key_bytes));
        }
        too_large("key is too large", key.len(), self.key_bytes)
    }

    /// Checks a value.
    ///
    /// # Errors
    /// `TooLarge` for one above the limit.
    pub fn check_value(&self, value: &[u8]) -> Result<()> {
        too_large("value is too large", value.len(), self.value_bytes)
    }
}

fn too_large(what: &'static str, bytes: usize, limit: usize) -> Result<()> {
    if bytes > limit {
        return Err(Error::new(Kind::TooLarge, what).with("bytes", bytes).with("limit", limit));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_held_to_their_limits() {
        let limits = Limits::default();
        assert!(limits.check_key(&vec![0; KEY_BYTES]).is_ok());
        assert_eq!(limits.check_key(b"").unwrap_err().kind(), Kind::InvalidArgument);
        let error = limits.check_key(&vec![0; KEY_BYTES + 1]).unwrap_err();
        assert_eq!(error.kind(), Kind::TooLarge);
        assert_eq!(error.to_string(), "key is too large bytes=`16385` limit=`16384`");
        assert!(limits.check_value(b"").is_ok());
        assert_eq!(
            limits.check_value(&vec![0; VALUE_BYTES + 1]).unwrap_err().kind(),
            Kind::TooLarge
        );
    }

    #[test]
    fn limits_only_go_down() {
        let limits = Limits { key_bytes: KEY_BYTES + 1, ..Limits::default() };
        assert_eq!(limits.validate().unwrap_err().kind(), Kind::InvalidArgument);
        assert!(Limits { key_bytes: 64, ..Limits::default() }.validate().is_ok());
    }
}
