//! What each node holds, against what is fair.

use std::cmp::Ordering;

use super::ring::Place;
use super::share::REPLICA;

/// The load of every member. What is counted, replicas or leaderships, is the owner's business.
pub(super) struct Loads {
    by_place: Vec<Load>,
}

#[derive(Clone, Copy)]
struct Load {
    /// In millionths of what is counted; at least 1.
    share: u64,
    held: u64,
}

impl Load {
    /// The most it may hold.
    fn cap(self) -> u64 {
        (self.share * 105).div_ceil(100 * REPLICA)
    }

    /// The least it should hold.
    fn least(self) -> u64 {
        self.share * 95 / (100 * REPLICA)
    }

    /// Compares what one more would make of each, as a part of its share.
    fn taking(self, other: Load) -> Ordering {
        ((2 * self.held + 1) * other.share).cmp(&((2 * other.held + 1) * self.share))
    }

    /// Compares what one less would make of each, as a part of its share. The loads are doubled,
    /// and moved by one to the other side so as not to fall below zero.
    fn giving(self, other: Load) -> Ordering {
        let (left, right) = (2 * self.held * other.share, 2 * other.held * self.share);
        (left + self.share).cmp(&(right + other.share))
    }
}

impl Loads {
    /// Nothing held yet, and these shares in millionths.
    pub(super) fn new(shares: impl IntoIterator<Item = u64>) -> Loads {
        let loads = shares.into_iter().map(|share| Load { share, held: 0 });
        Loads { by_place: loads.collect() }
    }

    /// Counts one more on `node`.
    pub(super) fn add(&mut self, node: Place) {
        if let Some(load) = self.by_place.get_mut(node) {
            load.held += 1;
        }
    }

    /// Counts one less on `node`.
    pub(super) fn remove(&mut self, node: Place) {
        if let Some(load) = self.by_place.get_mut(node) {
            load.held = load.held.saturating_sub(1);
        }
    }

    /// Whether `node` may hold one more.
    pub(super) fn has_room(&self, node: Place) -> bool {
        self.by_place.get(node).is_some_and(|load| load.held < load.cap())
    }

    /// Whether everyone holds what it should.
    pub(super) fn is_level(&self) -> bool {
        self.by_place.iter().all(|load| load.held >= load.least() && load.held <= load.cap())
    }

    /// Whether it is worth it that `taker` gets one from `donor`.
    ///
    /// It is when one of them comes within its bounds, or nearer to them, and the other does not
    /// leave them; or when both are on the wrong side, and the heavier gives to the lighter. So an
    /// exchange lowers the number by which all nodes together are out of bounds, or keeps that and
    /// lowers the sum of held²/share: exchanges come to an end.
    pub(super) fn is_worth(&self, taker: Place, donor: Place) -> bool {
        let (Some(to), Some(from)) = (self.by_place.get(taker), self.by_place.get(donor)) else {
            return false;
        };
        let (lacks, exceeds) = (to.held < to.least(), from.held > from.cap());
        let (has_room, can_spare) = (to.held < to.cap(), from.held > from.least());
        let is_lighter = (2 * to.held + 1) * from.share + to.share < 2 * from.held * to.share;
        (lacks && (can_spare || is_lighter)) || (exceeds && (has_room || is_lighter))
    }

    /// Every node, the one that should take first.
    pub(super) fn lightest_first(&self) -> Vec<Place> {
        self.sorted(|left, right| left.taking(right))
    }

    /// Every node, the one that should give first.
    pub(super) fn heaviest_first(&self) -> Vec<Place> {
        self.sorted(|left, right| right.giving(left))
    }

    fn sorted(&self, order: impl Fn(Load, Load) -> Ordering) -> Vec<Place> {
        let mut loads: Vec<(Place, Load)> = self.by_place.iter().copied().enumerate().collect();
        loads.sort_by(|left, right| order(left.1, right.1));
        loads.into_iter().map(|(node, _)| node).collect()
    }

    /// The one of `nodes` that should take; of equals, the one with the lowest id.
    pub(super) fn lightest(&self, nodes: impl IntoIterator<Item = Place>) -> Option<Place> {
        let loads = nodes.into_iter().filter_map(|node| Some((node, *self.by_place.get(node)?)));
        let order = |left: &(Place, Load), right: &(Place, Load)| {
            left.1.taking(right.1).then(left.0.cmp(&right.0))
        };
        loads.min_by(order).map(|(node, _)| node)
    }

    /// The one of `nodes` that should give; of equals, the one with the lowest id.
    pub(super) fn heaviest(&self, nodes: impl IntoIterator<Item = Place>) -> Option<Place> {
        let loads = nodes.into_iter().filter_map(|node| Some((node, *self.by_place.get(node)?)));
        let order = |left: &(Place, Load), right: &(Place, Load)| {
            right.1.giving(left.1).then(left.0.cmp(&right.0))
        };
        loads.min_by(order).map(|(node, _)| node)
    }
}
