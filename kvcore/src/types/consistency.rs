//! How fresh a read must be.

use super::error::{Error, Kind, Result};

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Consistency {
    /// As of now: every write acknowledged before the read began is seen. The leader proves by a
    /// quorum that it still leads (Ongaro's thesis, section 6.4, read index).
    #[default]
    Linearizable,
    /// The same, but the leader may take it that it still leads for a while after a quorum has last
    /// confirmed it (the thesis, section 6.4.1). Cheaper, and as fresh as long as the clocks of the nodes run at
    /// nearly the same rate.
    Lease,
}

impl Consistency {
    /// Its number in messages.
    pub fn number(self) -> u32 {
        match self {
            Consistency::Linearizable => 0,
            Consistency::Lease => 1,
        }
    }

    /// That of a message.
    ///
    /// # Errors
    /// `Unsupported` for one that this version does not know.
    pub fn from_number(number: u32) -> Result<Consistency> {
        match number {
            0 => Ok(Consistency::Linearizable),
            1 => Ok(Consistency::Lease),
            _ => Err(Error::new(Kind::Unsupported, "a kind of read that is not known here")
                .with("consistency", number)),
        }
    }
}
