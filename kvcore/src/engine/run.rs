//! A part of the state outside an engine: what one replica gives to another, run by run.
//!
//! Here is what runs of every engine have in common: the walk over a view that they are made from, and
//! what they must be before an engine lets them in.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::{Family, View};
use crate::types::{Error, Kind, Result};

/// A part of an engine: keys of a family from `start` up to but without `end`.
pub type Part = (Family, Range<Vec<u8>>);

/// Parts that do not overlap.
pub type Ranges = Vec<Part>;

/// A sorted run of one family's pairs, outside an engine. Only an engine of the kind that made it can
/// read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// The family that the pairs belong to.
    pub family: Family,
    /// The pairs, at least one.
    pub content: Content,
}

/// Where the pairs of a run are.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// In a file, of a file-based engine.
    File {
        /// The file. After an import it may have become one of the engine's own files under another
        /// name: it may be removed, but never be written to again, not even to replace what it holds.
        path: PathBuf,
        /// The size of the file.
        bytes: u64,
    },
    /// Here, of an engine in memory.
    Memory(Bytes),
}

impl Run {
    /// How many bytes it takes to keep or to send.
    pub fn bytes(&self) -> u64 {
        match &self.content {
            Content::File { bytes, .. } => *bytes,
            Content::Memory(bytes) => bytes.len() as u64,
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::File { path, bytes } => write!(f, "{} of {bytes} bytes", path.display()),
            Content::Memory(bytes) => write!(f, "{} bytes in memory", bytes.len()),
        }
    }
}

/// Some pairs of one of the ranges that are walked over, ascending.
pub(super) struct Stretch {
    /// Which range, counted from 0.
    #[cfg_attr(not(feature = "rocksdb"), expect(dead_code))]
    pub(super) range: usize,
    pub(super) family: Family,
    pub(super) pairs: Vec<(Bytes, Bytes)>,
}

/// Walks over ranges of a view, some pairs at a time. Ends after an error.
pub(super) struct Walk {
    view: Arc<dyn View>,
    ranges: std::iter::Enumerate<std::vec::IntoIter<Part>>,
    current: Option<(usize, Part)>,
    bytes: usize,
}

impl Walk {
    /// Each step takes about so many bytes of keys and values.
    pub(super) fn new(view: Arc<dyn View>, ranges: Ranges, bytes: usize) -> Walk {
        let mut ranges = ranges.into_iter().enumerate();
        let current = ranges.next();
        Walk { view, ranges, current, bytes }
    }

    fn step(&mut self) -> Result<Option<Stretch>> {
        while let Some((number, (family, range))) = &mut self.current {
            // A pair takes more memory than its bytes: many small ones must not make a large step.
            let items = self.bytes / 64 + 1;
            let pairs = self.view.scan(*family, range.clone(), false, items, self.bytes)?;
            if let Some((last, _)) = pairs.last() {
                // The smallest key behind `last` is `last` with a zero byte.
                range.start = [last.as_ref(), &[0]].concat();
                return Ok(Some(Stretch { range: *number, family: *family, pairs }));
            }
            self.current = self.ranges.next();
        }
        Ok(None)
    }
}

impl Iterator for Walk {
    type Item = Result<Stretch>;

    fn next(&mut self) -> Option<Result<Stretch>> {
        let step = self.step();
        if step.is_err() {
            self.current = None;
        }
        step.transpose()
    }
}

/// The first and the last key of a run.
pub(super) struct Span {
    family: Family,
    first: Vec<u8>,
    last: Vec<u8>,
}

/// Looks at the keys of one run, one after the other: they must ascend, and lie inside the ranges.
pub(super) struct Inspection<'a> {
    family: Family,
    ranges: &'a [Part],
    /// The range that the last key lay in.
    inside: Option<&'a Range<Vec<u8>>>,
    first: Option<Vec<u8>>,
    last: Vec<u8>,
}

impl<'a> Inspection<'a> {
    pub(super) fn new(family: Family, ranges: &'a [Part]) -> Inspection<'a> {
        Inspection { family, ranges, inside: None, first: None, last: Vec::new() }
    }

    /// Looks at the next key.
    pub(super) fn key(&mut self, key: &[u8]) -> Result<()> {
        if self.first.is_some() && key <= self.last.as_slice() {
            return Err(Error::new(Kind::Corruption, "the keys of a run do not ascend"));
        }
        let holds = |range: &Range<Vec<u8>>| *range.start <= *key && *key < *range.end;
        if !self.inside.is_some_and(holds) {
            let mut ranges = self.ranges.iter().filter(|(family, _)| *family == self.family);
            self.inside = ranges.find(|(_, range)| holds(range)).map(|(_, range)| range);
            if self.inside.is_none() {
                return Err(Error::new(Kind::Corruption, "a run holds a key outside the ranges"));
            }
        }
        if self.first.is_none() {
            self.first = Some(key.to_vec());
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        Ok(())
    }

    /// After the last key.
    pub(super) fn end(self) -> Result<Span> {
        let empty = || Error::new(Kind::Corruption, "a run holds no pairs");
        Ok(Span { family: self.family, first: self.first.ok_or_else(empty)?, last: self.last })
    }
}

/// Sees to it that no key lies in more than one run.
pub(super) fn disjoint(mut spans: Vec<Span>) -> Result<()> {
    spans.sort_by(|one, other| (one.family, &one.first).cmp(&(other.family, &other.first)));
    let overlap = |pair: &[Span]| matches!(pair, [one, other] if one.family == other.family && one.last >= other.first);
    match spans.windows(2).any(overlap) {
        true => Err(Error::new(Kind::Corruption, "two runs overlap")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect(family: Family, keys: &[&str]) -> Result<Span> {
        let ranges = [
            (Family::Data, b"b".to_vec()..b"d".to_vec()),
            (Family::Meta, b"x".to_vec()..b"y".to_vec()),
            (Family::Data, b"f".to_vec()..b"g".to_vec()),
        ];
        let mut inspection = Inspection::new(family, &ranges);
        keys.iter().try_for_each(|key| inspection.key(key.as_bytes()))?;
        inspection.end()
    }

    #[test]
    fn keys_ascend_inside_the_ranges() {
        assert!(inspect(Family::Data, &["b", "c", "cc", "f", "fz"]).is_ok());
        assert!(inspect(Family::Meta, &["x", "x\0"]).is_ok());
        for wrong in [
            vec![],
            vec!["c", "b"],
            vec!["c", "c"],
            vec!["a"],
            vec!["b", "d"],
            vec!["e"],
            vec!["f", "g"],
            vec!["x"],
        ] {
            let error = inspect(Family::Data, &wrong).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), Kind::Corruption, "{wrong:?}");
        }
    }

    #[test]
    fn runs_do_not_overlap() {
        let spans = |keys: &[(Family, [&str; 2])]| {
            keys.iter().map(|(family, keys)| inspect(*family, keys).unwrap()).collect::<Vec<_>>()
        };
        let [data, meta] = [Family::Data, Family::Meta];
        let apart = [(data, ["f", "fa"]), (meta, ["x", "xa"]), (data, ["b", "f\0"])];
        assert!(disjoint(spans(&apart[..2])).is_ok());
        assert!(disjoint(spans(&apart)).is_err());
        assert!(disjoint(spans(&[(data, ["ca", "cb"]), (data, ["b", "ca"])])).is_err());
        assert!(disjoint(spans(&[(data, ["cb", "cc"]), (data, ["b", "ca"])])).is_ok());
    }
}
