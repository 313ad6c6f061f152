//! The engine that lives in this process's memory, and ends with it.
//!
//! Each family is a persistent B+ tree: copies share their nodes, and a write copies only the nodes
//! on its way that somebody else still looks at. A view is such a copy, made in constant time, and
//! writers never wait for its readers.

use std::fmt;
use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use parking_lot::{Mutex, RwLock};

use super::page::Page;
use super::run::{Inspection, Walk, disjoint};
use super::{Batch, Content, Engine, Family, Operation, Part, Ranges, Run, Runs, View, packed};
use crate::types::{Error, Kind, Result};

/// What a pair takes beside its bytes, estimated: two handles in a tree node that is two thirds full,
/// and the allocator's and reference counter's share for two buffers.
const PAIR_OVERHEAD: usize = 176;

/// About how many bytes of keys and values one run carries.
const RUN_BYTES: usize = 1024 * 1024;

/// An engine in memory with a byte budget. Reads and views never wait for each other; writes are
/// applied one at a time, and an import is one of them.
pub struct MemoryEngine {
    families: RwLock<Families>,
    /// Held by whoever changes the families, so that a long change can be made on a copy.
    writer: Mutex<()>,
    limit_bytes: usize,
}

impl MemoryEngine {
    /// An empty engine that holds up to `limit_bytes`, counting keys, values and an estimated
    /// overhead for each pair, but not what only a [`View`] still holds. The process takes within a
    /// fifth of what is counted for pairs that were put once; where values of other lengths replace
    /// them over and over, an allocator that does not move memory may waste half as much again.
    ///
    /// A batch that makes [`Family::Data`] grow and would bring the whole above the limit is refused
    /// with `Overloaded`. What only removes or shrinks is always let through, and so are records in
    /// [`Family::Meta`], although they count: a delete is remembered by one, and refusing it would
    /// leave a full engine with no way out. Their number is bounded by the limits on sessions.
    pub fn new(limit_bytes: usize) -> MemoryEngine {
        let families = RwLock::new(Families::default());
        MemoryEngine { families, writer: Mutex::new(()), limit_bytes }
    }

    /// The bytes held, as counted against the limit.
    pub fn bytes(&self) -> usize {
        self.families.read().bytes()
    }

    /// Whether what is held may become `next`.
    fn admit(&self, families: &Families, next: &Families) -> Result<()> {
        if next.bytes() > self.limit_bytes && next.data.bytes > families.data.bytes {
            return Err(Error::new(Kind::Overloaded, "the memory for data is used up")
                .with("bytes", next.bytes())
                .with("limit", self.limit_bytes));
        }
        Ok(())
    }
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryEngine")
            .field("bytes", &self.bytes())
            .field("limit_bytes", &self.limit_bytes)
            .finish()
    }
}

impl Engine for MemoryEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.families.read().family(family).pairs.get(key).cloned())
    }

    fn get_persisted(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.get(family, key)
    }

    fn write(&self, batch: &Batch) -> Result<()> {
        let _alone = self.writer.lock();
        let mut families = self.families.write();
        let at_most = batch.operations().iter().map(most_growth).sum::<usize>();
        if families.bytes().saturating_add(at_most) <= self.limit_bytes {
            families.apply(batch);
            return Ok(());
        }
        // Close to the limit only applying it tells: puts may replace, and deletes may make room.
        // A copy costs more than writing in place, but can be thrown away.
        let mut next = families.clone();
        next.apply(batch);
        self.admit(&families, &next)?;
        *families = next;
        Ok(())
    }

    fn failure(&self) -> Option<Error> {
        None
    }

    fn view(&self) -> Result<Arc<dyn View>> {
        Ok(Arc::new(self.families.read().clone()))
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn export(&self, view: Arc<dyn View>, ranges: Ranges, _dir: &Path) -> Runs {
        Box::new(Walk::new(view, ranges, RUN_BYTES).map(|stretch| {
            let stretch = stretch?;
            let content = Content::Memory(packed::pack(&stretch.pairs)?);
            Ok(Run { family: stretch.family, content })
        }))
    }

    /// Readers do not notice until it is done; writers wait for as long as it takes to put the pairs
    /// into the tree.
    fn import(&self, ranges: &[Part], runs: &[Run], last: &Batch) -> Result<()> {
        let new = unpack(ranges, runs)?;
        let _alone = self.writer.lock();
        let families = self.families.read().clone();
        let mut next = families.clone();
        for (family, range) in ranges {
            next.family_mut(*family).delete_range(range);
        }
        for (family, pairs) in new {
            let table = next.family_mut(family);
            pairs.into_iter().for_each(|(key, value)| table.insert(key, value));
        }
        next.apply(last);
        self.admit(&families, &next)?;
        *self.families.write() = next;
        Ok(())
    }

    /// Visits every pair of the range: O(log n + pairs in the range).
    fn approximate_bytes(&self, family: Family, range: Range<Vec<u8>>) -> Result<u64> {
        let families = self.families.read().clone();
        let pairs = families.family(family).range(&range);
        Ok(pairs.map(|(key, value)| pair_bytes(key, value) as u64).sum())
    }
}

