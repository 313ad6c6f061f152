//! A file system for tests. It keeps a journal of everything, from which it makes what a power failure
//! at any moment may have left; it can hold syncs back, and fail.

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
    Sync(usize),
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

    /// What a power failure leaves when it comes behind the first `events` of `journal`. `chance` decides
    /// over each sector and each name that was not synced.
    pub fn after_power_failure(
        journal: &[Event],
        chance: &mut impl FnMut() -> bool,
    ) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        let mut unsynced: Vec<(usize, u64, &[u8])> = Vec::new();
        let mut names: BTreeMap<PathBuf, usize> = BTreeMap::new();
        let mut unnamed: Vec<&Event> = Vec::new();
        for event in journal {
            match event {
                Event::Write { inode, offset, bytes } => unsynced.push((*inode, *offset, bytes)),
                Event::Sync(synced) => {
                    unsynced.retain(|(inode, offset, bytes)| {
                        if inode == synced {
                            put(files.entry(*inode).or_default(), *offset, bytes);
                        }
                        inode != synced
                    });
                }
                Event::SyncDir => {
                    unnamed.drain(..).for_each(|event| apply_name(&mut names, event));
                }
                Event::Note(_) => {}
                event => unnamed.push(event),
            }
        }
        for event in unnamed {
            // Nobody promises that names reach the disk in order.
            if chance() {
                apply_name(&mut names, event);
            }
        }
        for (inode, offset, bytes) in unsynced {
            for (at, sector) in bytes.chunks(ALIGNMENT).enumerate() {
                if chance() {
                    let offset = offset + (at * ALIGNMENT) as u64;
                    put(files.entry(inode).or_default(), offset, sector);
                }
            }
        }
        let file = |(path, inode)| (path, files.get(&inode).cloned().unwrap_or_default());
        names.into_iter().map(file).collect()
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
        self.state().journal.push(Event::SyncDir);
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
        put(&mut state.inodes[self.inode], offset, bytes);
        let event = Event::Write { inode: self.inode, offset, bytes: bytes.to_vec() };
        state.journal.push(event);
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
            return Err(kind.into());
        }
        state.journal.push(Event::Sync(self.inode));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].len() as u64)
    }
}
