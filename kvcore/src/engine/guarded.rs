//! An engine for tests, with somebody in front of it who lets writes wait or refuses them.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{Batch, Engine, Family, MemoryEngine, Ranges, Run, Runs, View};
use crate::types::{Error, Kind, Result};

/// A memory engine that asks before every write.
pub(crate) struct Guarded {
    engine: MemoryEngine,
    guard: Box<dyn Fn() -> Result<()> + Send + Sync>,
}

impl Guarded {
    pub(crate) fn by(guard: impl Fn() -> Result<()> + Send + Sync + 'static) -> Guarded {
        Guarded { engine: MemoryEngine::new(1 << 30), guard: Box::new(guard) }
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}

impl Engine for Guarded {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.engine.get(family, key)
    }

    fn get_persisted(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>> {
        self.engine.get_persisted(family, key)
    }

    fn write(&self, batch: &Batch) -> Result<()> {
        (self.guard)()?;
        self.engine.write(batch)
    }

    fn view(&self) -> Result<Arc<dyn View>> {
        self.engine.view()
    }

    fn flush(&self) -> Result<()> {
        self.engine.flush()
    }

    fn failure(&self) -> Option<Error> {
        let refused = (self.guard)().err();
        refused.filter(|error| matches!(error.kind(), Kind::Corruption | Kind::Internal))
    }

    fn export(&self, view: Arc<dyn View>, ranges: Ranges, dir: &Path) -> Runs {
        self.engine.export(view, ranges, dir)
    }

    fn import(
        &self,
        ranges: &[(Family, Range<Vec<u8>>)],
        runs: &[Run],
        last: &Batch,
    ) -> Result<()> {
        self.engine.import(ranges, runs, last)
    }

    fn approximate_bytes(&self, family: Family, range: Range<Vec<u8>>) -> Result<u64> {
        self.engine.approximate_bytes(family, range)
    }
}
