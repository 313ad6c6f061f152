//! Floor 5: a running member of the cluster.
//!
//! [`Node::start`] opens the data directory ([`storage`], [`identity`]), finds its cluster, joins one
//! or founds one ([`founding`]), and then keeps a handful of tasks going until it is stopped:
//!
//! - the [`host`] runs the replicas that the map places here, and retires those it no longer does;
//! - the [`handlers`] answer whatever arrives over the links, and pass on what belongs elsewhere;
//! - the [`mover`] carries out the moves of the partitions that are led here, and hands leadership to
//!   where the map prefers it;
//! - the [`rebalancer`], where the metadata group is led, asks the ring what should be ([`proposal`]),
//!   decides the next few moves, and says who counts as dead;
//! - the [`trimmer`] keeps the logs within their budget, and [`space`] watches the room on the disk;
//! - [`upkeep`] has the host run what the map says, and opens anew what a failing disk has ended;
//! - [`liveness`] keeps a link to every other member, and says who can be reached; [`vitals`] is how this
//!   node is, as they hear of it;
//! - [`succession`] sees to it that the partitions of a lost leader elect another one without delay;
//! - [`departure`] ends the node's part in the cluster when it is a member no longer.
//!
//! What people ask of the cluster, and are told about it, is [`administration`].
//!
//! Each task looks at the newest map, does what is next and waits for a change: none holds a plan of
//! its own, so a task that starts anew, on this node or another, goes on from where things are.

mod administration;
mod core;
mod damage;
mod departure;
mod founding;
mod handlers;
mod host;
mod identity;
#[cfg(feature = "rocksdb")]
mod inspection;
mod liveness;
mod mover;
mod proposal;
mod rebalancer;
mod ring;
mod space;
mod start;
mod status;
mod storage;
mod succession;
mod trimmer;
mod upkeep;
mod vitals;

#[cfg(feature = "rocksdb")]
pub use inspection::{Inspection, LogFiles, StateFiles, StoredReplica, inspect};
pub use ring::{MoveStatus, Newcomer, NodeLoad, Plan, PlannedLoad, PlannedMove, RingStatus, parse};
pub use start::Node;
pub use status::{MemberStatus, Report, Status};
