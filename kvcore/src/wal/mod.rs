//! Floor 1: the disk of the Raft logs.
//!
//! A node takes part in many Raft groups, and each keeps a log: entries that were agreed on or may
//! be, the vote, how far the log was trimmed. What a group acknowledges must be on stable storage, and
//! making something stable costs a sync, which takes as long for one record as for a thousand. So all
//! groups of a node share one log on disk, a [`Wal`], and one thread that writes it. While a sync is
//! under way the records of all groups gather in a `queue`; the `writer` takes them all, writes
//! them with one call, syncs once, and then tells everyone who waits. The busier the node, the more
//! is paid for with each sync.
//!
//! A group holds a [`Log`]. Each call changes the group's memory (`group`) at once and puts a
//! `record` into the queue; its callback comes when the record is durable. Reading goes to memory for
//! the newest entries and to the files for the others (`read`), where every record carries a
//! checksum and says whose it is.
//!
//! On disk the log is a row of `segment` files, filled one after the other with `batch`es: all that
//! went out with one sync, under one number and one checksum. When the log is opened, `recovery`
//! has `scan` play the batches back and rebuilds the groups' memory (`replay`). The last batch may be
//! torn by a power failure, but nobody was told that it was written, so it is left out. A damaged
//! batch with a good one behind it is another matter: something acknowledged is lost, and the log
//! refuses to open with `Corruption` rather than serve less than it promised. So that there is a good
//! one behind the last as well, the writer leaves an empty batch there, the *stamp*, whenever nothing
//! waits. Opening goes on in a fresh segment, never behind what may be torn. `inspect` reads the log of
//! a stopped node with the same code, and changes nothing.
//!
//! Entries that were purged or replaced stay in their files until the `keeper`, a second thread,
//! frees the oldest segment as a whole. What is still alive in it is written again at the end of the
//! log first, when that is little or when the segments hold too much garbage, so that an idle group
//! does not keep everyone's segments; the `ledger` counts what is alive where. The keeper also prepares
//! the next segment, filled with zeroes ahead of time: syncing into a file that exists is nearly twice as
//! fast as growing one.
//!
//! No segment is written to before all its bytes are allocated, so a disk that is full is found out
//! where nothing is lost by it: when the next segment is made. That is no failure (`room`). As the next
//! one is made when a quarter of one is written, three quarters are left at that moment, for what waits
//! and for votes, truncations and purges; a batch that needs more waits until the keeper has found room
//! or freed a segment.
//!
//! A failed write or sync is final, even for want of space: after it nobody can know what is on disk.
//! Everyone who waits and everyone who comes gets the error, until the log is closed and opened
//! again, in the same process or another, which finds out what is there. All file calls go through
//! [`disk`], so that tests can make them fail and forget.
//!
//! `docs/format.md` describes every byte.

mod batch;
pub mod disk;
mod group;
mod inspect;
mod keeper;
mod ledger;
mod log;
mod options;
mod queue;
mod read;
mod record;
mod recovery;
mod replay;
mod room;
mod scan;
mod segment;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use parking_lot::Mutex;

use crate::types::{Error, Kind, Result};

use batch::Op;
use disk::{Disk, RealDisk};
use group::{Contents, Effect, Group};
use keeper::{Keeper, Signals};
use ledger::Ledger;
use queue::{Failure, Queue};
use room::Room;
use segment::{Segments, parse_name};
use writer::Writer;

pub use group::State;
pub use inspect::{End, GroupLog, Inspection, inspect, inspect_on};
pub use log::Log;
pub use options::Options;
pub use record::{Position, Record, Tag};

/// How often it is looked whether there is room for the first segment.
const LOOK: Duration = Duration::from_millis(50);

/// Called once with the outcome of an operation. See [`Log`] for the thread it is called on.
pub type Done = Box<dyn FnOnce(Result<()>) + Send>;

/// How much disk the log takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// The number of segments.
    pub segments: usize,
    /// Their size together, in bytes, without spare files. All of it is taken on disk.
    pub bytes: u64,
    /// Bytes of the files that wait to become segments.
    pub spare_bytes: u64,
    /// Bytes of records in the segments that must be kept.
    pub live_bytes: u64,
    /// Bytes of the segments that are neither alive nor still to be written:
    /// [`Options::garbage_bytes`] bounds them.
    pub garbage_bytes: u64,
    /// Live entries of all groups, those still queued among them.
    pub entries: u64,
}

/// The log of a node. Cheap to clone; thread-safe. It is closed by [`Wal::close`], or when the last
/// clone is dropped; [`Log`]s do not keep it open. Nobody else may have the directory open.
#[derive(Clone)]
pub struct Wal {
    owner: Arc<Owner>,
}