type Pairs = Vec<(Bytes, Bytes)>;

/// The pairs of the runs, ready to be kept. Refuses runs that are not as they should be.
fn unpack(ranges: &[Part], runs: &[Run]) -> Result<Vec<(Family, Pairs)>> {
    let mut spans = Vec::new();
    let mut unpacked = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let mut inspection = Inspection::new(run.family, ranges);
        let pairs = pairs(run, &mut inspection).map_err(|error| error.with("run", number))?;
        spans.push(inspection.end().map_err(|error| error.with("run", number))?);
        unpacked.push((run.family, pairs));
    }
    disjoint(spans)?;
    Ok(unpacked)
}

fn pairs(run: &Run, inspection: &mut Inspection<'_>) -> Result<Pairs> {
    let Content::Memory(packed) = &run.content else {
        return Err(Error::new(Kind::Corruption, "a run in a file is not of this engine's kind"));
    };
    let pairs = packed::unpack(packed)?.into_iter().map(|(key, value)| {
        inspection.key(key)?;
        // Copied, so that each pair can be given up alone.
        Ok((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)))
    });
    pairs.collect()
}

/// Both families at one moment. A clone is cheap and does not change any more: it is the view.
#[derive(Clone, Default)]
struct Families {
    data: Table,
    meta: Table,
}

impl Families {
    fn family(&self, family: Family) -> &Table {
        match family {
            Family::Data => &self.data,
            Family::Meta => &self.meta,
        }
    }

    fn family_mut(&mut self, family: Family) -> &mut Table {
        match family {
            Family::Data => &mut self.data,
            Family::Meta => &mut self.meta,
        }
    }

    fn bytes(&self) -> usize {
        self.data.bytes + self.meta.bytes
    }

    fn apply(&mut self, batch: &Batch) {
        for operation in batch.operations() {
            match operation {
                Operation::Put { family, key, value } => self.family_mut(*family).put(key, value),
                Operation::Delete { family, key } => self.family_mut(*family).delete(key),
                Operation::DeleteRange { family, range } => {
                    self.family_mut(*family).delete_range(range);
                }
            }
        }
    }
}

impl View for Families {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.family(family).pairs.get(key).cloned())
    }

    fn scan(
        &self,
        family: Family,
        range: Range<Vec<u8>>,
        reverse: bool,
        limit_items: usize,
        limit_bytes: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        let mut page = Page::new(limit_items, limit_bytes);
        let mut pairs = self.family(family).range(&range);
        while let Some((key, value)) = if reverse { pairs.next_back() } else { pairs.next() } {
            if !page.has_room(key.len(), value.len()) {
                break;
            }
            page.push(key.clone(), value.clone());
        }
        Ok(page.into_pairs())
    }
}

/// One family: the pairs, and how many bytes they are counted as.
#[derive(Clone, Default)]
struct Table {
    pairs: OrdMap<Bytes, Bytes>,
    bytes: usize,
}

impl Table {
    fn put(&mut self, key: &Bytes, value: &Bytes) {
        // Copied, because a handle may be a small part of a large message, and would keep all of it.
        self.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    }

    fn insert(&mut self, key: Bytes, value: Bytes) {
        self.delete(&key);
        self.bytes += pair_bytes(&key, &value);
        self.pairs.insert(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        if let Some((key, value)) = self.pairs.remove_with_key(key) {
            self.bytes -= pair_bytes(&key, &value);
        }
    }

    fn delete_range(&mut self, range: &Range<Vec<u8>>) {
        let keys: Vec<Bytes> = self.range(range).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.delete(&key);
        }
    }

    fn range<'a>(
        &'a self,
        range: &Range<Vec<u8>>,
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> {
        let start = range.start.as_slice();
        // A range that runs backwards holds nothing; what the tree makes of one is not documented.
        let end = range.end.as_slice().max(start);
        self.pairs.range::<_, [u8]>((Bound::Included(start), Bound::Excluded(end)))
    }
}

fn pair_bytes(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + PAIR_OVERHEAD
}

