//! `distkv leave`: a node gives what it holds to others, and is a member no more.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use kvcore::api::{Client, Error, Kind, NodeId, Result, RingStatus};

use crate::config::Seconds;
use crate::node_name::NodeName;
use crate::report;
use crate::target::{Hearing, PERIOD, Target};

#[derive(Args)]
pub struct Leave {
    /// The node, by its id or address [default: the one that answers]
    node: Option<NodeName>,
    /// Return as soon as it is decided; `status --watch` shows how far it is
    #[arg(long)]
    no_wait: bool,
    /// How long to wait; the node goes on leaving after that, as after Ctrl-C [default: no bound]
    #[arg(long, value_name = "SECONDS", conflicts_with = "no_wait")]
    wait: Option<Seconds>,
    #[command(flatten)]
    target: Target,
}

impl Leave {
    /// Has the node leave, prints `left` once it has, or `leaving` if that is not waited for.
    ///
    /// # Errors
    /// Those of [`Client::leave`]; `Timeout` if the node has not left in time.
    pub fn run(self) -> Result<ExitCode> {
        let (client, options) = self.target.connect()?;
        let node = match &self.node {
            Some(name) => name.of(&client)?,
            None => client.status().wait()?.node.parse()?,
        };
        client.leave(node, options).wait()?;
        if self.no_wait {
            report::print(b"leaving\n")?;
            return Ok(ExitCode::SUCCESS);
        }
        wait(&client, node, self.wait.map(Duration::from))?;
        report::print(b"left\n")?;
        Ok(ExitCode::SUCCESS)
    }
}

fn wait(client: &Client, node: NodeId, patience: Option<Duration>) -> Result<()> {
    let begun = Instant::now();
    let mut display = Display::new(node)?;
    let mut hearing = Hearing::begin();
    let mut leaving = Leaving::default();
    loop {
        if let Some(ring) = hearing.of(client.ring().wait())? {
            match leaving.see(node, &ring) {
                Step::Left => {
                    display.end();
                    return Ok(());
                }
                Step::Holds { replicas, most } => display.show(replicas, most),
            }
        }
        if patience.is_some_and(|patience| begun.elapsed() >= patience) {
            let error = Error::new(Kind::Timeout, "the node has not left yet, and goes on leaving");
            return Err(error.with("node", node).with("seconds", begun.elapsed().as_secs()));
        }
        thread::sleep(PERIOD);
    }
}

/// What is known of a node on its way out.
#[derive(Default)]
struct Leaving {
    /// The newest epoch in which it was a member.
    epoch: u64,
    /// The most replicas it was seen to hold.
    most: usize,
}

#[derive(Debug, PartialEq)]
enum Step {
    Left,
    /// What it still holds, and the most it held.
    Holds {
        replicas: usize,
        most: usize,
    },
}

impl Leaving {
    fn see(&mut self, node: NodeId, ring: &RingStatus) -> Step {
        let id = node.to_string();
        match ring.nodes.iter().find(|load| load.id == id) {
            Some(load) => {
                self.epoch = self.epoch.max(ring.epoch);
                self.most = self.most.max(load.replicas);
                Step::Holds { replicas: load.replicas, most: self.most }
            }
            // Each answer may come from another node: one that is behind may know of neither.
            None if ring.epoch < self.epoch => Step::Holds { replicas: self.most, most: self.most },
            None => Step::Left,
        }
    }
}

/// How far it is, on stderr: a bar if that is a terminal, else a line for each change.
struct Display {
    bar: ProgressBar,
    node: NodeId,
    said: Option<usize>,
}

impl Display {
    fn new(node: NodeId) -> Result<Display> {
        let unable = |error| Error::internal("the bar cannot be drawn").because(error);
        let template = "leaving {wide_bar} {pos} of {len} replicas given away in {elapsed}";
        let style = ProgressStyle::with_template(template).map_err(unable)?;
        // Hidden where stderr is no terminal.
        let bar = ProgressBar::new(0).with_style(style.progress_chars("█▉▊▋▌▍▎▏░"));
        Ok(Display { bar, node, said: None })
    }

    fn show(&mut self, replicas: usize, most: usize) {
        self.bar.set_length(most as u64);
        self.bar.set_position(most.saturating_sub(replicas) as u64);
        if self.bar.is_hidden() && self.said != Some(replicas) {
            report::say(&format!("{} still holds {replicas} replicas", self.node));
        }
        self.said = Some(replicas);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use kvcore::api::NodeLoad;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        leave: Leave,
    }

    fn leave(line: &[&str]) -> Result<Leave, clap::Error> {
        Line::try_parse_from([&["leave"], line].concat()).map(|line| line.leave)
    }

    fn ring(epoch: u64, held: &[(u64, usize)]) -> RingStatus {
        let load = |&(id, replicas): &(u64, usize)| NodeLoad {
            id: NodeId(id).to_string(),
            replicas,
            ..NodeLoad::default()
        };
        RingStatus { epoch, nodes: held.iter().map(load).collect(), ..RingStatus::default() }
    }

    #[test]
    fn a_node_has_left_when_it_is_no_member_any_more() {
        let (mut leaving, node) = (Leaving::default(), NodeId(7));
        let holds = |replicas, most| Step::Holds { replicas, most };
        assert_eq!(leaving.see(node, &ring(3, &[(7, 10), (8, 10)])), holds(10, 10));
        // A move that was under way to it ended.
        assert_eq!(leaving.see(node, &ring(4, &[(7, 11), (8, 10)])), holds(11, 11));
        assert_eq!(leaving.see(node, &ring(9, &[(7, 0), (8, 20)])), holds(0, 11));
        assert_eq!(leaving.see(node, &ring(10, &[(8, 20)])), Step::Left);
    }

    #[test]
    fn who_is_behind_has_no_say() {
        let (mut leaving, node) = (Leaving::default(), NodeId(7));
        leaving.see(node, &ring(5, &[(7, 10)]));
        assert_eq!(leaving.see(node, &ring(4, &[])), Step::Holds { replicas: 10, most: 10 });
        assert_eq!(leaving.see(node, &ring(6, &[])), Step::Left);
    }

    #[test]
    fn the_node_may_be_left_out_and_waiting_has_a_bound_of_its_own() {
        let said = leave(&[]).unwrap();
        assert!(said.node.is_none() && !said.no_wait && said.wait.is_none());
        let said = leave(&["h:1", "--wait=90", "--timeout=2"]).unwrap();
        assert_eq!(said.node, Some(NodeName::Address("h:1".into())));
        assert_eq!(said.wait.map(Duration::from), Some(Duration::from_secs(90)));
        assert!(leave(&["h:1", "--no-wait", "--wait=90"]).is_err());
        assert!(leave(&["h"]).is_err());
    }

    #[test]
    fn the_bar_can_be_drawn() {
        assert!(Display::new(NodeId(7)).is_ok());
    }
}
