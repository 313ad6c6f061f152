//! A whole group as a sequence of parts: what a replica gets that lies behind its leader's log.
//!
//! A part holds some of the group's stored pairs, as they are stored. The sender reads them from a
//! consistent view while it sends, so it never holds more than one part; the receiver installs them
//! in one batch, so a crash leaves the old state or the new one.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::{Family, View, keys};
use crate::types::{Error, GroupId, Kind, Result};

/// About how many bytes one part carries.
const PART_BYTES: usize = 1024 * 1024;
/// The most pairs one part carries.
const PART_PAIRS: usize = 16 * 1024;

/// A snapshot in one of its two places.
pub enum SnapshotData {
    /// On the replica that gives it: a view to read it from.
    View(Arc<dyn View>),
    /// On the replica that gets it: what has arrived.
    Parts(Vec<Bytes>),
}

#[derive(Serialize, Deserialize)]
struct Part {
    data: bool,
    pairs: Vec<(Bytes, Bytes)>,
}

/// Reads a view part by part.
pub(super) struct Parts {
    view: Arc<dyn View>,
    group: GroupId,
    family: Option<Family>,
    after: Option<Vec<u8>>,
}

impl Parts {
    pub(super) fn new(view: Arc<dyn View>, group: GroupId) -> Parts {
        Parts { view, group, family: Some(Family::Data), after: None }
    }

    /// The next part; nothing after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(family) = self.family {
            let mut range = match family {
                Family::Data => keys::data_range(self.group),
                Family::Meta => keys::meta_range(self.group),
            };
            if let Some(after) = self.after.take() {
                range.start = after;
            }
            let pairs = self.view.scan(family, range, false, PART_PAIRS, PART_BYTES)?;
            if let Some((last, _)) = pairs.last() {
                // The smallest key behind `last` is `last` with a zero byte.
                self.after = Some([last.as_ref(), &[0]].concat());
                let part = Part { data: family == Family::Data, pairs };
                let bytes = postcard::to_stdvec(&part).map_err(|error| {
                    Error::internal("snapshot part cannot be encoded").because(error)
                })?;
                return Ok(Some(Bytes::from(bytes)));
            }
            self.family = match family {
                Family::Data => Some(Family::Meta),
                Family::Meta => None,
            };
        }
        Ok(None)
    }
}

/// The pairs of a part, each checked to belong to the group.
pub(super) fn pairs(group: GroupId, part: &[u8]) -> Result<Vec<(Family, Vec<u8>, Bytes)>> {
    let part: Part = postcard::from_bytes(part).map_err(|error| {
        Error::new(Kind::Corruption, "snapshot part does not parse").because(error)
    })?;
    let (family, range) = match part.data {
        true => (Family::Data, keys::data_range(group)),
        false => (Family::Meta, keys::meta_range(group)),
    };
    part.pairs
        .into_iter()
        .map(|(key, value)| {
            let key = key.to_vec();
            if !range.contains(&key) {
                return Err(Error::new(Kind::Corruption, "snapshot part of another group")
                    .with("group", group));
            }
            Ok((family, key, value))
        })
        .collect()
}
