//! What a log entry does to the map: deterministic, on every node alike.

use std::sync::Arc;

use bytes::Bytes;

use super::change::{Change, coded};
use super::state::State;
use super::watch::Publisher;
use crate::engine::{Batch, Engine, Family, View, keys};
use crate::raft::{Apply, Reply};
use crate::types::{Error, GroupId, Kind, Result};
use crate::wal::Position;

const FORMAT: u8 = 2;

coded!(State);

/// The map as it is stored.
///
/// # Errors
/// `Corruption` if it does not parse, `Unsupported` if it is of a newer version; what the view says.
pub fn stored(view: &dyn View) -> Result<State> {
    let stored = view.get(Family::Meta, &keys::state(GroupId::Metadata))?;
    stored.map_or(Ok(State::default()), |bytes| State::decode(&bytes))
}

/// The metadata group's state on this node.
pub(super) struct Map {
    engine: Arc<dyn Engine>,
    state: State,
    publisher: Publisher,
}

impl Map {
    pub(super) fn new(engine: Arc<dyn Engine>, publisher: Publisher) -> Map {
        Map { engine, state: State::default(), publisher }
    }
}

impl Apply for Map {
    fn load(&mut self) -> Result<()> {
        self.state = stored(self.engine.view()?.as_ref())?;
        self.publisher.publish(self.state.clone());
        Ok(())
    }

    fn apply(&mut self, _at: Position, payload: &Bytes, batch: &mut Batch) -> Result<Reply> {
        let before = self.state.epoch();
        let decision = self.state.change(Change::decode(payload)?);
        // A third of what a move asks for only confirms how things stand.
        if self.state.epoch() != before {
            batch.put(Family::Meta, keys::state(GroupId::Metadata), self.state.encode()?);
        }
        Ok(Reply::Bytes(decision.encode()?))
    }

    fn written(&mut self) {
        self.publisher.publish(self.state.clone());
    }
}
