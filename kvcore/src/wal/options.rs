//! How large the parts of the log may grow.

use crate::types::{Error, Kind, Result};

const MIB: usize = 1 << 20;

/// How large the parts of the log may grow.
#[derive(Clone, Debug)]
pub struct Options {
    /// The size of a segment file in bytes, 4 KiB to 1 GiB. A batch that is larger gets a segment of
    /// its own. Default 64 MiB. It may change from one opening to the next.
    pub segment_bytes: u64,
    /// The newest entries of all groups, up to this many bytes, stay in memory; those still queued
    /// come on top. Default 64 MiB.
    pub cache_bytes: usize,
    /// When more than this many bytes wait for the disk, [`Wal::pressure`](super::Wal::pressure) says
    /// so. Default 64 MiB.
    pub queue_bytes: usize,
    /// A batch takes no more operations once it is that large, in bytes. Default 4 MiB.
    pub batch_bytes: usize,
    /// The most bytes of the segments that may be garbage: neither alive, nor still to be written. As
    /// long as there is more, what is alive in the oldest segment is written again at the end of the
    /// log, and its file is freed. So what an old entry that is kept pins on disk has this bound, but for
    /// what no packing avoids: at the end of each segment there is no room for another batch. The less it
    /// is beside what is alive, the more often that is written again: (live bytes) / (this) times for
    /// each byte of garbage. Less than two segments count as two. Default 1 GiB.
    pub garbage_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 * MIB as u64,
            cache_bytes: 64 * MIB,
            queue_bytes: 64 * MIB,
            batch_bytes: 4 * MIB,
            garbage_bytes: 1024 * MIB as u64,
        }
    }
}

impl Options {
    /// The garbage that there may be, in bytes.
    pub(super) fn garbage_bound(&self) -> u64 {
        self.garbage_bytes.max(2 * self.segment_bytes)
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(4096..=1 << 30).contains(&self.segment_bytes) {
            return Err(Error::new(Kind::InvalidArgument, "a log segment has 4 KiB to 1 GiB")
                .with("segment_bytes", self.segment_bytes));
        }
        if self.batch_bytes > 1 << 30 {
            return Err(Error::new(Kind::InvalidArgument, "a batch of the log has 1 GiB at most")
                .with("batch_bytes", self.batch_bytes));
        }
        Ok(())
    }
}
