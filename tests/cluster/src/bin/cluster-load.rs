//! A load for scripts: `load` writes and notes what was acknowledged, `check` looks whether it is there.
//!
//! `load` goes on through failures; it prints how many writes were acknowledged and how many failed,
//! and fails only if none was acknowledged.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cluster::{Ledger, Load, Plan};
use kvcore::api::{Client, ClientOptions};

/// Writes a load, and checks what became of it.
#[derive(Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    /// Members of the cluster
    #[arg(long, global = true, env = "DISTKV_ENDPOINTS", default_value = "127.0.0.1:7400")]
    endpoints: String,
}

#[derive(Subcommand)]
enum Command {
    /// Write distinct keys from several threads.
    Load {
        /// How many writes in all
        #[arg(long)]
        count: u64,
        /// Threads that write
        #[arg(long, default_value_t = 4)]
        writers: usize,
        /// What every key begins with
        #[arg(long, default_value = "load")]
        prefix: String,
        /// Bytes of each value
        #[arg(long, default_value_t = 64)]
        value_bytes: usize,
        /// Where each acknowledged key is noted at once
        #[arg(long)]
        acknowledged: Option<PathBuf>,
    },
    /// Check that every write noted in a file is there.
    Check {
        /// What `load` noted
        #[arg(long)]
        acknowledged: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(CommandLine::parse()) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(line: CommandLine) -> Result<String, String> {
    let client = Client::connect(&line.endpoints, ClientOptions::default())
        .wait()
        .map_err(|error| format!("{error:?}"))?;
    match line.command {
        Command::Load { count, writers, prefix, value_bytes, acknowledged } => {
            let plan =
                Plan { writers, prefix, value_bytes, count: Some(count), record: acknowledged };
            let ledger = Load::start(client, plan).join();
            let said = format!(
                "acknowledged={} failed={}",
                ledger.acknowledged.len(),
                ledger.failed.len()
            );
            if ledger.acknowledged.is_empty() { Err(said) } else { Ok(said) }
        }
        Command::Check { acknowledged } => {
            let ledger = Ledger::read(&acknowledged)?;
            ledger.check(&client)?;
            Ok(format!("present={}", ledger.acknowledged.len()))
        }
    }
}
