//! `distkv status`: how a node and its cluster are, and the moves under way.

use std::process::ExitCode;
use std::thread;

use clap::Args;
use kvcore::api::{self, CallOptions, Client, Kind, Result, RingStatus};

use crate::draw::Screen;
use crate::target::{Hearing, PERIOD, Target};
use crate::{draw, moves, report};

#[derive(Args)]
pub struct Status {
    /// Print one JSON object
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// Show the moves until none is under way and none is to come
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    target: Target,
}

impl Status {
    pub fn run(self) -> Result<ExitCode> {
        let (client, _) = self.target.connect()?;
        if self.watch {
            watch(&client)?;
            return Ok(ExitCode::SUCCESS);
        }
        let status = client.status().wait()?;
        let text = if self.json {
            report::json(&status)?
        } else {
            draw(&status, ring(&client)?.as_ref(), draw::columns())
        };
        report::print(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The ring; None from a node of a version that does not know it.
fn ring(client: &Client) -> Result<Option<RingStatus>> {
    match client.ring().wait() {
        Ok(ring) => Ok(Some(ring)),
        Err(error) if error.kind() == Kind::Unsupported => Ok(None),
        Err(error) => Err(error),
    }
}

/// Shows how far the moves are, until there are none: on a terminal again and again in one place,
/// elsewhere one line for each change.
fn watch(client: &Client) -> Result<()> {
    let mut screen = Screen::stdout();
    let mut hearing = Hearing::begin();
    let mut said = String::new();
    loop {
        if let Some((status, ring)) = hearing.of(look(client))? {
            let line = moves::headline(&ring.moves);
            match &mut screen {
                Some(screen) => screen.draw(&draw(&status, Some(&ring), draw::columns()))?,
                None if line != said => report::print(line.as_bytes())?,
                None => {}
            }
            said = line;
            if ring.moves.is_empty() && hearing.of(none_to_come(client, &ring))? == Some(true) {
                return Ok(());
            }
        }
        thread::sleep(PERIOD);
    }
}

fn look(client: &Client) -> Result<(api::Status, RingStatus)> {
    Ok((client.status().wait()?, client.ring().wait()?))
}

/// Whether the next look would find no move either. Between the end of some moves and the beginning of
/// the next there may be a moment without any.
fn none_to_come(client: &Client, ring: &RingStatus) -> Result<bool> {
    if ring.tuning.paused {
        return Ok(true);
    }
    let plan = client.plan(Vec::new(), Vec::new(), CallOptions::default()).wait()?;
    Ok(plan.moves.is_empty())
}

/// A node and its cluster, one fact a line, then the moves.
fn draw(status: &api::Status, ring: Option<&RingStatus>, columns: usize) -> String {
    let paused = ring.is_some_and(|ring| ring.tuning.paused);
    // The ring is a little newer, and its moves stand below.
    let moves = ring.map_or(status.moves, |ring| ring.moves.len());
    let facts = [
        ("node", status.node.clone()),
        ("address", status.address.clone()),
        ("version", status.version.clone()),
        ("cluster", status.cluster.clone()),
        ("metadata leader", status.metadata_leader.clone().unwrap_or_else(|| "-".into())),
        ("epoch", status.epoch.to_string()),
        ("partitions", status.partitions.to_string()),
        ("replication factor", status.replication_factor.to_string()),
        (
            "data",
            match (status.durable, status.full) {
                (true, false) => "on disk",
                (true, true) => "on disk, which is full: no writes are taken here",
                (false, _) => "in memory",
            }
            .to_owned(),
        ),
        ("leaving", if status.leaving { "yes" } else { "no" }.to_owned()),
        ("replicas here", format!("{} ({} leading)", status.replicas, status.leaders)),
        ("lagging here", status.lagging.to_string()),
        ("damaged here", status.damaged.to_string()),
        ("leaderless", status.leaderless.to_string()),
        ("under-replicated", status.under_replicated.to_string()),
        (
            "moves under way",
            format!("{moves}{}", if paused { ", paused: no more begin" } else { "" }),
        ),
    ];
    let mut text: String = facts.iter().map(|(name, fact)| format!("{name:<20}{fact}\n")).collect();
    if let Some(ring) = ring.filter(|ring| !ring.moves.is_empty()) {
        text.push('\n');
        text.push_str(&moves::table(&ring.moves, columns));
    }
    text
}

#[cfg(test)]
mod tests {
    use kvcore::api::{MoveStatus, Tuning};

    use super::*;

    fn known() -> api::Status {
        api::Status {
            node: "7".into(),
            replicas: 3,
            leaders: 1,
            durable: true,
            moves: 1,
            ..api::Status::default()
        }
    }

    #[test]
    fn a_status_is_told_in_lines_and_read_back_from_json() {
        let text = draw(&known(), None, 80);
        assert!(text.contains("replicas here       3 (1 leading)\n"), "{text}");
        assert!(text.contains("data                on disk\n"), "{text}");
        assert!(text.ends_with("moves under way     1\n"), "{text}");
        let read: api::Status = serde_json::from_str(&report::json(&known()).unwrap()).unwrap();
        assert_eq!(read, known());
    }

    #[test]
    fn moves_under_way_follow_with_their_bars() {
        let moving = MoveStatus { partition: 3, bytes: 1024, sent: 512, ..MoveStatus::default() };
        let tuning = Tuning { paused: true, ..Tuning::default() };
        let ring = RingStatus { moves: vec![moving], tuning, ..RingStatus::default() };
        let text = draw(&known(), Some(&ring), 80);
        let (_, moves) =
            text.split_once("moves under way     1, paused: no more begin\n\n").unwrap();
        assert_eq!(moves, moves::table(&ring.moves, 80));
        assert!(moves.contains("512 B of 1.0 KiB"), "{moves}");
    }
}
