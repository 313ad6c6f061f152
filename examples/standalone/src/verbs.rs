//! The verbs, and `members`: each command connects as a thin client, does one thing and is gone.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use clap::Args;
use kvcore::api::{Bytes, CallOptions, Consistency, Result, limits};

use crate::report;
use crate::target::Target;

/// What must hold of a key for it to be changed.
#[derive(Args)]
struct IfRevision {
    /// Only if the key has this revision, 0 for none; else it fails with the one that it has
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
}

#[derive(Args)]
pub struct Put {
    key: OsString,
    /// The value; `-` takes it from stdin, to its end
    #[arg(allow_negative_numbers = true)]
    value: OsString,
    #[command(flatten)]
    condition: IfRevision,
    /// Only if the key is absent
    #[arg(long, conflicts_with = "if_revision")]
    if_absent: bool,
    #[command(flatten)]
    target: Target,
}

impl Put {
    pub fn run(self) -> Result<ExitCode> {
        let value = if self.value == "-" { stdin()? } else { self.value.into_vec().into() };
        let (client, options) = self.target.connect()?;
        let options = CallOptions {
            if_revision: self.condition.if_revision,
            if_absent: self.if_absent,
            ..options
        };
        let revision = client.put(bytes(self.key), value, options).wait()?;
        report::print(format!("{revision}\n").as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
pub struct Get {
    key: OsString,
    /// Trust the leader's lease rather than have it ask a majority: as fresh as long as clocks run alike
    #[arg(long)]
    lease: bool,
    #[command(flatten)]
    target: Target,
}

impl Get {
    pub fn run(self) -> Result<ExitCode> {
        let (client, options) = self.target.connect()?;
        let consistency = if self.lease { Consistency::Lease } else { Consistency::Linearizable };
        match client.get(bytes(self.key), CallOptions { consistency, ..options }).wait()? {
            Some(entry) => {
                report::print(&[&entry.value, b"\n".as_slice()].concat())?;
                Ok(ExitCode::SUCCESS)
            }
            None => {
                report::say("absent");
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

#[derive(Args)]
pub struct Delete {
    key: OsString,
    #[command(flatten)]
    condition: IfRevision,
    #[command(flatten)]
    target: Target,
}

impl Delete {
    pub fn run(self) -> Result<ExitCode> {
        let (client, options) = self.target.connect()?;
        let options = CallOptions { if_revision: self.condition.if_revision, ..options };
        let existed = client.delete(bytes(self.key), options).wait()?;
        report::print(if existed { b"deleted\n" } else { b"absent\n" })?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
pub struct Members {
    /// Print a JSON array of objects
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Members {
    pub fn run(self) -> Result<ExitCode> {
        let (client, _) = self.target.connect()?;
        let members = client.members().wait()?;
        let text = if self.json { report::json(&members)? } else { report::members(&members) };
        report::print(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn bytes(argument: OsString) -> Bytes {
    argument.into_vec().into()
}

/// All of stdin, but no more than it takes to see that it is above the limit of a value.
fn stdin() -> Result<Bytes> {
    let mut value = Vec::new();
    let most = limits::VALUE_BYTES as u64 + 1;
    std::io::stdin().lock().take(most).read_to_end(&mut value)?;
    Ok(value.into())
}