fn most_growth(operation: &Operation) -> usize {
    match operation {
        Operation::Put { key, value, .. } => pair_bytes(key, value),
        Operation::Delete { .. } | Operation::DeleteRange { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::conformance;

    fn put(family: Family, key: &'static str, bytes: usize) -> Batch {
        let mut batch = Batch::new();
        batch.put(family, key, vec![7; bytes]);
        batch
    }

    #[test]
    fn memory_is_an_engine() {
        conformance::suite(|| Arc::new(MemoryEngine::new(usize::MAX)));
    }

    #[test]
    fn nothing_differs_between_memory_and_what_survives() {
        let engine = MemoryEngine::new(1000);
        engine.write(&put(Family::Data, "a", 1)).unwrap();
        assert_eq!(engine.get_persisted(Family::Data, b"a").unwrap().unwrap().len(), 1);
    }

    #[test]
    fn a_full_engine_refuses_growth_and_applies_nothing() {
        let engine = MemoryEngine::new(10_000);
        engine.write(&put(Family::Data, "a", 9_000)).unwrap();
        let before = engine.bytes();
        let mut batch = put(Family::Data, "b", 100);
        batch.put(Family::Data, "c", vec![7; 1_000]);
        let error = engine.write(&batch).unwrap_err();
        assert_eq!(error.kind(), Kind::Overloaded);
        assert!(error.to_string().contains("limit=`10000`"), "{error}");
        assert_eq!(engine.get(Family::Data, b"b").unwrap(), None);
        assert_eq!(engine.bytes(), before);
    }

    #[test]
    fn a_full_engine_takes_what_makes_room() {
        let engine = MemoryEngine::new(10_000);
        engine.write(&put(Family::Data, "a", 9_000)).unwrap();
        // Replacing a value by one of the same size does not grow.
        engine.write(&put(Family::Data, "a", 9_000)).unwrap();
        // Making room and using it in one batch fits.
        let mut batch = Batch::new();
        batch.delete(Family::Data, "a");
        batch.put(Family::Data, "b", vec![7; 9_000]);
        engine.write(&batch).unwrap();
        // A delete that has to be remembered passes even above the limit.
        engine.write(&put(Family::Meta, "filler", 5_000)).unwrap();
        assert!(engine.bytes() > 10_000);
        let mut batch = put(Family::Meta, "session", 100);
        batch.delete(Family::Data, "b");
        engine.write(&batch).unwrap();
        assert_eq!(engine.get(Family::Data, b"b").unwrap(), None);
    }

    #[test]
    fn an_import_above_the_limit_changes_nothing() {
        let part = [(Family::Data, vec![]..vec![0xFF])];
        let runs = |bytes| {
            let source = MemoryEngine::new(usize::MAX);
            source.write(&put(Family::Data, "a", bytes)).unwrap();
            let runs = source.export(source.view().unwrap(), part.to_vec(), Path::new(""));
            runs.collect::<Result<Vec<_>>>().unwrap()
        };
        let engine = MemoryEngine::new(10_000);
        engine.write(&put(Family::Data, "b", 9_000)).unwrap();
        engine.write(&put(Family::Meta, "c", 500)).unwrap();
        let before = engine.bytes();
        let last = put(Family::Meta, "d", 1);
        let error = engine.import(&part, &runs(9_500), &last).unwrap_err();
        assert_eq!(error.kind(), Kind::Overloaded, "{error:?}");
        assert_eq!(engine.bytes(), before);
        assert!(engine.get(Family::Data, b"b").unwrap().is_some());
        assert!(engine.get(Family::Meta, b"d").unwrap().is_none());
        // What is replaced makes room.
        engine.import(&part, &runs(8_900), &last).unwrap();
        assert_eq!(engine.get(Family::Data, b"a").unwrap().unwrap().len(), 8_900);
        assert!(engine.get(Family::Data, b"b").unwrap().is_none());
    }

    #[test]
    fn bytes_return_to_zero() {
        let engine = MemoryEngine::new(1_000_000);
        for round in 0..3 {
            engine.write(&put(Family::Data, "a", 100 * round)).unwrap();
            engine.write(&put(Family::Meta, "a", 100 * round)).unwrap();
        }
        let mut batch = Batch::new();
        batch.delete(Family::Data, "a");
        batch.delete_range(Family::Meta, vec![]..vec![0xFF]);
        engine.write(&batch).unwrap();
        assert_eq!(engine.bytes(), 0);
    }

    #[test]
    fn a_stored_value_does_not_keep_the_message_it_came_in() {
        let engine = MemoryEngine::new(1_000_000);
        let message = Bytes::from(vec![7; 100_000]);
        let mut batch = Batch::new();
        batch.put(Family::Data, message.slice(..3), message.slice(3..6));
        engine.write(&batch).unwrap();
        drop(batch);
        assert!(message.is_unique(), "the engine still holds the message");
    }
}
