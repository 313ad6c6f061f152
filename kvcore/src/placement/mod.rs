//! Floor 1: who should hold what.
//!
//! The token space is cut into Q partitions, and each partition has a few replicas on different
//! nodes. This floor answers three questions about them, and does nothing else: it is pure
//! arithmetic without I/O, clocks or chance, so that the same question has the same answer on every
//! node and in every test.
//!
//! *Which nodes hold which partition now?* [`Table`] says so, at one epoch. The metadata group
//! keeps it; nothing here changes it.
//!
//! *Which nodes should?* [`target`] says so, from what is held now and who the members are. It works
//! in three steps:
//!
//! 1. A replica whose node is still a member stays where it is: data that does not move costs
//!    nothing.
//! 2. A gap is filled with the first node that has room, in the order in which the partition meets
//!    the nodes on the [`Ring`]. A node has room up to 1.05 times its fair share: this is consistent
//!    hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016). The replicas of a
//!    partition go to different failure zones as long as there are zones left, and that rule is
//!    stronger than the bound.
//! 3. While a node holds less than 0.95 times its share, or more than its bound, the lightest node
//!    takes a replica from the heaviest. A newcomer gets its data in this step, and no more of it
//!    than it needs.
//!
//! The fair share of a node is proportional to its weight, as far as that is possible: no node can
//! hold a partition twice, so a node that is much stronger than the others gets every partition
//! once and the rest is shared by the others; and the same is true of a zone. Each partition also
//! has a preferred leader among its nodes, so that the work of leading is spread as fairly as the
//! data.
//!
//! A target reached is a target kept: asking again changes nothing.
//!
//! *How do we get there?* [`plan`] lists the steps, each of which adds one replica, removes one, or
//! replaces one. Partitions that lack replicas come first.

mod leaders;
mod level;
mod load;
mod plan;
mod replicas;
mod ring;
mod share;
mod table;
mod target;

pub use plan::{Step, plan};
pub use ring::{Ring, Weighted};
pub use table::{Assignment, Replica, Table};
pub use target::{Goal, Target, target};
