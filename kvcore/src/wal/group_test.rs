//! What settles after the memory went on.

use super::*;
use crate::types::{GroupId, ReplicaId};
use crate::wal::tests::{position, record};

fn queued(batch: u64, at: u32, length: usize) -> Home {
    Home { place: Place::Queued { batch, at }, length: (HEADER + length) as u32 }
}

fn stored(segment: u64, at: u32, length: usize) -> Home {
    Home { place: Place::Stored { segment, at }, length: (HEADER + length) as u32 }
}

/// Entries 1 to 3 of ten bytes, on disk in segment 1 behind offset 1000.
fn settled() -> Contents {
    let mut contents = Contents::default();
    for index in 1..=3 {
        contents.push(record(1, index, 10), queued(7, 50 * index as u32, 10));
    }
    contents.settle(&Effect::Entries { first: 1, last: 3 }, 7, 1, 1000);
    contents
}

fn home_of(contents: &Contents, index: u64) -> Home {
    contents.slot(index).unwrap().home
}

#[test]
fn a_batch_gives_its_entries_their_place() {
    let contents = settled();
    assert_eq!(home_of(&contents, 3), stored(1, 1150, 10));
    assert_eq!(contents.share().live(), &BTreeMap::from([(1, 150)]));
}

#[test]
fn an_entry_that_took_anothers_index_waits_for_its_own_batch() {
    let mut contents = Contents::default();
    contents.push(record(1, 1, 10), queued(7, 40, 10));
    contents.push(record(1, 2, 10), queued(7, 90, 10));
    contents.truncate(1);
    contents.push(record(2, 2, 20), queued(8, 40, 20));
    contents.settle(&Effect::Entries { first: 1, last: 2 }, 7, 1, 1000);
    assert_eq!(home_of(&contents, 1), stored(1, 1040, 10));
    assert_eq!(home_of(&contents, 2), queued(8, 40, 20));
    contents.evict(2);
    assert_eq!(contents.cached.len(), 1, "what is not on disk stays in memory");
    contents.settle(&Effect::Entries { first: 2, last: 2 }, 8, 2, 512);
    assert_eq!(home_of(&contents, 2), stored(2, 552, 20));
    assert_eq!(contents.share().live(), &BTreeMap::from([(1, 50), (2, 60)]));
}

#[test]
fn entries_that_went_before_they_settled_count_nowhere() {
    let mut contents = Contents::default();
    for index in 1..=4 {
        contents.push(record(1, index, 10), queued(7, 50 * index as u32, 10));
    }
    contents.purge(position(1, 2), queued(8, 40, 0));
    contents.truncate(1);
    contents.settle(&Effect::Entries { first: 1, last: 4 }, 7, 1, 1000);
    assert_eq!(contents.share().live(), &BTreeMap::from([(1, 50)]));
    contents.settle(&Effect::Mark(Mark::Floor, queued(8, 40, 0)), 8, 2, 512);
    assert_eq!(contents.share().live(), &BTreeMap::from([(1, 50), (2, 40)]));
}

#[test]
fn a_copy_replaces_only_the_entry_it_was_made_of() {
    let mut contents = settled();
    let moved = |contents: &Contents, index, at| Moved {
        index,
        from: home_of(contents, index),
        to: queued(9, at, 10),
    };
    let effect = Effect::Moved(vec![moved(&contents, 2, 40), moved(&contents, 3, 90)]);
    contents.truncate(2);
    contents.push(record(2, 3, 10), queued(10, 40, 10));
    contents.settle(&effect, 9, 5, 512);
    assert_eq!(home_of(&contents, 2), stored(5, 552, 10));
    assert_eq!(home_of(&contents, 3), queued(10, 40, 10));
    assert_eq!(contents.share().live(), &BTreeMap::from([(1, 50), (5, 50)]));
}

#[test]
fn only_the_newest_vote_counts() {
    let mut contents = Contents::default();
    contents.rehome(Mark::Vote, queued(1, 40, 5));
    contents.rehome(Mark::Vote, queued(2, 40, 6));
    contents.settle(&Effect::Mark(Mark::Vote, queued(1, 40, 5)), 1, 1, 512);
    assert!(contents.share().live().is_empty());
    contents.settle(&Effect::Mark(Mark::Vote, queued(2, 40, 6)), 2, 3, 512);
    assert_eq!(contents.share().live(), &BTreeMap::from([(3, 46)]));
    contents.rehome(Mark::Vote, queued(3, 40, 5));
    assert!(contents.share().live().is_empty());
}

#[test]
fn a_removed_log_takes_nothing_back() {
    let tag = Tag { group: GroupId::Metadata, replica: ReplicaId(1) };
    let group = Group::new(tag, settled());
    let mut contents = group.lock();
    contents.remove();
    contents.settle(&Effect::Mark(Mark::Committed, queued(9, 40, 5)), 9, 1, 512);
    contents.settle(&Effect::Entries { first: 1, last: 3 }, 7, 1, 512);
    assert!(contents.share().live().is_empty());
    assert!(contents.check_present().is_err());
}

#[test]
fn as_much_is_kept_of_the_newest_as_is_asked_for() {
    let mut contents = Contents::default();
    assert_eq!(contents.purgeable(0), None);
    for index in 5..=9 {
        contents.push(record(1, index, 10 * index as usize), queued(7, 40, 10 * index as usize));
    }
    contents.settle(&Effect::Entries { first: 5, last: 7 }, 7, 1, 512);
    // They weigh 90, 100, 110, 120 and 130 bytes, wherever they are.
    for keep in 0..=560 {
        let behind = |index: &u64| (*index + 1..=9).map(|index| 40 + 10 * index).sum::<u64>();
        let expected = (5..=9).rev().find(|index| behind(index) >= keep);
        assert_eq!(contents.purgeable(keep), expected, "{keep}");
    }
    contents.purge(position(1, 6), queued(8, 40, 0));
    assert_eq!(contents.purgeable(250), Some(7));
    assert_eq!(contents.purgeable(251), None);
    contents.truncate(1);
    assert_eq!((contents.purgeable(0), contents.purgeable(110)), (Some(7), None));
    contents.purge(position(1, 7), queued(9, 40, 0));
    assert_eq!(contents.purgeable(0), None);
}
