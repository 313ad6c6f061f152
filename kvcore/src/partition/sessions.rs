//! What a partition has answered, for as long as somebody may ask again.
//!
//! A session numbers its commands. The partition keeps each answer from the session's lowest
//! unanswered command on, until the command's own deadline in log time. So a retry finds its answer,
//! and one that comes too late is refused rather than applied twice. The session itself is remembered
//! until the last deadline that any of its commands had: a command below its lowest unanswered one may
//! have a later deadline than all answers that are kept. Everything here is decided by the log alone:
//! the same on every replica. (After Ongaro's thesis, section 6.3, with a deadline in place of
//! eviction.)

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::{Batch, Family, View, keys};
use crate::types::{Command, Error, GroupId, Kind, Outcome, Result, SessionId};

/// The number under which a session's header is stored; commands count from 1.
const HEADER: u64 = 0;
/// How many stored records are read at once.
const PAGE: usize = 4096;

/// What to do with a command that arrives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is new: apply it.
    Fresh,
    /// It was applied before: this was the answer.
    Known(Outcome),
    /// It may have been applied before, or there is no room to remember it: refuse it.
    Refused(Kind),
}

#[derive(Serialize, Deserialize)]
struct Record {
    not_after_ms: u64,
    outcome: Outcome,
}

/// What is kept of a session besides its answers.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Header {
    /// Its lowest unanswered command.
    lowest: u64,
    /// The largest deadline of all its commands. It is stored whenever answers make way for `lowest`;
    /// in between it may lag behind the answers' own, which are stored as well.
    not_after_ms: u64,
}

#[derive(Default)]
struct Session {
    header: Header,
    answers: BTreeMap<u64, Record>,
}

/// The answers of one partition.
pub(super) struct Sessions {
    group: GroupId,
    limit: usize,
    known: BTreeMap<SessionId, Session>,
    /// When what is forgotten; a session as a whole under the number of its header.
    deadlines: BTreeSet<(u64, SessionId, u64)>,
}

impl Sessions {
    pub(super) fn new(group: GroupId, limit: usize) -> Sessions {
        Sessions { group, limit, known: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

    /// Reads all answers from the engine.
    pub(super) fn load(&mut self, view: &dyn View) -> Result<()> {
        self.known.clear();
        self.deadlines.clear();
        let mut range = keys::session_range(self.group);
        loop {
            let page = view.scan(Family::Meta, range.clone(), false, PAGE, usize::MAX)?;
            let Some((last, _)) = page.last() else { break };
            range.start = [last.as_ref(), &[0]].concat();
            for (key, value) in page {
                let (id, sequence) = keys::parse_session(&key).ok_or_else(damaged)?;
                let session = self.known.entry(id).or_default();
                if sequence == HEADER {
                    let stored: Header =
                        postcard::from_bytes(&value).map_err(|error| damaged().because(error))?;
                    session.header.lowest = stored.lowest;
                    session.outlasts(stored.not_after_ms);
                    continue;
                }
                let record: Record =
                    postcard::from_bytes(&value).map_err(|error| damaged().because(error))?;
                self.deadlines.insert((record.not_after_ms, id, sequence));
                session.outlasts(record.not_after_ms);
                session.answers.insert(sequence, record);
            }
        }
        for (id, session) in &self.known {
            self.deadlines.insert((session.header.not_after_ms, *id, HEADER));
        }
        Ok(())
    }

    /// How many sessions are remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// What to do with a command, at that log time.
    pub(super) fn judge(&self, command: &Command, now_ms: u64) -> Verdict {
        if command.sequence == HEADER {
            return Verdict::Refused(Kind::InvalidArgument);
        }
        if command.not_after_ms < now_ms {
            return Verdict::Refused(Kind::SessionExpired);
        }
        match self.known.get(&command.session) {
            None if self.known.len() >= self.limit => Verdict::Refused(Kind::Overloaded),
            None => Verdict::Fresh,
            Some(session) => match session.answers.get(&command.sequence) {
                Some(record) => Verdict::Known(record.outcome.clone()),
                // The session said it had that answer, and it was forgotten.
                None if command.sequence < session.header.lowest => {
                    Verdict::Refused(Kind::SessionExpired)
                }
                None => Verdict::Fresh,
            },
        }
    }

    /// Remembers an answer, and forgets those that the session says it has.
    pub(super) fn remember(
        &mut self,
        command: &Command,
        outcome: Outcome,
        batch: &mut Batch,
    ) -> Result<()> {
        let id = command.session;
        let session = self.known.entry(id).or_default();
        self.deadlines.remove(&(session.header.not_after_ms, id, HEADER));
        session.outlasts(command.not_after_ms);
        self.deadlines.insert((session.header.not_after_ms, id, HEADER));
        if command.lowest_unanswered > session.header.lowest {
            session.header.lowest = command.lowest_unanswered;
            batch.put(
                Family::Meta,
                keys::session(self.group, id, HEADER),
                encode(&session.header)?,
            );
            let kept = session.answers.split_off(&session.header.lowest);
            for (sequence, record) in std::mem::replace(&mut session.answers, kept) {
                self.deadlines.remove(&(record.not_after_ms, id, sequence));
                batch.delete(Family::Meta, keys::session(self.group, id, sequence));
            }
        }
        let record = Record { not_after_ms: command.not_after_ms, outcome };
        batch.put(Family::Meta, keys::session(self.group, id, command.sequence), encode(&record)?);
        self.deadlines.insert((record.not_after_ms, id, command.sequence));
        session.answers.insert(command.sequence, record);
        Ok(())
    }

    /// Forgets what nobody may ask for any more at that log time.
    pub(super) fn expire(&mut self, now_ms: u64, batch: &mut Batch) {
        while let Some(&(not_after_ms, id, sequence)) = self.deadlines.first() {
            if not_after_ms >= now_ms {
                return;
            }
            self.deadlines.pop_first();
            batch.delete(Family::Meta, keys::session(self.group, id, sequence));
            if sequence == HEADER {
                self.known.remove(&id);
            } else if let Some(session) = self.known.get_mut(&id) {
                session.answers.remove(&sequence);
            }
        }
    }
}

impl Session {
    fn outlasts(&mut self, not_after_ms: u64) {
        self.header.not_after_ms = self.header.not_after_ms.max(not_after_ms);
    }
}

fn encode(value: &impl Serialize) -> Result<Bytes> {
    postcard::to_stdvec(value)
        .map(Bytes::from)
        .map_err(|error| Error::internal("session record cannot be encoded").because(error))
}

fn damaged() -> Error {
    Error::new(Kind::Corruption, "stored session record does not parse")
}

#[cfg(test)]
#[path = "sessions_test.rs"]
mod tests;
