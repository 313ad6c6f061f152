//! The log's view of a file system: the few calls it makes, behind a seam.
//!
//! [`RealDisk`] is the operating system. Tests and simulations hand in their own, one that fails on
//! purpose or forgets what was not synced.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, retry_on_intr};

/// What the operating system counts a file's blocks in, in bytes.
const BLOCK_BYTES: u64 = 512;

/// Zeroes are written in portions of at most this many bytes.
const ZEROES: usize = 1 << 20;

/// A file system. Thread-safe; names are durable only after [`Disk::sync_dir`].
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates the directory and its parents, unless they are there.
    ///
    /// # Errors
    /// What the file system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in the directory, in no order. Names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Creates the file, empty; a file of that name is emptied.
    ///
    /// # Errors
    /// What the file system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// What the file system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading alone.
    ///
    /// # Errors
    /// What the file system says.
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives the file another name; open handles stay good.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the file; open handles stay good.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in the directory durable.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file, read and written at offsets. Thread-safe.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Fills the buffer from `offset`, in bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before; else what the file system says.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of it at `offset`, in bytes, growing the file when need be.
    ///
    /// # Errors
    /// What the file system says; part of it may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Sees to it that the file has at least `size` bytes, and that writing to any of them needs no
    /// more room on the disk. What is in it stays; what it grows by is zeroes.
    ///
    /// # Errors
    /// `StorageFull` when there is no room; else what the file system says. Part of the room may have
    /// been taken.
    fn allocate(&self, size: u64) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// What the file system says. Which of the writes are lost is then unknown for ever.
    fn sync_data(&self) -> io::Result<()>;

    /// The file's size in bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn size(&self) -> io::Result<u64>;
}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(dir)?;
        match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => self.sync_dir(parent),
            None => Ok(()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).clone();
        Ok(Arc::new(options.open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl DiskFile for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let known = self.metadata()?;
        if known.len() >= size && known.blocks().saturating_mul(BLOCK_BYTES) >= size {
            // Some file systems want free space even to be told to allocate what is allocated.
            return Ok(());
        }
        let mode = FallocateFlags::empty();
        match retry_on_intr(|| rustix::fs::fallocate(self, mode, 0, size)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => fill(self, known.len(), size),
            result => Ok(result?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// Writes zeroes from `offset` up to `end`: how room is taken where the file system cannot be asked
/// for it, and how a file is made that is fast to sync into.
///
/// # Errors
/// What the file system says; some may have been written.
pub(super) fn fill(file: &dyn DiskFile, offset: u64, end: u64) -> io::Result<()> {
    let mut at = offset;
    let zeroes = vec![0; (end.saturating_sub(offset)).min(ZEROES as u64) as usize];
    while at < end {
        let length = (end - at).min(zeroes.len() as u64);
        file.write_all_at(zeroes.get(..length as usize).unwrap_or_default(), at)?;
        at += length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_is_there_and_what_was_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = RealDisk.create(&path).unwrap();
        file.write_all_at(b"before", 0).unwrap();
        for size in [100_000, 50_000, 100_000, 3 << 20] {
            file.allocate(size).unwrap();
            let known = std::fs::metadata(&path).unwrap();
            assert!(known.len() >= size && known.blocks() * BLOCK_BYTES >= size, "{known:?}");
            let mut start = [9; 8];
            file.read_exact_at(&mut start, 0).unwrap();
            assert_eq!(&start, b"before\0\0");
        }
        // A file with a hole in it has its size, but not the room.
        let sparse = RealDisk.create(&dir.path().join("sparse")).unwrap();
        sparse.write_all_at(b"end", 1 << 20).unwrap();
        sparse.allocate(1 << 20).unwrap();
        let known = std::fs::metadata(dir.path().join("sparse")).unwrap();
        assert!(known.blocks() * BLOCK_BYTES >= 1 << 20);
    }

    #[test]
    fn filling_begins_where_it_is_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.create(&dir.path().join("file")).unwrap();
        file.write_all_at(b"before", 0).unwrap();
        fill(&*file, 6, 2 * ZEROES as u64 + 17).unwrap();
        assert_eq!(file.size().unwrap(), 2 * ZEROES as u64 + 17);
        let mut start = [9; 8];
        file.read_exact_at(&mut start, 0).unwrap();
        assert_eq!(&start, b"before\0\0");
    }

    #[test]
    fn a_file_opened_to_read_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        RealDisk.create(&path).unwrap().write_all_at(b"x", 0).unwrap();
        let file = RealDisk.open_to_read(&path).unwrap();
        file.read_exact_at(&mut [0], 0).unwrap();
        assert!(file.write_all_at(b"y", 0).is_err());
    }
}
