//! `distkv ring`: who holds and leads how much.

use std::process::ExitCode;

use clap::Args;
use kvcore::api::{NodeLoad, Result, RingStatus};

use crate::target::Target;
use crate::{draw, moves, report};

/// With fewer columns than that beside a node's row, its bar gets a line of its own.
const BESIDE: usize = 12;

#[derive(Args)]
pub struct Ring {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Ring {
    pub fn run(self) -> Result<ExitCode> {
        let (client, _) = self.target.connect()?;
        let ring = client.ring().wait()?;
        let text = if self.json { report::json(&ring)? } else { draw(&ring, draw::columns()) };
        report::print(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The nodes, each with a bar of its replicas on which `│` marks its target; the average; the moves.
fn draw(ring: &RingStatus, columns: usize) -> String {
    let RingStatus { epoch, partitions, replication_factor, .. } = ring;
    let mut text =
        format!("epoch {epoch}, {partitions} partitions, replication factor {replication_factor}");
    text.push_str(if ring.tuning.paused { ", paused\n\n" } else { "\n\n" });
    text.push_str(&nodes(&ring.nodes, columns));
    text.push('\n');
    text.push_str(&moves::headline(&ring.moves));
    text.push_str(&moves::table(&ring.moves, columns));
    text
}

fn nodes(nodes: &[NodeLoad], columns: usize) -> String {
    let heading = ["NODE", "ADDRESS", "STATE", "ZONE", "WEIGHT", "LEADERS", "BYTES"];
    let rows = nodes.iter().map(|node| {
        [
            node.id.clone(),
            node.address.clone(),
            node.state.clone(),
            node.zone.clone().unwrap_or_else(|| "-".into()),
            node.weight.to_string(),
            node.leaders.to_string(),
            draw::bytes(node.bytes),
        ]
    });
    let rows: Vec<_> = draw::lines(heading, rows.chain(average(nodes))).collect();
    let held = held(nodes);
    let (taken, counted) = (widest(rows.iter()) + 2, widest(held.iter().skip(1)) + 1);
    let beside = columns >= taken + BESIDE + counted;
    let room = draw::room(columns, counted + if beside { taken } else { 2 });
    let scale = nodes.iter().map(|node| node.replicas.max(node.target)).max().unwrap_or_default();
    let bars = nodes.iter().map(|node| {
        draw::bar(node.replicas as u64, Some(node.target as u64), scale as u64, room) + " "
    });
    let (heading, average) = (String::new(), " ".repeat(room + 1));
    let bars = std::iter::once(heading).chain(bars).chain(std::iter::once(average));
    let mut text = String::new();
    for ((row, bar), held) in rows.iter().zip(bars).zip(held) {
        let bar = bar + &held;
        text.push_str(&match beside {
            true => draw::pad(row, taken) + &bar,
            false => format!("{row}\n  {bar}"),
        });
        text.push('\n');
    }
    text
}

/// How many replicas of its target each node holds, under a heading, and on average if there are nodes.
fn held(nodes: &[NodeLoad]) -> Vec<String> {
    let each = nodes.iter().map(|node| format!("{} of {}", node.replicas, node.target));
    let replicas = mean(nodes, |node| node.replicas);
    let average = replicas.zip(mean(nodes, |node| node.target));
    let average = average.map(|(replicas, target)| format!("{replicas} of {target}"));
    std::iter::once("REPLICAS (OF TARGET)".into()).chain(each).chain(average).collect()
}

/// The row below the nodes' own, if there are nodes.
fn average(nodes: &[NodeLoad]) -> Option<[String; 7]> {
    let leaders = mean(nodes, |node| node.leaders)?;
    let sum = nodes.iter().map(|node| node.bytes).fold(0, u64::saturating_add);
    let bytes = sum.checked_div(nodes.len() as u64)?;
    let [address, state, zone, weight] = [const { String::new() }; 4];
    Some(["average".into(), address, state, zone, weight, leaders, draw::bytes(bytes)])
}

/// What nodes have on average, None without nodes.
fn mean(nodes: &[NodeLoad], of: fn(&NodeLoad) -> usize) -> Option<String> {
    let sum: usize = nodes.iter().map(of).sum();
    (!nodes.is_empty()).then(|| format!("{:.1}", sum as f64 / nodes.len() as f64))
}

fn widest<'a>(lines: impl Iterator<Item = &'a String>) -> usize {
    lines.map(|line| console::measure_text_width(line)).max().unwrap_or_default()
}

#[cfg(test)]
#[path = "ring_test.rs"]
mod tests;
