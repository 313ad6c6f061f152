//! Stories of whole clusters, told with real processes, real sockets and real disks.
//!
//! A story takes a [`Stage`]: a scratch directory, and one of the few permits that keep the machine
//! from running too many clusters at once. On the stage are [`Seat`]s. A seat is what a node keeps when
//! its process is killed: its directory, its address, its flags. Starting a seat runs the `distkv`
//! program there and waits for its `ready` line; killing it is a real SIGKILL. A [`Cluster`] is a few
//! seats that found each other. A [`Load`] writes from several threads and keeps a [`Ledger`] of what
//! was acknowledged, which is what must still be there after whatever the story does. Nodes come to a cluster,
//! leave it and are removed through the same calls that a program makes, and [`Cluster::wait_even`] says when
//! replicas and leaders are spread over them as they should be.
//!
//! A [`Mix`] does everything at once, new keys, overwrites, deletes and reads, and checks each answer. For
//! what SIGKILL cannot show, a seat may be on a [`Power`] supply of its own, where the story cuts the power or
//! lets the disk fail, or on a [`Volume`], a small file system that it fills up.
//!
//! Nothing here sleeps and hopes. Whatever a story waits for, it waits for with [`eventually`], which
//! asks again until the deadline, and then says what it waited for and what it saw last. That something does
//! not happen is asked [`throughout`] the time in which it would. When a story fails, every process still on stage adds the end of what it wrote to stderr.

// The whole crate is test code: whatever goes wrong here is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(clippy::indexing_slicing)]

mod administration;
mod binary;
mod cli;
mod cluster;
mod history;
mod load;
mod mix;
mod patience;
mod power;
mod process;
mod routes;
mod seat;
mod stage;
mod store;
mod volume;

pub use binary::binary;
pub use cli::{Ran, distkv, distkv_with};
pub use cluster::Cluster;
pub use load::{Failed, Ledger, Load, Plan, value_of};
pub use mix::{Figures, Mix, MixPlan};
pub use patience::{eventually, throughout};
pub use power::Power;
pub use process::{Exit, Process, Ready};
pub use seat::{Seat, connect, patient};
pub use stage::{Stage, unused_address};
pub use volume::Volume;
