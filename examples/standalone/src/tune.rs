//! `distkv tune`, `pause` and `resume`: how eagerly a cluster moves replicas.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use kvcore::api::{Result, Retune, Tuning};

use crate::config::Seconds;
use crate::target::Target;
use crate::{draw, report};

#[derive(Args)]
pub struct Tune {
    /// Replicas on their way to one node at a time, 1 to 64; 4 at first
    #[arg(long, value_name = "N")]
    moves_per_node: Option<u32>,
    /// What each node sends of replicas a second, in bytes or as in 16MiB; 0, as at first, for each
    /// node's own --snapshot-rate
    #[arg(long, value_name = "BYTES")]
    move_rate: Option<ByteSize>,
    /// How long a node may be out of reach before its replicas are made anew on others, 1 to 86400; 300
    /// at first
    #[arg(long, value_name = "SECONDS")]
    dead_node_timeout: Option<Seconds>,
    /// If this part of the nodes or more vanishes at once, none of it is taken for dead, 0.001 to 1.001;
    /// 0.5 at first, 1.001 takes any number for dead
    #[arg(long, value_name = "FRACTION")]
    max_dead_fraction: Option<Fraction>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Tune {
    /// What is to change.
    fn change(&self) -> Retune {
        let milliseconds =
            |time: Seconds| u64::try_from(Duration::from(time).as_millis()).unwrap_or(u64::MAX);
        Retune {
            moves_per_node: self.moves_per_node,
            move_rate: self.move_rate.map(|rate| rate.as_u64()),
            paused: None,
            dead_node_timeout_ms: self.dead_node_timeout.map(milliseconds),
            max_dead_milli: self.max_dead_fraction.map(|fraction| fraction.milli),
        }
    }

    pub fn run(self) -> Result<ExitCode> {
        let (client, options) = self.target.connect()?;
        let tuning = client.tune(self.change(), options).wait()?;
        let text = if self.json { report::json(&tuning)? } else { draw(&tuning) };
        report::print(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
pub struct Pause {
    #[command(flatten)]
    target: Target,
}

impl Pause {
    pub fn run(self) -> Result<ExitCode> {
        pause(&self.target, true)
    }
}

#[derive(Args)]
pub struct Resume {
    #[command(flatten)]
    target: Target,
}

impl Resume {
    pub fn run(self) -> Result<ExitCode> {
        pause(&self.target, false)
    }
}

fn pause(target: &Target, paused: bool) -> Result<ExitCode> {
    let (client, options) = target.connect()?;
    let change = Retune { paused: Some(paused), ..Retune::default() };
    let tuning = client.tune(change, options).wait()?;
    report::print(if tuning.paused { b"paused\n" } else { b"resumed\n" })?;
    Ok(ExitCode::SUCCESS)
}

/// A part of a whole, as the cluster keeps it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fraction {
    milli: u32,
}

impl FromStr for Fraction {
    type Err = String;

    fn from_str(text: &str) -> Result<Fraction, String> {
        let fraction: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
        if !(0.001..=1.001).contains(&fraction) {
            return Err(format!("`{text}` is not a number from 0.001 to 1.001"));
        }
        Ok(Fraction { milli: (fraction * 1000.0).round() as u32 })
    }
}

/// One setting a line.
fn draw(tuning: &Tuning) -> String {
    let seconds = tuning.dead_node_timeout().as_secs_f64();
    let facts = [
        ("moves per node", tuning.moves_per_node.to_string()),
        (
            "move rate",
            match tuning.move_rate {
                0 => "0: each node's own".into(),
                rate => format!("{} a second", draw::bytes(rate)),
            },
        ),
        ("dead node timeout", format!("{seconds} seconds")),
        ("max dead fraction", (f64::from(tuning.max_dead_milli) / 1000.0).to_string()),
        ("paused", if tuning.paused { "yes" } else { "no" }.into()),
    ];
    facts.iter().map(|(name, fact)| format!("{name:<20}{fact}\n")).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        tune: Tune,
    }

    fn change(line: &[&str]) -> Result<Retune, clap::Error> {
        Line::try_parse_from([&["tune"], line].concat()).map(|line| line.tune.change())
    }

    #[test]
    fn what_is_not_named_is_not_changed() {
        assert_eq!(change(&[]).unwrap(), Retune::default());
        let all = [
            "--moves-per-node=8",
            "--move-rate=32MiB",
            "--dead-node-timeout=1.5",
            "--max-dead-fraction=1.001",
        ];
        let wanted = Retune {
            moves_per_node: Some(8),
            move_rate: Some(32 << 20),
            paused: None,
            dead_node_timeout_ms: Some(1500),
            max_dead_milli: Some(1001),
        };
        assert_eq!(change(&all).unwrap(), wanted);
        assert_eq!(change(&["--move-rate", "0"]).unwrap().move_rate, Some(0));
        assert_eq!(change(&["--max-dead-fraction", "0.5"]).unwrap().max_dead_milli, Some(500));
    }

    #[test]
    fn a_fraction_is_one() {
        for bad in ["0", "0.0001", "-0.5", "1.01", "nan", "inf", "50%", ""] {
            assert!(bad.parse::<Fraction>().is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_are_told_in_lines() {
        assert_eq!(
            draw(&Tuning::default()),
            "\
moves per node      4
move rate           0: each node's own
dead node timeout   300 seconds
max dead fraction   0.5
paused              no
"
        );
        let change = Retune { move_rate: Some(32 << 20), paused: Some(true), ..Retune::default() };
        let text = draw(&Tuning::default().changed(&change).unwrap());
        assert!(text.contains("move rate           32.0 MiB a second\n"), "{text}");
        assert!(text.contains("paused              yes\n"), "{text}");
    }
}
