//! What goes to disk with one write and one sync: the unit of recovery.
//!
//! A batch is there as a whole or not at all. It is built in place while it waits, so that an
//! entry's payload is copied once between the caller and the disk. `docs/format.md` has the table.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Done;
use super::group::{Effect, Group, Home, Place};
use super::record::{Damage, Frame, HEADER, Header, field};
use crate::types::Result;

/// Batches begin at multiples of this, so that no write touches the disk sector of an earlier,
/// acknowledged batch.
pub(super) const ALIGNMENT: usize = 512;

/// Bytes of a batch before its first record.
pub(super) const BATCH_HEADER: usize = 40;

const MAGIC: [u8; 8] = *b"dkvbatch";
const CHECKED: usize = 32;

/// One call that waits for the batch.
#[derive(Debug)]
pub(super) struct Op {
    /// Whose log it changes; none for a barrier.
    pub group: Option<Arc<Group>>,
    /// What to do in memory once it is on disk.
    pub effect: Effect,
    /// Whom to tell.
    pub done: Option<Waiter>,
}

impl Op {
    /// Calls back. A panic there must not end the thread, which serves everyone.
    pub fn tell(self, result: Result<()>) {
        let Some(waiter) = self.done else { return };
        if catch_unwind(AssertUnwindSafe(|| (waiter.0)(result))).is_err() {
            tracing::error!("a callback of the log panicked");
        }
    }
}

/// A [`Done`] that can be printed.
pub(super) struct Waiter(pub Done);

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiter")
    }
}

/// A batch being built.
#[derive(Debug)]
pub(super) struct Batch {
    /// Tells the batches of one process apart; not on disk.
    pub number: u64,
    pub ops: Vec<Op>,
    records: u32,
    forced: bool,
    /// Whether the keeper put something in.
    upkeep: bool,
    buffer: Vec<u8>,
}

/// Where and as what a batch is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Label {
    pub sequence: u64,
    /// Segments below this one may be gone; if one from here on is, something is lost.
    pub oldest: u64,
    pub segment: u64,
    pub offset: u64,
}

impl Batch {
    /// An empty batch, in that buffer.
    pub fn new(number: u64, mut buffer: Vec<u8>) -> Batch {
        buffer.clear();
        buffer.resize(BATCH_HEADER, 0);
        Batch { number, ops: Vec::new(), records: 0, forced: false, upkeep: false, buffer }
    }

    /// Bytes so far, header included.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.records == 0 && !self.forced
    }

    /// Has the batch written even without a record.
    pub fn force(&mut self) {
        self.forced = true;
    }

    /// The keeper puts something in.
    pub fn mark_upkeep(&mut self) {
        self.upkeep = true;
    }

    /// Whether the keeper put something in.
    pub fn is_upkeep(&self) -> bool {
        self.upkeep
    }

    /// Adds a record.
    pub fn push(&mut self, header: &Header, payload: &[u8]) -> Home {
        let at = self.buffer.len() as u32;
        self.buffer.extend_from_slice(header);
        self.buffer.extend_from_slice(payload);
        self.records += 1;
        let length = (HEADER + payload.len()) as u32;
        Home { place: Place::Queued { batch: self.number, at }, length }
    }

    /// Adds a record.
    pub fn push_frame(&mut self, frame: &Frame<'_>) -> Home {
        self.push(&frame.header(), frame.payload)
    }

    /// Bytes it will take in a segment.
    pub fn stored_bytes(&self) -> usize {
        self.buffer.len().next_multiple_of(ALIGNMENT)
    }

    /// Closes the batch for a place in a segment: what to write there.
    pub fn finish(&mut self, label: Label) -> &[u8] {
        let length = (self.buffer.len() - BATCH_HEADER) as u32;
        let mut header = [0; BATCH_HEADER];
        header[0..8].copy_from_slice(&MAGIC);
        header[8..16].copy_from_slice(&label.sequence.to_le_bytes());
        header[16..24].copy_from_slice(&label.oldest.to_le_bytes());
        header[24..28].copy_from_slice(&length.to_le_bytes());
        header[28..32].copy_from_slice(&self.records.to_le_bytes());
        let records = self.buffer.get(BATCH_HEADER..).unwrap_or_default();
        let checksum = checksum(&header, records, label.segment, label.offset);
        header[CHECKED..36].copy_from_slice(&checksum.to_le_bytes());
        if let Some(start) = self.buffer.first_chunk_mut::<BATCH_HEADER>() {
            *start = header;
        }
        self.buffer.resize(self.buffer.len().next_multiple_of(ALIGNMENT), 0);
        &self.buffer
    }

    /// The buffer, to be used again.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

