//! What the comparisons have in common: loads, measures, and verdicts.
//!
//! Each program in `src/bin` compares two things in one run on one machine and prints both and their
//! ratio, since only ratios mean something elsewhere. Where the ratio is a promise, the program says
//! whether it holds and fails if it does not. `make bench` runs all of them, `make bench-quick` the
//! shorter ones. One, `placement`, compares nothing and starts nothing: it computes what clusters of up
//! to 1,000 nodes cost, and `make placement` runs it.

// The whole crate measures: whatever goes wrong here is a failed run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::indexing_slicing)]

mod calls;
mod footprint;
mod latency;
mod verdict;
mod writers;

pub use calls::{Calling, Calls, Phase};
pub use footprint::{disk, memory, peak_memory};
pub use latency::Latencies;
pub use verdict::Verdict;
pub use writers::{Pace, Running, Writers, Written};
