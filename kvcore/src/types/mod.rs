//! Floor 0: the words everything else is said in.
//!
//! Identities ([`ids`]), the token space ([`token`]), what a client may ask for ([`command`],
//! [`consistency`]), what can go wrong ([`error`]), how much of anything there may be ([`limits`], [`budget`]), what time and
//! chance look like ([`clock`]) and what a user may configure ([`config`]).
//!
//! Nothing here does I/O, reads a clock or knows a runtime: the floor is plain data, so that every
//! other floor can be tested with values made by hand.

pub mod budget;
pub mod clock;
pub mod command;
pub mod config;
pub mod consistency;
pub mod error;
pub mod ids;
pub mod limits;
pub mod token;

pub use budget::{Budget, Room};
pub use clock::{Clock, Entropy, Seam};
pub use command::{Command, Mutation, Outcome};
pub use consistency::Consistency;
pub use error::{Error, Kind, Result};
pub use ids::{ClusterId, Epoch, GroupId, NodeId, PartitionId, ReplicaId, Revision, SessionId};
pub use limits::Limits;
pub use token::Token;
