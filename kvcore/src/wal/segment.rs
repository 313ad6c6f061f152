//! The files the log is made of.
//!
//! A segment is named after its number and begins with a header of one sector that repeats the
//! number and says which batch the segment begins with: every batch before that one is complete in
//! earlier segments, so what follows it there is of no account. A file gets a segment's name only
//! when its header is durable.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::batch::ALIGNMENT;
use super::disk::DiskFile;
use super::record::field;
use crate::types::{Error, Kind, Result};

/// Where the first batch of a segment begins, in bytes.
pub(super) const DATA_START: u64 = ALIGNMENT as u64;

/// The version of the format that this code writes, and the newest it reads.
pub(super) const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"DISTKVWL";
const CHECKED: usize = 60;

/// The name of a segment.
pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.log"))
}

/// The name of a file that waits to become a segment.
pub(super) fn spare_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.free"))
}

/// The name of a segment on its way, when no spare was ready.
pub(super) fn fresh_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.tmp"))
}

/// The number in a file's name, if it has that extension.
pub(super) fn parse_name(name: &str, extension: &str) -> Option<u64> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (format!("{number:016x}") == digits).then_some(number)
}

/// What a segment says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    pub number: u64,
    /// The sequence number of the first batch in it.
    pub first_sequence: u64,
}

impl SegmentHeader {
    /// The first sector of the file.
    pub fn encode(&self) -> [u8; ALIGNMENT] {
        let mut sector = [0; ALIGNMENT];
        sector[0..8].copy_from_slice(&MAGIC);
        sector[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        sector[16..24].copy_from_slice(&self.number.to_le_bytes());
        sector[24..32].copy_from_slice(&self.first_sequence.to_le_bytes());
        let checksum = crc32c::crc32c(&sector[..CHECKED]);
        sector[CHECKED..64].copy_from_slice(&checksum.to_le_bytes());
        sector
    }

    /// Reads the first sector of the file called `path`.
    ///
    /// # Errors
    /// `Corruption` when it is no header; `Unsupported` when a newer version wrote it.
    pub fn read(file: &dyn DiskFile, path: &Path) -> Result<SegmentHeader> {
        let damaged = |why| Error::new(Kind::Corruption, why).with("file", path.display());
        let mut sector = [0; ALIGNMENT];
        if file.size()? < DATA_START {
            return Err(damaged("a log segment is shorter than its header"));
        }
        file.read_exact_at(&mut sector, 0)?;
        let checksum = u32::from_le_bytes(field(&sector, CHECKED));
        if field::<8>(&sector, 0) != MAGIC || crc32c::crc32c(&sector[..CHECKED]) != checksum {
            return Err(damaged("the header of a log segment is damaged"));
        }
        let version = u32::from_le_bytes(field(&sector, 8));
        if version > FORMAT_VERSION {
            return Err(Error::new(Kind::Unsupported, "a newer version wrote this log")
                .with("file", path.display())
                .with("version", version)
                .with("newest_readable", FORMAT_VERSION));
        }
        Ok(SegmentHeader {
            number: u64::from_le_bytes(field(&sector, 16)),
            first_sequence: u64::from_le_bytes(field(&sector, 24)),
        })
    }
}

/// A segment, open for reading and, while it is the newest, for writing.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub number: u64,
    pub file: Arc<dyn DiskFile>,
    pub path: PathBuf,
    /// Bytes it takes on disk.
    pub size: u64,
    /// The ledger's churn when it was begun; 0 when that was before the log was opened.
    pub churn: u64,
}

/// A file that waits to become a segment: zeroes, or a segment that nobody needs any more.
#[derive(Debug)]
pub(super) struct Spare {
    pub file: Arc<dyn DiskFile>,
    pub path: PathBuf,
    pub size: u64,
}

/// All segments of a log, and the spares.
#[derive(Debug)]
pub(super) struct Segments {
    known: RwLock<Known>,
    /// The oldest segment that must be there; every batch says so.
    oldest: AtomicU64,
    /// Bytes of the active segment that are not written yet.
    rest: AtomicU64,
    spares: Mutex<VecDeque<Spare>>,
}

#[derive(Debug)]
struct Known {
    by_number: BTreeMap<u64, Arc<Segment>>,
    /// Nothing is written any more to a segment below this one.
    active: u64,
}

impl Segments {
    /// The segments found on disk; nothing is written to any of them. The next one gets number `next`.
    pub fn new(found: BTreeMap<u64, Arc<Segment>>, spares: VecDeque<Spare>, next: u64) -> Segments {
        let oldest = found.keys().next().copied().unwrap_or(next);
        Segments {
            oldest: AtomicU64::new(oldest),
            rest: AtomicU64::new(0),
            known: RwLock::new(Known { by_number: found, active: next }),
            spares: Mutex::new(spares),
        }
    }