/// What the handles and the threads share.
#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    queue: Queue,
    segments: Segments,
    ledger: Arc<Ledger>,
    room: Room,
    keeper: Signals,
    /// Locked before any group.
    groups: Mutex<HashMap<Tag, Arc<Group>>>,
}

struct Owner {
    shared: Arc<Shared>,
    ids: [ThreadId; 2],
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("dir", &self.owner.shared.dir).finish_non_exhaustive()
    }
}

impl Wal {
    /// Opens the log in `dir`, which is created when it is not there: reads it back and starts the
    /// threads.
    ///
    /// # Errors
    /// `Corruption`, naming the file and the offset, when something acknowledged is damaged or
    /// missing; `Unsupported` when a newer version wrote it; `InvalidArgument` for options that make
    /// no sense; `StorageFull` or `Internal` when the file system fails.
    pub fn open(dir: &Path, options: Options) -> Result<Wal> {
        Wal::open_on(Arc::new(RealDisk), dir, options)
    }

    /// Opens the log on another file system.
    ///
    /// # Errors
    /// As [`Wal::open`].
    pub fn open_on(disk: Arc<dyn Disk>, dir: &Path, options: Options) -> Result<Wal> {
        options.check()?;
        let found = recovery::recover(&*disk, dir, options.segment_bytes)?;
        let ledger = Arc::new(Ledger::default());
        let group = |(tag, mut contents): (Tag, Contents)| {
            contents.enter(ledger.clone());
            (tag, Arc::new(Group::new(tag, contents)))
        };
        let groups = found.groups.into_iter().map(group).collect();
        let shared = Arc::new(Shared {
            disk,
            dir: dir.to_owned(),
            queue: Queue::new(options.batch_bytes, options.queue_bytes),
            options,
            segments: Segments::new(found.segments, found.spares, found.next_segment),
            ledger,
            room: Room::default(),
            keeper: Signals::default(),
            groups: Mutex::new(groups),
        });
        // Of what was found, anything may be garbage that was never tidied up.
        shared.ledger.stir(shared.segments.total().1);
        let writer = Writer::new(shared.clone(), found.next_segment, found.next_sequence);
        let keeper = Keeper::new(shared.clone(), found.next_spare);
        let writer = spawn("distkv-wal", move || writer.run())?;
        let keeper = match spawn("distkv-wal-keep", move || keeper.run()) {
            Ok(keeper) => keeper,
            Err(error) => {
                shared.queue.close();
                return Err(error);
            }
        };
        let ids = [writer.thread().id(), keeper.thread().id()];
        let threads = Mutex::new(vec![keeper, writer]);
        Ok(Wal { owner: Arc::new(Owner { shared, ids, threads }) })
    }

    /// The log of one group, empty when it is not known. All handles of a tag share one log.
    ///
    /// # Errors
    /// `Closed`, or what the log failed with.
    pub fn log(&self, tag: Tag) -> Result<Log> {
        let shared = &self.owner.shared;
        shared.queue.check()?;
        let mut groups = shared.groups.lock();
        let new = || Arc::new(Group::new(tag, Contents::blank(shared.ledger.clone())));
        let group = groups.entry(tag).or_insert_with(new).clone();
        Ok(Log::new(shared.clone(), group))
    }

    /// The logs that hold something, in order.
    pub fn tags(&self) -> Vec<Tag> {
        let groups = self.owner.shared.groups();
        let held = groups.iter().filter(|group| !group.lock().is_blank());
        let mut tags: Vec<Tag> = held.map(|group| group.tag).collect();
        tags.sort_unstable();
        tags
    }

    /// Whether more waits for the disk than `Options::queue_bytes`. Nothing is refused then, as Raft
    /// takes a refused write for a broken disk: whoever proposes new entries should ask first and
    /// answer `Overloaded`.
    pub fn pressure(&self) -> bool {
        self.owner.shared.queue.pressure()
    }

    /// Whether the disk had no room for another segment when the log last looked, which it does four
    /// times a second until there is. Nothing is refused then: what was allocated before, three quarters
    /// of a segment as a rule, goes on being written, and what needs more waits for room or for the end
    /// of the log. Whoever proposes new entries should ask first and answer `StorageFull`, so that what
    /// is [left](Wal::left) is there for votes and purges. It ends by itself, when room is given back or
    /// when purges free segments.
    pub fn is_full(&self) -> bool {
        self.owner.shared.room.is_full()
    }

    /// Bytes that can still be written, beyond what waits, without another segment.
    pub fn left(&self) -> u64 {
        let shared = &self.owner.shared;
        shared.segments.rest().saturating_sub(shared.queue.bytes() as u64)
    }

