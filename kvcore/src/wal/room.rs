//! Whether the disk has room for the next segment.
//!
//! A full disk is no failure of the log. What room was taken before goes on being written; a writer
//! that needs more waits here, with its batch in hand, until the keeper has found some or the log is
//! closed.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

/// What the writer, the keeper and whoever asks know about it.
#[derive(Debug, Default)]
pub(super) struct Room {
    state: Mutex<State>,
    changed: Condvar,
    full: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    wanted: Option<u64>,
    /// Grows with each find.
    finds: u64,
    ended: bool,
}

impl Room {
    /// Whether there was no room when somebody last looked.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// The size of the file that the writer waits for, in bytes.
    pub fn wanted(&self) -> Option<u64> {
        self.state.lock().wanted
    }

    /// There is no room for another file.
    pub fn lack(&self) {
        if !self.full.swap(true, Ordering::AcqRel) {
            tracing::warn!("the disk has no room for another segment of the log");
        }
    }

    /// There is a file of that size, ready to become a segment.
    pub fn found(&self, size: u64) {
        let mut state = self.state.lock();
        state.finds += 1;
        if state.wanted.is_none_or(|wanted| size >= wanted)
            && self.full.swap(false, Ordering::AcqRel)
        {
            tracing::info!("the disk has room for the log again");
        }
        self.changed.notify_all();
    }

    /// How many files were found so far. To be asked before looking for one, so that none is missed.
    pub fn finds(&self) -> u64 {
        self.state.lock().finds
    }

    /// The writer will wait for a file of that size.
    pub fn want(&self, size: u64) {
        self.state.lock().wanted = Some(size);
        self.lack();
    }

    /// Waits until more files were found than `finds`; whether the log still goes on.
    pub fn wait(&self, finds: u64) -> bool {
        let mut state = self.state.lock();
        while state.finds == finds && !state.ended {
            self.changed.wait(&mut state);
        }
        state.wanted = None;
        !state.ended
    }

    /// Nobody waits any more, nor will.
    pub fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_less_than_is_wanted_is_none() {
        let room = Room::default();
        assert!(!room.is_full());
        let finds = room.finds();
        room.want(1000);
        assert!(room.is_full());
        room.found(999);
        assert!(room.is_full());
        assert!(room.wait(finds), "but it is worth a look");
        room.want(1000);
        room.found(1000);
        assert!(!room.is_full());
    }

    #[test]
    fn a_find_between_the_look_and_the_wait_is_not_missed() {
        let room = Room::default();
        let finds = room.finds();
        room.found(10);
        room.want(10);
        assert!(room.wait(finds));
    }

    #[test]
    fn the_end_of_the_log_ends_every_wait() {
        let room = Room::default();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| room.wait(0));
            room.end();
            assert!(!waits.join().unwrap());
        });
        assert!(!room.wait(0));
    }
}
