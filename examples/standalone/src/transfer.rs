//! `distkv transfer`: who leads a partition.

use std::process::ExitCode;

use clap::Args;
use kvcore::api::{PartitionId, Result};

use crate::node_name::NodeName;
use crate::report;
use crate::target::Target;

#[derive(Args)]
pub struct Transfer {
    /// The partition, counted from 0
    partition: u16,
    /// The node that is to lead it, by its id or address; it must hold the partition
    node: NodeName,
    #[command(flatten)]
    target: Target,
}

impl Transfer {
    pub fn run(self) -> Result<ExitCode> {
        let (client, options) = self.target.connect()?;
        let node = self.node.of(&client)?;
        client.transfer(PartitionId(self.partition), node, options).wait()?;
        report::print(b"transferring\n")?;
        Ok(ExitCode::SUCCESS)
    }
}
