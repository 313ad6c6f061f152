//! Changes that are applied together.

use std::ops::Range;

use bytes::Bytes;

use super::Family;

/// One change to an engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Sets the value of a key.
    Put {
        /// The family that the key lies in.
        family: Family,
        /// The key.
        key: Bytes,
        /// The value; may be empty.
        value: Bytes,
    },
    /// Removes a key, if it is there.
    Delete {
        /// The family that the key lies in.
        family: Family,
        /// The key.
        key: Bytes,
    },
    /// Removes every key with `range.start <= key < range.end`. Meant for whole groups: a file-based
    /// engine remembers each removed range until it has been compacted away, and many of them slow
    /// down every read nearby. Remove a few keys one by one.
    DeleteRange {
        /// The family that the keys lie in.
        family: Family,
        /// The keys, without the end. Never empty or backwards.
        range: Range<Vec<u8>>,
    },
}

/// Operations to be applied in this order, whole or not at all.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Batch {
    operations: Vec<Operation>,
    bytes: usize,
}

impl Batch {
    /// A batch of nothing.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Sets the value of a key.
    pub fn put(&mut self, family: Family, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.push(Operation::Put { family, key, value });
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, family: Family, key: impl Into<Bytes>) {
        self.push(Operation::Delete { family, key: key.into() });
    }

    /// Removes every key with `range.start <= key < range.end`: see [`Operation::DeleteRange`] for
    /// when not to. A range that is empty or runs backwards holds no keys, and adds no operation.
    pub fn delete_range(&mut self, family: Family, range: Range<Vec<u8>>) {
        if range.start < range.end {
            self.push(Operation::DeleteRange { family, range });
        }
    }

    fn push(&mut self, operation: Operation) {
        self.bytes += match &operation {
            Operation::Put { key, value, .. } => key.len() + value.len(),
            Operation::Delete { key, .. } => key.len(),
            Operation::DeleteRange { range, .. } => range.start.len() + range.end.len(),
        };
        self.operations.push(operation);
    }

    /// The operations, in the order in which they are applied.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there are no operations.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_counts_what_it_carries() {
        let mut batch = Batch::new();
        assert!(batch.is_empty());
        batch.put(Family::Data, "key", "value");
        batch.delete(Family::Meta, vec![1, 2]);
        batch.delete_range(Family::Data, vec![1]..vec![2, 3]);
        assert_eq!((batch.len(), batch.bytes()), (3, 8 + 2 + 3));
        assert!(matches!(batch.operations()[1], Operation::Delete { family: Family::Meta, .. }));
    }

    #[test]
    fn a_range_without_keys_adds_nothing() {
        let mut batch = Batch::new();
        batch.delete_range(Family::Data, vec![1]..vec![1]);
        batch.delete_range(Family::Data, vec![2]..vec![1]);
        assert!(batch.is_empty());
        assert_eq!(batch.bytes(), 0);
    }
}
