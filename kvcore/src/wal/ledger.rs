//! What is alive in the segments, counted over all groups as it changes, so that asking costs nothing
//! however many groups there are.
//!
//! Each group keeps its [`Share`] under its own lock; the sums of all shares are the [`Ledger`], whose
//! lock is held for a moment only, and under which nothing else is locked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::group::Home;

/// The sums over all groups.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    counts: Mutex<Counts>,
    entries: AtomicU64,
    churn: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    live: BTreeMap<u64, u64>,
    bytes: u64,
}

impl Ledger {
    /// Live bytes by segment; none is zero.
    pub fn live(&self) -> BTreeMap<u64, u64> {
        self.counts.lock().live.clone()
    }

    /// Live bytes in that segment.
    pub fn live_in(&self, segment: u64) -> u64 {
        self.counts.lock().live.get(&segment).copied().unwrap_or_default()
    }

    /// Live bytes in all segments.
    pub fn bytes(&self) -> u64 {
        self.counts.lock().bytes
    }

    /// Live entries, those still queued among them.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Bytes that callers have had written, and of their records that died, since the log was opened: what
    /// writing live records again can win comes from these. What was written again, and what died by
    /// that, is not among them. Never falls.
    pub fn churn(&self) -> u64 {
        self.churn.load(Ordering::Relaxed)
    }

    /// Callers had that many bytes written.
    pub fn stir(&self, bytes: u64) {
        self.churn.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// One group's part.
#[derive(Debug, Default)]
pub(super) struct Share {
    ledger: Arc<Ledger>,
    live: BTreeMap<u64, u64>,
    bytes: u64,
    entries: u64,
}

impl Share {
    /// An empty share of that ledger.
    pub fn of(ledger: Arc<Ledger>) -> Share {
        Share { ledger, ..Share::default() }
    }

    /// Live bytes by segment; none is zero.
    pub fn live(&self) -> &BTreeMap<u64, u64> {
        &self.live
    }

    /// Live bytes in all segments.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// There are that many entries from now on.
    pub fn set_entries(&mut self, entries: usize) {
        let entries = entries as u64;
        // It may be less; the sum wraps around to what it should be.
        self.ledger.entries.fetch_add(entries.wrapping_sub(self.entries), Ordering::Relaxed);
        self.entries = entries;
    }

    /// Records came to lie there.
    pub fn add(&mut self, homes: impl IntoIterator<Item = Home>) {
        each_run(homes, |segment, bytes| {
            raise(&mut self.live, segment, bytes);
            self.bytes += bytes;
            let mut counts = self.ledger.counts.lock();
            raise(&mut counts.live, segment, bytes);
            counts.bytes += bytes;
        });
    }

    /// Records that lay there died.
    pub fn bury(&mut self, homes: impl IntoIterator<Item = Home>) {
        each_run(homes, |segment, bytes| {
            self.take(segment, bytes);
            self.ledger.stir(bytes);
        });
    }

    /// A record that lay there lies elsewhere from now on.
    pub fn move_out(&mut self, home: Home) {
        each_run([home], |segment, bytes| self.take(segment, bytes));
    }

    /// Everything died.
    pub fn clear(&mut self) {
        self.set_entries(0);
        while let Some((segment, bytes)) = self.live.first_key_value() {
            let (segment, bytes) = (*segment, *bytes);
            self.take(segment, bytes);
            self.ledger.stir(bytes);
        }
    }

    fn take(&mut self, segment: u64, bytes: u64) {
        lower(&mut self.live, segment, bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        let mut counts = self.ledger.counts.lock();
        lower(&mut counts.live, segment, bytes);
        counts.bytes = counts.bytes.saturating_sub(bytes);
    }
}

/// Takes neighbours in one segment together. What is not on disk counts nowhere.
fn each_run(homes: impl IntoIterator<Item = Home>, mut run: impl FnMut(u64, u64)) {
    let mut current: Option<(u64, u64)> = None;
    for home in homes {
        let Some(segment) = home.segment() else { continue };
        let length = u64::from(home.length);
        match &mut current {
            Some((at, bytes)) if *at == segment => *bytes += length,
            _ => {
                if let Some((at, bytes)) = current.replace((segment, length)) {
                    run(at, bytes);
                }
            }
        }
    }
    if let Some((at, bytes)) = current {
        run(at, bytes);
    }
}

fn raise(live: &mut BTreeMap<u64, u64>, segment: u64, bytes: u64) {
    *live.entry(segment).or_default() += bytes;
}

fn lower(live: &mut BTreeMap<u64, u64>, segment: u64, bytes: u64) {
    if let Some(held) = live.get_mut(&segment) {
        *held = held.saturating_sub(bytes);
        if *held == 0 {
            live.remove(&segment);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::Place;
    use super::*;

    fn home(segment: u64, length: u32) -> Home {
        Home { place: Place::Stored { segment, at: 0 }, length }
    }

    const QUEUED: Home = Home { place: Place::Queued { batch: 1, at: 40 }, length: 1000 };

    #[test]
    fn the_sums_are_those_of_the_shares() {
        let ledger = Arc::new(Ledger::default());
        let mut one = Share::of(ledger.clone());
        let mut two = Share::of(ledger.clone());
        one.add([home(1, 10), home(1, 20), QUEUED, home(2, 30), home(1, 5)]);
        two.add([home(2, 7)]);
        one.set_entries(5);
        two.set_entries(1);
        assert_eq!(one.live(), &BTreeMap::from([(1, 35), (2, 30)]));
        assert_eq!(ledger.live(), BTreeMap::from([(1, 35), (2, 37)]));
        assert_eq!((one.bytes(), two.bytes(), ledger.bytes(), ledger.entries()), (65, 7, 72, 6));
        one.bury([home(1, 10), home(1, 20), home(1, 5), QUEUED]);
        one.set_entries(2);
        assert_eq!(ledger.live(), BTreeMap::from([(2, 37)]));
        assert_eq!((ledger.bytes(), ledger.entries(), ledger.live_in(2)), (37, 3, 37));
        one.clear();
        assert_eq!((one.bytes(), ledger.live()), (0, BTreeMap::from([(2, 7)])));
        assert_eq!((ledger.bytes(), ledger.entries()), (7, 1));
    }

    #[test]
    fn what_moves_is_no_churn() {
        let ledger = Arc::new(Ledger::default());
        let mut share = Share::of(ledger.clone());
        share.add([home(1, 10), home(1, 20)]);
        assert_eq!(ledger.churn(), 0);
        share.move_out(home(1, 10));
        share.add([home(2, 10)]);
        assert_eq!((ledger.churn(), ledger.bytes()), (0, 30));
        share.bury([home(2, 10)]);
        ledger.stir(512);
        assert_eq!(ledger.churn(), 522);
        share.clear();
        assert_eq!(ledger.churn(), 542);
    }
}
