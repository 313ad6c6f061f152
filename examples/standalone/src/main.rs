//! `distkv`: a node of distkv as a program of its own, and the verbs for the command line.
//!
//! It is a host like any other: it uses nothing but the API that every program and binding uses.
//! `serve` starts a node, says on one line of stdout that it is ready, and closes the node when it is
//! asked to end or has left the cluster. `verify` and `inspect` look at the directory of a node that does not run. Everything else
//! connects as a thin client, does one thing and is gone; `leave` and `status --watch` stay until it is done.
//!
//! What a script may rely on: results are on stdout, and nothing else is; errors are on stderr as
//! `error: Kind: message`; the exit code is 0 for success, 1 for an error and for an absent key, and
//! 2 for a command line that makes no sense.

mod config;
mod draw;
mod leave;
mod logging;
mod moves;
mod node_name;
#[cfg(feature = "rocksdb")]
mod offline;
mod plan;
mod remove;
mod report;
mod ring;
mod serve;
mod status;
mod target;
mod transfer;
mod tune;
mod verbs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A strongly consistent, distributed key-value store.
#[derive(Parser)]
#[command(name = "distkv", version = kvcore::api::VERSION)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node until SIGTERM or SIGINT, or until it has left the cluster.
    Serve(serve::Serve),
    /// Set the value of a key, and print the new revision.
    Put(verbs::Put),
    /// Print the value of a key and a newline; exit 1 if there is none.
    Get(verbs::Get),
    /// Remove a key, and print `deleted` or `absent`.
    Delete(verbs::Delete),
    /// Show what the node that answers knows of itself and its cluster.
    Status(status::Status),
    /// Show the members of the cluster.
    Members(verbs::Members),
    /// Show who holds and leads how much, and the moves under way.
    Ring(ring::Ring),
    /// Show which moves are to come, or would be if nodes came or went; changes nothing.
    Plan(plan::Plan),
    /// Have a node give all it holds to others and leave the cluster; wait until it has left.
    Leave(leave::Leave),
    /// Remove a node that will not come back; others get its replicas.
    Remove(remove::Remove),
    /// Have a partition led by another of the nodes that hold it.
    Transfer(transfer::Transfer),
    /// Change, or show, how eagerly replicas move, and what counts as dead.
    Tune(tune::Tune),
    /// Let no more moves begin; those under way are finished.
    Pause(tune::Pause),
    /// Let moves begin again.
    Resume(tune::Resume),
    /// Check the data directory of a node that does not run; exit 1 on damage.
    #[cfg(feature = "rocksdb")]
    Verify(offline::Verify),
    /// Show what is in the data directory of a node that does not run.
    #[cfg(feature = "rocksdb")]
    Inspect(offline::Inspect),
}

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Put(put) => put.run(),
        Command::Get(get) => get.run(),
        Command::Delete(delete) => delete.run(),
        Command::Status(status) => status.run(),
        Command::Members(members) => members.run(),
        Command::Ring(ring) => ring.run(),
        Command::Plan(plan) => plan.run(),
        Command::Leave(leave) => leave.run(),
        Command::Remove(remove) => remove.run(),
        Command::Transfer(transfer) => transfer.run(),
        Command::Tune(tune) => tune.run(),
        Command::Pause(pause) => pause.run(),
        Command::Resume(resume) => resume.run(),
        #[cfg(feature = "rocksdb")]
        Command::Verify(verify) => verify.run(),
        #[cfg(feature = "rocksdb")]
        Command::Inspect(inspect) => inspect.run(),
    };
    outcome.unwrap_or_else(|error| {
        report::say(&format!("error: {}: {error}", error.kind()));
        ExitCode::FAILURE
    })
}
