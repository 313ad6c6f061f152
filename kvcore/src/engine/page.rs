//! The pairs that one call of a scan returns: the one place that knows when a page is full, so that
//! every engine ends a page at the same pair.

use bytes::Bytes;

/// A page that is being filled.
pub(super) struct Page {
    pairs: Vec<(Bytes, Bytes)>,
    items_left: usize,
    bytes_left: usize,
}

impl Page {
    /// An empty page for that many pairs, and bytes of keys and values.
    pub(super) fn new(limit_items: usize, limit_bytes: usize) -> Page {
        Page { pairs: Vec::new(), items_left: limit_items, bytes_left: limit_bytes }
    }

    /// Whether a next pair of these lengths belongs on the page. The first does whatever its size, or
    /// a scan could not get past it.
    pub(super) fn has_room(&self, key_bytes: usize, value_bytes: usize) -> bool {
        let fits = key_bytes.saturating_add(value_bytes) <= self.bytes_left;
        self.items_left > 0 && (fits || self.pairs.is_empty())
    }

    /// Adds a pair that there is room for.
    pub(super) fn push(&mut self, key: Bytes, value: Bytes) {
        self.items_left = self.items_left.saturating_sub(1);
        self.bytes_left = self.bytes_left.saturating_sub(key.len() + value.len());
        self.pairs.push((key, value));
    }

    /// The pairs, in the order in which they were added.
    pub(super) fn into_pairs(self) -> Vec<(Bytes, Bytes)> {
        self.pairs
    }
}
