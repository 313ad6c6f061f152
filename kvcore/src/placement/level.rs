//! Levelling: the lightest takes from the heaviest until everyone is within bounds.

use std::collections::{BTreeSet, VecDeque};

use super::load::Loads;
use super::ring::Place;

/// Something that nodes hold for partitions, known by their numbers, and can take from each other.
pub(super) trait Exchange {
    /// The partition that `taker` would best take from `donor`, if it may take any but `taken`.
    fn offer(&self, taker: Place, donor: Place, taken: &[usize]) -> Option<usize>;

    /// Has `taker` take `partition` from `donor`.
    fn exchange(&mut self, partition: usize, taker: Place, donor: Place);
}

#[derive(Clone, Copy)]
struct Link {
    partition: usize,
    taker: Place,
    donor: Place,
}

/// Exchanges until every load is within its bounds, or nothing that is allowed makes it better.
///
/// Where nobody who is light may take from anybody who is heavy, because of zones or because they
/// hold the same partitions already, it goes through others: one takes from the heavy node and
/// gives something else to the light one.
pub(super) fn level(loads: &mut Loads, held: &mut impl Exchange) {
    while !loads.is_level() {
        let takers = loads.lightest_first();
        let donors = loads.heaviest_first();
        let chain = [1, donors.len()].into_iter().find_map(|longest| {
            takers.iter().find_map(|taker| chain(loads, held, *taker, &donors, longest))
        });
        let Some((first, last)) =
            chain.as_deref().and_then(|chain| chain.first().zip(chain.last()))
        else {
            break;
        };
        loads.add(first.taker);
        loads.remove(last.donor);
        for link in chain.iter().flatten() {
            held.exchange(link.partition, link.taker, link.donor);
        }
    }
}

/// The shortest chain of at most `longest` exchanges, each with its own partition, that begins with
/// `taker` and ends with a donor for whom it is worth it.
fn chain(
    loads: &Loads,
    held: &impl Exchange,
    taker: Place,
    donors: &[Place],
    longest: usize,
) -> Option<Vec<Link>> {
    if !donors.iter().any(|donor| loads.is_worth(taker, *donor)) {
        return None;
    }
    let mut reached = BTreeSet::from([taker]);
    let mut chains = VecDeque::from([Vec::<Link>::new()]);
    while let Some(chain) = chains.pop_front() {
        let end = chain.last().map_or(taker, |link| link.donor);
        let taken: Vec<usize> = chain.iter().map(|link| link.partition).collect();
        for donor in donors.iter().copied() {
            let worth = loads.is_worth(taker, donor);
            if reached.contains(&donor) || (!worth && chain.len() + 1 >= longest) {
                continue;
            }
            let Some(partition) = held.offer(end, donor, &taken) else { continue };
            let mut longer = chain.clone();
            longer.push(Link { partition, taker: end, donor });
            if worth {
                return Some(longer);
            }
            reached.insert(donor);
            chains.push_back(longer);
        }
    }
    None
}
