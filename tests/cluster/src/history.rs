//! What is known of one key whose writes come one after the other.
//!
//! Every write has a number, from 1, and what it writes follows from the key and that number. So all that
//! must be remembered of a key is how far its writes have come, and any value that is ever read can be
//! told: the last acknowledged one, a later one whose outcome is open, or one that must not be there.

use std::hash::{DefaultHasher, Hash, Hasher};

use kvcore::api::{Bytes, Entry};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const KIB: f64 = 1024.0;
const MIB: usize = 1024 * 1024;

/// How far a key's writes have come.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// How many were begun.
    pub begun: u64,
    /// The last one that was acknowledged; 0 if none was: the key is absent.
    pub acknowledged: u64,
    /// The revision that the last acknowledged put was given.
    pub revision: u64,
    /// Those that failed with a promise not to have been applied.
    pub refused: Vec<u64>,
}

/// What a read says about the promises.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    /// An acknowledged write is not there.
    Lost(String),
    /// Something is there that was not written, or was refused, or carries a wrong revision.
    Wrong(String),
}

/// What the write of that number makes of the key: a value, or its absence.
///
/// One write in eight deletes. Most values are small, some have up to 64 KiB, some are empty, and one in a
/// thousand has 1 MiB.
pub(crate) fn written(key: &str, number: u64) -> Option<Bytes> {
    if number == 0 {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    (key, number).hash(&mut hasher);
    let mut random = SmallRng::seed_from_u64(hasher.finish());
    if random.random_bool(0.125) {
        return None;
    }
    let bytes = match random.random_range(0..1000) {
        0 => MIB,
        1..50 => 0,
        50..250 => (KIB * 64_f64.powf(random.random())) as usize,
        _ => KIB.powf(random.random()) as usize,
    };
    let mut value = vec![0; bytes];
    random.fill(&mut value[..]);
    Some(value.into())
}

impl History {
    /// Whether it is known what the key holds.
    pub fn is_certain(&self) -> bool {
        self.open(self.begun).next().is_none()
    }

    /// The writes up to one that may be there although they were not acknowledged, the oldest first.
    fn open(&self, last: u64) -> impl Iterator<Item = u64> {
        (self.acknowledged + 1..=last).filter(|number| !self.refused.contains(number))
    }

    /// Judges a read. `self` is how far the writes had come before it began, `after` when it was over.
    pub fn judge(&self, after: &History, key: &str, found: Option<&Entry>) -> Verdict {
        let value = found.map(|entry| &entry.value);
        let is = |number: &u64| written(key, *number).as_ref() == value;
        if is(&self.acknowledged) {
            return self.judge_revision(after, key, found);
        }
        let known = History { refused: after.refused.clone(), ..self.clone() };
        if known.open(after.begun).any(|number| is(&number)) {
            return Verdict::Right;
        }
        let (acknowledged, begun) = (self.acknowledged, after.begun);
        let what = match value {
            Some(value) => format!("{} bytes", value.len()),
            None => "nothing".into(),
        };
        let told = format!("{key} has {what}; write {acknowledged} of {begun} was acknowledged");
        match (0..acknowledged).rev().find(is) {
            Some(older) => Verdict::Lost(format!("{told}, and this is what write {older} made")),
            None if value.is_none() => Verdict::Lost(told),
            None => Verdict::Wrong(match after.refused.iter().find(|number| is(number)) {
                Some(refused) => format!("{told}, and this is write {refused}, which was refused"),
                None => format!("{told}, and nobody wrote this"),
            }),
        }
    }

    /// A value that was acknowledged has the revision that it was acknowledged with, unless a later write
    /// could have made the same.
    fn judge_revision(&self, after: &History, key: &str, found: Option<&Entry>) -> Verdict {
        let Some(revision) = found.map(|entry| entry.revision) else { return Verdict::Right };
        if after.begun > self.acknowledged || revision == self.revision {
            return Verdict::Right;
        }
        let expected = self.revision;
        Verdict::Wrong(format!("{key} has revision {revision}, and was given {expected}"))
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    const KEY: &str = "key";

    fn history(acknowledged: u64, begun: u64, refused: &[u64]) -> History {
        History { begun, acknowledged, revision: 10, refused: refused.to_vec() }
    }

    /// What a read finds of that write.
    fn entry(number: u64) -> Option<Entry> {
        written(KEY, number).map(|value| Entry { value, revision: 10 })
    }

    /// The first few writes that put something, each something else.
    fn puts() -> Vec<u64> {
        (1..)
            .filter(|number| written(KEY, *number).is_some_and(|value| value.len() > 8))
            .take(4)
            .collect()
    }

    fn delete() -> u64 {
        (1..).find(|number| written(KEY, *number).is_none()).unwrap()
    }

    #[test]
    fn writes_are_of_all_kinds_and_can_be_told() {
        let all: Vec<_> = (1..=5000).map(|number| written(KEY, number)).collect();
        assert_eq!(all[7], written(KEY, 8), "the same each time");
        let count = |of: fn(&Option<Bytes>) -> bool| all.iter().filter(|write| of(write)).count();
        assert!((400..900).contains(&count(|write| write.is_none())));
        let sized = |least: usize, most: usize| {
            let of = |write: &&Option<Bytes>| {
                write.as_ref().is_some_and(|value| (least..=most).contains(&value.len()))
            };
            all.iter().filter(of).count()
        };
        assert!(sized(0, 0) > 100 && sized(1, 1023) > 2000 && sized(1024, 65_535) > 500);
        assert!((1..20).contains(&sized(MIB, MIB)));
        assert_ne!(written("other", 8), written(KEY, 8));
    }

    #[test]
    fn what_may_be_there_is_right() {
        let [one, two, three, four] = puts()[..] else { panic!("four puts") };
        let at = history(two, two, &[]);
        assert_eq!(at.judge(&at, KEY, entry(two).as_ref()), Verdict::Right);
        let open = history(two, four, &[]);
        for number in [two, three, four] {
            assert_eq!(open.judge(&open, KEY, entry(number).as_ref()), Verdict::Right);
        }
        // Begun and acknowledged while the read was under way.
        let before = history(one, one, &[]);
        let after = history(three, three, &[]);
        for number in [one, two, three] {
            assert_eq!(before.judge(&after, KEY, entry(number).as_ref()), Verdict::Right);
        }
        let deleted = history(delete(), delete(), &[]);
        assert_eq!(deleted.judge(&deleted, KEY, None), Verdict::Right);
        let never = History::default();
        assert_eq!(never.judge(&never, KEY, None), Verdict::Right);
    }

    #[test]
    fn what_must_not_be_there_is_told() {
        let [one, two, three, four] = puts()[..] else { panic!("four puts") };
        let at = history(two, three, &[three]);
        let judge = |found: Option<Entry>| at.judge(&at, KEY, found.as_ref());
        assert!(
            matches!(judge(entry(one)), Verdict::Lost(why) if why.contains("write 1 made") || one != 1)
        );
        assert!(matches!(judge(entry(three)), Verdict::Wrong(why) if why.contains("refused")));
        assert!(matches!(judge(entry(four)), Verdict::Wrong(why) if why.contains("nobody")));
        if !(1..=three).any(|number| written(KEY, number).is_none()) {
            assert!(matches!(judge(None), Verdict::Lost(_)));
        }
        let settled = history(two, two, &[]);
        let another = entry(two).map(|entry| Entry { revision: 11, ..entry });
        assert!(matches!(settled.judge(&settled, KEY, another.as_ref()), Verdict::Wrong(_)));
        let gone = history(two, two, &[]);
        assert!(matches!(gone.judge(&gone, KEY, None), Verdict::Lost(_)));
    }

    #[test]
    fn certainty_ends_with_an_open_write() {
        assert!(history(2, 2, &[]).is_certain());
        assert!(history(2, 3, &[3]).is_certain());
        assert!(!history(2, 4, &[3]).is_certain());
    }
}
