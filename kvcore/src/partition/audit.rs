//! Whether what is stored of a partition makes sense: for checks of a stopped node.

use crate::engine::{Family, View, keys};
use crate::types::{Error, GroupId, Kind, PartitionId, Result, Revision};

use super::apply::{Entry, Header, parse_stored};
use super::sessions::Sessions;

/// How many pairs are read at once.
const PAGE: usize = 1024;
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// What a partition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Its keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// The sessions that it remembers.
    pub sessions: usize,
    /// Its revision counter.
    pub revision: Revision,
}

/// Reads everything that is stored of a partition.
///
/// # Errors
/// `Corruption` for the first thing that does not make sense; what the view says.
pub fn audit(view: &dyn View, partition: PartitionId) -> Result<Tally> {
    let group = GroupId::Partition(partition);
    let header = Header::read(view, group)?;
    let mut sessions = Sessions::new(group, usize::MAX);
    sessions.load(view)?;
    let mut tally =
        Tally { sessions: sessions.len(), revision: header.revision, ..Tally::default() };
    let mut range = keys::data_range(group);
    loop {
        let page = view.scan(Family::Data, range.clone(), false, PAGE, PAGE_BYTES)?;
        let Some((last, _)) = page.last() else { return Ok(tally) };
        range.start = [last.as_ref(), &[0]].concat();
        for (key, stored) in &page {
            let (value, revision) = parse_stored(stored)?;
            if revision == 0 || revision > header.revision {
                return Err(Error::new(
                    Kind::Corruption,
                    "a value has a revision that was never given",
                )
                .with("partition", partition)
                .with("revision", revision)
                .with("newest", header.revision));
            }
            let key = keys::user_key(key).unwrap_or_default();
            tally.keys += 1;
            tally.bytes += (key.len() + value.len()) as u64;
        }
    }
}

/// Whether that could be an entry of a partition's log; how many commands it holds.
///
/// # Errors
/// `Corruption`, `Unsupported`.
pub fn audit_entry(payload: &[u8]) -> Result<usize> {
    Entry::decode(payload).map(|entry| entry.commands.len())
}