    /// A segment, unless it was freed.
    pub fn get(&self, number: u64) -> Option<Arc<Segment>> {
        self.known.read().by_number.get(&number).cloned()
    }

    /// The oldest segment that must be there.
    pub fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Acquire)
    }

    /// Nothing up to and including that segment is needed any more. The next batch will say so, and
    /// when it is durable the files can go.
    pub fn release_through(&self, number: u64) {
        self.oldest.fetch_max(number.saturating_add(1), Ordering::AcqRel);
    }

    /// Adds the segment that all writing goes to from now on.
    pub fn activate(&self, segment: Arc<Segment>) {
        let mut known = self.known.write();
        known.active = segment.number;
        known.by_number.insert(segment.number, segment);
    }

    /// Those that nothing is written to any more, oldest first.
    pub fn closed(&self) -> Vec<Arc<Segment>> {
        let known = self.known.read();
        known.by_number.range(..known.active).map(|(_, segment)| segment.clone()).collect()
    }

    /// Forgets a segment; who reads from it still can.
    pub fn forget(&self, number: u64) {
        self.known.write().by_number.remove(&number);
    }

    /// How many there are, and their bytes together.
    pub fn total(&self) -> (usize, u64) {
        let known = self.known.read();
        (known.by_number.len(), known.by_number.values().map(|segment| segment.size).sum())
    }

    /// Bytes of the active segment that are not written yet.
    pub fn rest(&self) -> u64 {
        self.rest.load(Ordering::Relaxed)
    }

    /// So many bytes of the active segment are not written yet.
    pub fn set_rest(&self, bytes: u64) {
        self.rest.store(bytes, Ordering::Relaxed);
    }

    /// Takes a spare of at least that size.
    pub fn take_spare(&self, size: u64) -> Option<Spare> {
        let mut spares = self.spares.lock();
        let at = spares.iter().position(|spare| spare.size >= size)?;
        spares.remove(at)
    }

    /// Whether there is a spare of at least that size.
    pub fn has_spare(&self, size: u64) -> bool {
        self.spares.lock().iter().any(|spare| spare.size >= size)
    }

    /// Adds a spare.
    pub fn add_spare(&self, spare: Spare) {
        self.spares.lock().push_back(spare);
    }

    /// How many spares there are, and their bytes together.
    pub fn spares(&self) -> (usize, u64) {
        let spares = self.spares.lock();
        (spares.len(), spares.iter().map(|spare| spare.size).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::{Disk, RealDisk};
    use super::*;

    fn header_of(sector: &[u8]) -> Result<SegmentHeader> {
        let dir = tempfile::tempdir().unwrap();
        let path = segment_path(dir.path(), 3);
        let file = RealDisk.create(&path).unwrap();
        file.write_all_at(sector, 0).unwrap();
        SegmentHeader::read(&*file, &path)
    }

    #[test]
    fn a_header_reads_back_and_any_flipped_bit_of_it_is_found() {
        let header = SegmentHeader { number: 3, first_sequence: 1 << 33 };
        let sector = header.encode();
        assert_eq!(header_of(&sector).unwrap(), header);
        for bit in 0..64 * 8 {
            let mut damaged = sector;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(header_of(&damaged).unwrap_err().kind(), Kind::Corruption, "bit {bit}");
        }
        assert_eq!(header_of(&sector[..511]).unwrap_err().kind(), Kind::Corruption);
    }

    #[test]
    fn a_newer_version_is_unsupported() {
        let mut sector = SegmentHeader { number: 3, first_sequence: 1 }.encode();
        sector[8] = 2;
        let checksum = crc32c::crc32c(&sector[..CHECKED]);
        sector[CHECKED..64].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(header_of(&sector).unwrap_err().kind(), Kind::Unsupported);
    }

    #[test]
    fn only_the_names_we_give_are_ours() {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let dir = Path::new("dir");
        assert_eq!(parse_name(&name(segment_path(dir, 255)), "log"), Some(255));
        assert_eq!(parse_name(&name(spare_path(dir, 255)), "free"), Some(255));
        assert_eq!(parse_name(&name(spare_path(dir, 255)), "log"), None);
        for foreign in ["ff.log", "LOCK", "00000000000000FF.log", "00000000000000ff.logs"] {
            assert_eq!(parse_name(foreign, "log"), None, "{foreign}");
        }
    }
}
