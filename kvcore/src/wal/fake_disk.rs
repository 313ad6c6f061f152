//! A file system for tests. It keeps a journal of everything, from which it makes what a power failure
//! at any moment may have left; it can hold syncs back, fail, and be full.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::batch::ALIGNMENT;
use super::disk::{Disk, DiskFile};

/// How long a test waits for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Something that happened, in order.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Event {
    Create(PathBuf, usize),
    Write {
        inode: usize,
        offset: u64,
        bytes: Vec<u8>,
    },
    Allocate {
        inode: usize,
        size: u64,
    },
    Sync(usize),
    /// What was not synced is no longer to be written, although it can be read as long as the power is
    /// on: that is what Linux does.
    FailedSync(usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir,
    /// The test's own.
    Note(u64),
}

#[derive(Clone, Debug, Default)]
pub(super) struct FakeDisk {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Vec<u8>>,
    names: BTreeMap<PathBuf, usize>,
    journal: Vec<Event>,
    held: bool,
    syncing: usize,
    fail_sync: Option<io::ErrorKind>,
    fail_write: Option<io::ErrorKind>,
    fail_sync_dir: Option<io::ErrorKind>,
    /// The bytes that all files together may have.
    capacity: Option<u64>,
}

impl State {
    /// Lets a file grow to that size, if there is room.
    fn grow(&mut self, inode: usize, size: u64) -> io::Result<()> {
        let length = self.inodes[inode].len() as u64;
        let used: u64 = self.names.values().map(|at| self.inodes[*at].len() as u64).sum();
        let more = size.saturating_sub(length);
        if more > 0 && self.capacity.is_some_and(|capacity| used + more > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inodes[inode].resize(length.max(size) as usize, 0);
        Ok(())
    }
}

impl FakeDisk {
    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.shared.0.lock()
    }

    /// Syncs of files wait from now on.
    pub fn hold(&self) {
        self.state().held = true;
    }

    /// Syncs go on.
    pub fn release(&self) {
        self.state().held = false;
        self.shared.1.notify_all();
    }

    /// Waits until a sync is held back.
    pub fn wait_for_sync(&self) {
        let mut state = self.state();
        while state.syncing == 0 {
            assert!(!self.shared.1.wait_for(&mut state, PATIENCE).timed_out(), "nobody syncs");
        }
    }

    pub fn fail_syncs(&self, kind: io::ErrorKind) {
        self.state().fail_sync = Some(kind);
    }

    pub fn fail_writes(&self, kind: io::ErrorKind) {
        self.state().fail_write = Some(kind);
    }

    /// Makes syncs of directories fail.
    pub fn fail_dir_syncs(&self, kind: io::ErrorKind) {
        self.state().fail_sync_dir = Some(kind);
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.fail_sync, state.fail_write, state.fail_sync_dir) = (None, None, None);
    }

    /// Gives the disk room for so many bytes more than there are now.
    pub fn leave_room(&self, bytes: u64) {
        let mut state = self.state();
        let used: u64 = state.names.values().map(|at| state.inodes[*at].len() as u64).sum();
        state.capacity = Some(used + bytes);
    }

    /// Gives the disk all the room it wants.
    pub fn give_room(&self) {
        self.state().capacity = None;
    }

    pub fn note(&self, note: u64) {
        self.state().journal.push(Event::Note(note));
    }

    pub fn journal(&self) -> Vec<Event> {
        self.state().journal.clone()
    }

    /// The files by name, as a process sees them.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        state.names.iter().map(|(path, at)| (path.clone(), state.inodes[*at].clone())).collect()
    }

    /// The name of a file.
    pub fn path(&self, inode: usize) -> PathBuf {
        let state = self.state();
        state.names.iter().find(|(_, at)| **at == inode).unwrap().0.clone()
    }

    /// A disk with these files, all durable.
    pub fn with(files: BTreeMap<PathBuf, Vec<u8>>) -> FakeDisk {
        let disk = FakeDisk::default();
        {
            let mut state = disk.state();
            for (path, bytes) in files {
                let inode = state.inodes.len();
                state.journal.push(Event::Create(path.clone(), inode));
                state.journal.push(Event::Write { inode, offset: 0, bytes: bytes.clone() });
                state.journal.push(Event::Sync(inode));
                state.inodes.push(bytes);
                state.names.insert(path, inode);
            }
            state.journal.push(Event::SyncDir);
        }
        disk
    }

    /// A disk as the next process finds it when all of `journal` happened, and the one that did it was
    /// killed: everything can be read, but not all of it is durable.
    pub fn after_kill(journal: &[Event]) -> FakeDisk {
        let disk = FakeDisk::default();
        {
            let mut state = disk.state();
            for event in journal {
                match event {
                    Event::Create(_, inode) => {
                        assert_eq!(*inode, state.inodes.len());
                        state.inodes.push(Vec::new());
                    }
                    Event::Write { inode, offset, bytes } => {
                        put(&mut state.inodes[*inode], *offset, bytes);
                    }
                    Event::Allocate { inode, size } => state.grow(*inode, *size).unwrap(),
                    _ => {}
                }
                apply_name(&mut state.names, event);
            }
            state.journal = journal.to_vec();
        }
        disk
    }

    /// What a power failure leaves when it comes behind the events of `journal`. `chance` decides
    /// over each sector and each name that was not synced; it is told the number of the event.
    pub fn after_power_failure(
        journal: &[Event],
        mut chance: impl FnMut(usize) -> bool,
    ) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        let mut unsynced: Vec<(usize, usize, u64, Unsynced<'_>)> = Vec::new();
        let mut names: BTreeMap<PathBuf, usize> = BTreeMap::new();
        let mut unnamed: Vec<(usize, &Event)> = Vec::new();
        for (number, event) in journal.iter().enumerate() {
            match event {
                Event::Write { inode, offset, bytes } => {
                    for (at, sector) in bytes.chunks(ALIGNMENT).enumerate() {
                        let offset = offset + (at * ALIGNMENT) as u64;
                        unsynced.push((number, *inode, offset, Unsynced::Sector(sector)));
                    }
                }
                Event::Allocate { inode, size } => {
                    unsynced.push((number, *inode, *size, Unsynced::Size))
                }
                Event::Sync(synced) => {
                    unsynced.retain(|(_, inode, offset, what)| {
                        if inode == synced {
                            what.reach(files.entry(*inode).or_default(), *offset);
                        }
                        inode != synced
                    });
                }
                // Any of it may have reached the disk; none of it will from now on.
                Event::FailedSync(failed) => {
                    unsynced.retain(|(number, inode, offset, what)| {
                        if inode == failed && chance(*number) {
                            what.reach(files.entry(*inode).or_default(), *offset);
                        }
                        inode != failed
                    });
                }
                Event::SyncDir => {
                    unnamed.drain(..).for_each(|(_, event)| apply_name(&mut names, event));
                }
                Event::Note(_) => {}
                event => unnamed.push((number, event)),
            }
        }
        for (number, event) in unnamed {
            // Nobody promises that names reach the disk in order.
            if chance(number) {
                apply_name(&mut names, event);
            }
        }
        for (number, inode, offset, what) in unsynced {
            if chance(number) {
                what.reach(files.entry(inode).or_default(), offset);
            }
        }
        let file = |(path, inode)| (path, files.get(&inode).cloned().unwrap_or_default());
        names.into_iter().map(file).collect()
    }
}

