//! `distkv remove`: a node that will not come back.

use std::process::ExitCode;

use clap::Args;
use kvcore::api::Result;

use crate::node_name::NodeName;
use crate::report;
use crate::target::Target;

#[derive(Args)]
pub struct Remove {
    /// The node, by its id or address
    node: NodeName,
    /// Remove it although it is up, or although data or majorities are lost with it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    target: Target,
}

impl Remove {
    pub fn run(self) -> Result<ExitCode> {
        let (client, options) = self.target.connect()?;
        let node = self.node.of(&client)?;
        client.remove(node, self.force, options).wait()?;
        report::print(b"removed\n")?;
        Ok(ExitCode::SUCCESS)
    }
}
