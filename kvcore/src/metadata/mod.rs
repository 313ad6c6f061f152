//! Floor 4: who is in the cluster, and who holds what.
//!
//! One small Raft group, of which every node is a member, decides this for all: up to five vote, the
//! rest listen, so every node has the whole map. The [`State`] holds the members, the placement table
//! at its epoch, and the moves that have begun; a [`Change`] is the only way to alter it, and what it
//! came to is a [`Decision`]. Each replica publishes its state to the node around it ([`Watch`]).
//!
//! The ring only proposes; here it is decided; the partitions' own groups then carry it out. All
//! progress of a move is kept here, so whoever leads the group next goes on from there.

mod apply;
mod change;
mod members;
mod replica;
mod state;
mod watch;

pub use apply::stored;
pub use change::{Change, Decision, NewMember};
pub use replica::{Metadata, MetadataOptions};
pub use state::{Member, Move, State};
pub use watch::Watch;