    /// Sees to it that there is a segment on disk, so that a log that was never written to can be told from
    /// one that was lost. Blocks.
    ///
    /// # Errors
    /// `StorageFull` when there is no room for one; `Closed`, or what the log failed with.
    pub fn establish(&self) -> Result<()> {
        let shared = &self.owner.shared;
        if shared.segments.total().0 > 0 {
            return Ok(());
        }
        let (tell, told) = channel();
        // Nobody listens any more when there was no room.
        shared.barrier(Box::new(move |result| drop(tell.send(result))));
        loop {
            match told.recv_timeout(LOOK) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) if !self.is_full() => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Error::new(Kind::StorageFull, "there is no room for the log")
                        .with("bytes", shared.options.segment_bytes)
                        .with("directory", shared.dir.display()));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::internal("the log did not answer"));
                }
            }
        }
    }

    /// What the log failed with, if it did. It takes no more writes then: close it and open it again,
    /// which finds out what is on disk.
    pub fn failure(&self) -> Option<Error> {
        self.owner.shared.queue.failure()
    }

    /// How much disk the log takes, for whoever trims logs to a budget. Cheap, however many groups
    /// there are.
    pub fn usage(&self) -> Usage {
        let shared = &self.owner.shared;
        let (segments, bytes) = shared.segments.total();
        Usage {
            segments,
            bytes,
            spare_bytes: shared.segments.spares().1,
            live_bytes: shared.ledger.bytes(),
            garbage_bytes: shared.garbage(),
            entries: shared.ledger.entries(),
        }
    }

    /// Begins to [close](Wal::close), without waiting for it.
    pub fn end(&self) {
        self.owner.end();
    }

    /// Writes and syncs what is queued, then ends the threads. Every later call answers `Closed`, and
    /// another `close` what the first one did. On a full disk it does not wait for room: what needs
    /// more than there is is answered `StorageFull`.
    ///
    /// # Errors
    /// What the log failed with, if it did; `StorageFull` when the disk had no room for something that
    /// was queued; `WouldDeadlock` in a callback of the log.
    pub fn close(&self) -> Result<()> {
        self.owner.close()
    }
}

impl Owner {
    fn end(&self) {
        self.shared.keeper.stop();
        self.shared.queue.close();
        self.shared.room.end();
    }

    fn close(&self) -> Result<()> {
        self.end();
        if self.ids.contains(&thread::current().id()) {
            return Err(Error::new(
                Kind::WouldDeadlock,
                "the log cannot wait for its own callback",
            ));
        }
        let mut panicked = false;
        for thread in self.threads.lock().drain(..) {
            panicked |= thread.join().is_err();
        }
        match self.shared.queue.failure() {
            Some(error) => Err(error),
            None if panicked => Err(Error::internal("a thread of the log panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!(%error, "the log was not closed cleanly");
        }
    }
}

impl Shared {
    /// All groups, at this moment.
    fn groups(&self) -> Vec<Arc<Group>> {
        self.groups.lock().values().cloned().collect()
    }

    /// Bytes of the segments that are neither alive nor still to be written.
    fn garbage(&self) -> u64 {
        let used = self.segments.total().1.saturating_sub(self.segments.rest());
        used.saturating_sub(self.ledger.bytes())
    }

    /// Stops all writing and tells everyone who waits, these among them.
    fn fail(&self, error: &Error, ops: Vec<Op>) {
        tracing::error!(%error, "the log failed and takes no more writes");
        let (failure, waiting) = self.queue.fail(Failure::new(error));
        self.room.end();
        for op in ops.into_iter().chain(waiting) {
            op.tell(Err(failure.error()));
        }
    }

    /// Calls back when everything queued so far is durable, and a batch made after this call.
    fn barrier(&self, done: Done) {
        let mut done = Some(done);
        let added = self.queue.open().and_then(|queue| {
            queue.add(None, &mut done, |batch| {
                batch.force();
                batch.mark_upkeep();
                Ok(Effect::None)
            })
        });
        if let (Err(error), Some(done)) = (added, done) {
            done(Err(error));
        }
    }
}

/// Whether a log in that directory has ever been [established](Wal::establish).
///
/// # Errors
/// `Internal` when the directory cannot be read.
pub fn is_established(dir: &Path) -> Result<bool> {
    let at_dir = |error: std::io::Error| Error::from(error).with("directory", dir.display());
    for entry in std::fs::read_dir(dir).map_err(at_dir)? {
        let name = entry.map_err(at_dir)?.file_name();
        if name.to_str().is_some_and(|name| parse_name(name, "log").is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| Error::internal("a thread of the log could not be started").because(error))
}

#[cfg(test)]
mod fake_disk;
#[cfg(test)]
mod model;

#[cfg(test)]
#[path = "wal_test.rs"]
mod tests;