/// Something that may or may not reach the disk.
enum Unsynced<'a> {
    Sector(&'a [u8]),
    /// A larger size.
    Size,
}

impl Unsynced<'_> {
    fn reach(&self, file: &mut Vec<u8>, offset: u64) {
        match self {
            Unsynced::Sector(bytes) => put(file, offset, bytes),
            Unsynced::Size => file.resize(file.len().max(offset as usize), 0),
        }
    }
}

fn apply_name(names: &mut BTreeMap<PathBuf, usize>, event: &Event) {
    match event {
        Event::Create(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        Event::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        Event::Remove(path) => {
            names.remove(path);
        }
        _ => {}
    }
}

fn put(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let end = offset as usize + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset as usize..end].copy_from_slice(bytes);
}

fn absent() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Disk for FakeDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(self.state().names.keys().map(name).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let inode = state.inodes.len();
        state.inodes.push(Vec::new());
        state.names.insert(path.to_owned(), inode);
        state.journal.push(Event::Create(path.to_owned(), inode));
        Ok(Arc::new(FakeFile { disk: self.clone(), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = *self.state().names.get(path).ok_or_else(absent)?;
        Ok(Arc::new(FakeFile { disk: self.clone(), inode }))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.names.remove(from).ok_or_else(absent)?;
        state.names.insert(to.to_owned(), inode);
        state.journal.push(Event::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.names.remove(path).ok_or_else(absent)?;
        state.journal.push(Event::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.state();
        if let Some(kind) = state.fail_sync_dir {
            return Err(kind.into());
        }
        state.journal.push(Event::SyncDir);
        Ok(())
    }
}

#[derive(Debug)]
struct FakeFile {
    disk: FakeDisk,
    inode: usize,
}

impl DiskFile for FakeFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state();
        let file = &state.inodes[self.inode];
        let end = offset as usize + buffer.len();
        let bytes = file.get(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        if let Some(kind) = state.fail_write {
            return Err(kind.into());
        }
        state.grow(self.inode, offset + bytes.len() as u64)?;
        put(&mut state.inodes[self.inode], offset, bytes);
        let event = Event::Write { inode: self.inode, offset, bytes: bytes.to_vec() };
        state.journal.push(event);
        Ok(())
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        if (state.inodes[self.inode].len() as u64) < size {
            state.grow(self.inode, size)?;
            state.journal.push(Event::Allocate { inode: self.inode, size });
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.syncing += 1;
        self.disk.shared.1.notify_all();
        while state.held {
            self.disk.shared.1.wait(&mut state);
        }
        state.syncing -= 1;
        if let Some(kind) = state.fail_sync {
            state.journal.push(Event::FailedSync(self.inode));
            return Err(kind.into());
        }
        state.journal.push(Event::Sync(self.inode));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].len() as u64)
    }
}
