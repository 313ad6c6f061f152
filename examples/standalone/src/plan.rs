//! `distkv plan`: which moves are to come, or would be.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use indicatif::HumanDuration;
use kvcore::api::{self, Newcomer, Result};

use crate::node_name::NodeName;
use crate::target::Target;
use crate::{draw, report};

#[derive(Args)]
pub struct Plan {
    /// Ask what would move if a node came, by default of weight 1 and in no zone; may be repeated
    #[arg(
        long,
        value_name = "WEIGHT[:ZONE]",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1"
    )]
    with_node: Vec<With>,
    /// Ask what would move if a node left, by its id or address; may be repeated
    #[arg(long, value_name = "NODE")]
    without_node: Vec<NodeName>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Plan {
    pub fn run(self) -> Result<ExitCode> {
        let (client, options) = self.target.connect()?;
        let with = self.with_node.into_iter().map(|with| with.0).collect();
        let without = self.without_node.iter().map(|node| node.of(&client));
        let without = without.collect::<Result<_>>()?;
        let plan = client.plan(with, without, options).wait()?;
        let text = if self.json { report::json(&plan)? } else { draw(&plan, draw::columns()) };
        report::print(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A node that is not there yet, as the command line has it.
#[derive(Clone, Debug, PartialEq)]
struct With(Newcomer);

impl FromStr for With {
    type Err = String;

    fn from_str(text: &str) -> Result<With, String> {
        let (weight, zone) = match text.split_once(':') {
            Some((weight, zone)) => (weight, Some(zone.to_owned())),
            None => (text, None),
        };
        if zone.as_deref() == Some("") {
            return Err("there is no zone behind the colon".into());
        }
        let weight = weight.parse().map_err(|_| format!("`{weight}` is not a weight"))?;
        Ok(With(Newcomer { weight, zone }))
    }
}

/// The moves, and what each node holds before and after them: a bar of what it would hold, on which `│`
/// marks what it holds now.
fn draw(plan: &api::Plan, columns: usize) -> String {
    let mut text = match plan.moves.len() {
        0 => format!("epoch {}, nothing to move\n", plan.epoch),
        count => format!(
            "epoch {}, {count} {} to come, {} to send, about {}\n",
            plan.epoch,
            if count == 1 { "move" } else { "moves" },
            draw::bytes(plan.bytes),
            HumanDuration(duration(plan.seconds)),
        ),
    };
    if !plan.moves.is_empty() {
        let end = |end: &Option<String>| end.clone().unwrap_or_else(|| "-".into());
        let moves = plan.moves.iter().map(|one| {
            let partition = one.partition.to_string();
            [partition, end(&one.from), end(&one.to), draw::bytes(one.bytes)]
        });
        text.push('\n');
        text.push_str(&draw::table(["PARTITION", "FROM", "TO", "BYTES"], moves));
    }
    text.push('\n');
    text.push_str(&nodes(&plan.nodes, columns));
    text
}

fn nodes(nodes: &[api::PlannedLoad], columns: usize) -> String {
    let scale = nodes.iter().map(|node| node.now.max(node.then)).max().unwrap_or_default() as u64;
    // The other columns: an id, three numbers under their headings, and what lies between.
    let room = draw::room(columns, 16 + 3 + 4 + 6 + 4 * 2);
    let rows = nodes.iter().map(|node| {
        let (now, then) = (node.now as u64, node.then as u64);
        [
            node.id.clone(),
            now.to_string(),
            then.to_string(),
            match then.checked_signed_diff(now) {
                Some(0) | None => "-".into(),
                Some(change) => format!("{change:+}"),
            },
            draw::bar(then, Some(now), scale, room),
        ]
    });
    draw::table(["NODE", "NOW", "THEN", "CHANGE", ""], rows)
}

/// An estimate, as a span of time; the longest there is for one beyond all reason.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use kvcore::api::{PlannedLoad, PlannedMove};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        plan: Plan,
    }

    fn plan(line: &[&str]) -> Result<Plan, clap::Error> {
        Line::try_parse_from([&["plan"], line].concat()).map(|line| line.plan)
    }

    #[test]
    fn newcomers_have_a_weight_and_a_zone_if_they_are_given() {
        let line = ["--with-node", "--with-node=2", "--with-node=0.5:rack:1", "--json"];
        let asked = plan(&line).unwrap();
        let newcomer =
            |weight, zone: Option<&str>| With(Newcomer { weight, zone: zone.map(String::from) });
        let wanted = [newcomer(1.0, None), newcomer(2.0, None), newcomer(0.5, Some("rack:1"))];
        assert_eq!(asked.with_node, wanted);
        assert!(asked.json && asked.without_node.is_empty());
        for bad in ["--with-node=", "--with-node=heavy", "--with-node=1:", "--with-node=:rack"] {
            assert!(plan(&[bad]).is_err(), "{bad}");
        }
        assert!(plan(&["--with-node", "2"]).is_err(), "a weight needs its `=`");
    }

    #[test]
    fn who_would_leave_is_named_by_id_or_address() {
        let asked = plan(&["--without-node", "00ab", "--without-node=h:1"]).unwrap();
        let named: Vec<_> = asked.without_node.iter().map(NodeName::to_string).collect();
        assert_eq!(named, ["00000000000000ab", "h:1"]);
    }

    #[test]
    fn a_plan_is_its_moves_its_cost_and_what_each_node_gets() {
        let moved = |partition, from: Option<&str>| PlannedMove {
            partition,
            from: from.map(String::from),
            to: Some("new-1".into()),
            bytes: 3 * 1024 * 1024,
        };
        let load = |id: &str, now, then| PlannedLoad { id: id.into(), now, then };
        let planned = api::Plan {
            epoch: 9,
            moves: vec![moved(0, Some("00abcdef01234567")), moved(12, None)],
            bytes: 6 * 1024 * 1024,
            seconds: 90.0,
            nodes: vec![load("00abcdef01234567", 64, 48), load("new-1", 0, 48)],
        };
        assert_eq!(
            draw(&planned, 60),
            "\
epoch 9, 2 moves to come, 6.0 MiB to send, about 2 minutes

PARTITION  FROM              TO     BYTES
0          00abcdef01234567  new-1  3.0 MiB
12         -                 new-1  3.0 MiB

NODE              NOW  THEN  CHANGE
00abcdef01234567  64   48    -16     █████████████████▎    │
new-1             0    48    +48     │████████████████▎
"
        );
    }

    #[test]
    fn nothing_to_move_is_said() {
        let load = PlannedLoad { id: "00abcdef01234567".into(), now: 8, then: 8 };
        let planned = api::Plan { epoch: 3, nodes: vec![load], ..api::Plan::default() };
        assert_eq!(
            draw(&planned, 45),
            "epoch 3, nothing to move\n\n\
             NODE              NOW  THEN  CHANGE\n\
             00abcdef01234567  8    8     -       ███████│\n"
        );
    }

    #[test]
    fn no_estimate_is_too_long_to_show() {
        assert_eq!(duration(1.5), Duration::from_millis(1500));
        assert_eq!(duration(-1.0), Duration::ZERO);
        assert_eq!(duration(f64::INFINITY), Duration::MAX);
        assert_eq!(duration(f64::NAN), Duration::ZERO);
        let moves = vec![PlannedMove::default()];
        let endless = api::Plan { moves, seconds: f64::INFINITY, ..api::Plan::default() };
        assert!(draw(&endless, 80).contains(" years\n"));
    }
}
