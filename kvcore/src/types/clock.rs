//! Time and chance, as the rest of the code sees them.
//!
//! Nothing below the API reads a clock or draws a random number by itself: it asks the [`Seam`] it
//! was given. A simulation hands in its own, and the same seed then gives the same run.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// Where time comes from.
pub trait Clock: Send + Sync + Debug {
    /// Time since some fixed moment, never going back; counts on while the machine sleeps.
    fn monotonic(&self) -> Duration;

    /// Milliseconds since 1970-01-01 UTC as the machine believes it; may jump either way.
    fn wall_ms(&self) -> u64;
}

/// Where chance comes from.
pub trait Entropy: Send + Sync + Debug {
    /// 64 random bits.
    fn next_u64(&self) -> u64;
}

/// Both, as handed to a node or a client when it starts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Seam {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Seam {
    /// 128 random bits.
    pub fn next_u128(&self) -> u128 {
        (u128::from(self.entropy.next_u64()) << 64) | u128::from(self.entropy.next_u64())
    }
}
