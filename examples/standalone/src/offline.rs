//! The commands for a node that does not run: they look at its directory and change nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kvcore::api::{self, Inspection, Result};

use crate::{logging, report};

#[derive(Args)]
pub struct Inspect {
    /// The node's data directory
    dir: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(self) -> Result<ExitCode> {
        logging::begin("off")?;
        let inspection = api::inspect(&self.dir, false)?;
        let text =
            if self.json { report::json(&inspection)? } else { report::inspection(&inspection) };
        report::print(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
pub struct Verify {
    /// The node's data directory
    dir: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub fn run(self) -> Result<ExitCode> {
        logging::begin("off")?;
        let inspection = api::inspect(&self.dir, true)?;
        let text = if self.json { report::json(&inspection)? } else { verdict(&inspection) };
        report::print(text.as_bytes())?;
        let sound = inspection.findings.is_empty();
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What was read, then what is wrong, then whether all is well.
fn verdict(inspection: &Inspection) -> String {
    let sum = |part: fn(&api::StoredReplica) -> u64| -> u64 {
        inspection.replicas.iter().map(part).sum()
    };
    let mut text = format!(
        "log: {} segments, {} batches, {} entries\nstate: {} files, {} replicas, {} keys\n",
        inspection.log.segments,
        inspection.log.batches,
        sum(|replica| replica.entries),
        inspection.state.files,
        inspection.replicas.len(),
        sum(|replica| replica.keys),
    );
    for interrupted in &inspection.interrupted {
        text.push_str(&format!("to be installed at the next start: {interrupted}\n"));
    }
    for damaged in &inspection.damaged {
        text.push_str(&format!("known to be damaged, to be replaced: {damaged}\n"));
    }
    for finding in &inspection.findings {
        text.push_str(&format!("damage: {finding}\n"));
    }
    text.push_str(match inspection.findings.len() {
        0 => "sound\n",
        _ => "damaged\n",
    });
    text
}