/// What a stored batch's header says. Not to be trusted before [`Summary::verify`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Summary {
    pub sequence: u64,
    /// See [`Label::oldest`].
    pub oldest: u64,
    pub records: u32,
    length: u32,
    checksum: u32,
}

impl Summary {
    /// Reads a header, if it looks like one.
    pub fn decode(header: &[u8; BATCH_HEADER]) -> Option<Summary> {
        (field::<8>(header, 0) == MAGIC).then(|| Summary {
            sequence: u64::from_le_bytes(field(header, 8)),
            oldest: u64::from_le_bytes(field(header, 16)),
            length: u32::from_le_bytes(field(header, 24)),
            records: u32::from_le_bytes(field(header, 28)),
            checksum: u32::from_le_bytes(field(header, CHECKED)),
        })
    }

    /// Bytes of header and records, without the padding.
    pub fn bytes(&self) -> usize {
        BATCH_HEADER + self.length as usize
    }

    /// The records of the whole batch `bytes`, found at `offset` of `segment`, if they are those
    /// that were written there.
    pub fn verify<'a>(
        &self,
        bytes: &'a [u8],
        segment: u64,
        offset: u64,
    ) -> Result<&'a [u8], Damage> {
        let Some((header, records)) = bytes.split_first_chunk::<BATCH_HEADER>() else {
            return Err(Damage("a batch is cut short"));
        };
        if checksum(header, records, segment, offset) != self.checksum {
            return Err(Damage("the checksum of a batch is wrong"));
        }
        Ok(records)
    }
}

/// Covers the place, the header up to the checksum, and the records. The place is what keeps the
/// old batches of a recycled file, and copies of batches inside a payload, from being taken for
/// batches of this segment.
fn checksum(header: &[u8; BATCH_HEADER], records: &[u8], segment: u64, offset: u64) -> u32 {
    let salt = crc32c::crc32c(&segment.to_le_bytes());
    let salt = crc32c::crc32c_append(salt, &offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(salt, &header[0..CHECKED]), records)
}

#[cfg(test)]
mod tests {
    use super::super::record::{Action, Tag};
    use super::*;
    use crate::types::{GroupId, ReplicaId};

    const TAG: Tag = Tag { group: GroupId::Metadata, replica: ReplicaId(1) };

    fn stored() -> Vec<u8> {
        let mut batch = Batch::new(1, Vec::new());
        batch.push_frame(&Frame::plain(Action::Vote, TAG, b"vote"));
        batch.push_frame(&Frame::plain(Action::Remove, TAG, b""));
        batch.finish(Label { sequence: 5, oldest: 3, segment: 7, offset: 512 }).to_vec()
    }

    fn summary(bytes: &[u8]) -> Summary {
        Summary::decode(bytes.first_chunk().unwrap()).unwrap()
    }

    #[test]
    fn a_batch_reads_back_where_it_was_written() {
        let bytes = stored();
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        let summary = summary(&bytes);
        assert_eq!((summary.sequence, summary.oldest, summary.records), (5, 3, 2));
        let records = summary.verify(&bytes[..summary.bytes()], 7, 512).unwrap();
        let (vote, rest) = Frame::decode(records).unwrap();
        assert_eq!(vote, Frame::plain(Action::Vote, TAG, b"vote"));
        let (remove, rest) = Frame::decode(rest).unwrap();
        assert_eq!((remove.action, rest), (Action::Remove, &b""[..]));
    }

    #[test]
    fn a_batch_is_none_anywhere_else() {
        let bytes = stored();
        let summary = summary(&bytes);
        let whole = &bytes[..summary.bytes()];
        assert!(summary.verify(whole, 8, 512).is_err(), "another segment");
        assert!(summary.verify(whole, 7, 1024).is_err(), "another offset");
    }
}
