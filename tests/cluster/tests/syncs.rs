//! Each sync of a node is there for a reason: a power failure is noticed if it is left out.
//!
//! That makes the tests of power failures worth something: they would fail if a sync went missing. It is
//! tried on a single node, which has no other to repair it. "Noticed" is a loss, or a node that refuses to
//! start rather than serve less than it promised.
//!
//! Some syncs can be left out, by themselves, unnoticed, and are not tried here:
//!
//! - Those of the names `log` and `state` when they are made: the identity is written after them into the same
//!   directory, which syncs all names there, before anything is acknowledged.
//! - That of a spare segment that was filled with zeroes: it saves time later. What matters in a segment is
//!   synced when it is written.
//! - That of the log's names when the log is opened: nothing is acknowledged before a segment is begun, which
//!   syncs them as well.
//! - Those with which the log frees segments are needed, but the moment is too short to be met from here. The
//!   tests of `kvcore/src/wal/` try every moment, on a simulated disk.
//! - That of RocksDB's `OPTIONS` file, which is there for people, and of its `IDENTITY`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

use std::time::Duration;

use cluster::{Mix, MixPlan, Ready, Seat, Stage, distkv, eventually, patient};

const PATIENCE: Duration = Duration::from_secs(60);

/// What was found of a node after a power failure.
#[derive(Debug)]
#[expect(dead_code, reason = "a failed test prints what is inside")]
enum Found {
    Everything,
    Loss(String),
    Refusal(String),
}

/// A node that is about to lose power: it, and what was promised.
struct Node {
    seat: Seat,
    ready: Option<Ready>,
    mix: Option<Mix>,
}

/// What happens to a node until its power fails; some syncs are left out by the rules.
type Story = fn(&mut Node, rules: &[&str]);

impl Node {
    /// Starts it with these rules in force.
    #[track_caller]
    fn start(&mut self, partitions: u32, rules: &[&str]) {
        self.seat.power().rule(rules);
        self.seat.set(&[&format!("--partitions={partitions}"), "--start-timeout=20"]);
        self.ready = Some(self.seat.start());
    }

    /// Begins to write, until so many writes are acknowledged.
    #[track_caller]
    fn write(&mut self, writes: u64) {
        let timeout = Duration::from_secs(2);
        // As many as a partition has entries under way, so that each write is an entry.
        let plan = MixPlan { timeout, writers: 4, ..MixPlan::seeded("sync", 1) };
        let mix = self.mix.get_or_insert_with(|| Mix::start(&self.seat.address, plan));
        mix.wait_for_more(writes, PATIENCE);
    }

    /// Ends in order, when nobody writes any more.
    #[track_caller]
    fn close(&mut self) {
        if let Some(mix) = &mut self.mix {
            mix.stop();
        }
        assert_eq!(self.seat.ask_to_end_within("TERM", PATIENCE).status.code(), Some(0));
    }

    #[track_caller]
    fn wait_for_rule(&self) {
        eventually(PATIENCE, "the rule to apply", || match self.seat.power().met() {
            0 => Err("not yet"),
            _ => Ok(()),
        });
    }

    /// Cuts the power, gives it back, and looks.
    #[track_caller]
    fn look(&mut self) -> Found {
        self.seat.lose_power();
        if let Some(mix) = &mut self.mix {
            mix.stop();
        }
        self.seat.power().rule(&[]);
        let ready = match self.seat.attempt() {
            Ok(ready) => ready,
            Err(exit) => return Found::Refusal(exit.error().into()),
        };
        if let Some(before) = &self.ready
            && *before != ready
        {
            return Found::Loss(format!("{before:?} is now {ready:?}"));
        }
        let checked = match &self.mix {
            Some(mix) => mix.check(&patient(&self.seat.address)).map(|_| ()),
            None => Ok(()),
        };
        let works = || {
            distkv(&["put", "after", "all", "--timeout=20", "--endpoints", &self.seat.address]).ok()
        };
        match checked {
            Ok(()) => {
                works();
                Found::Everything
            }
            Err(loss) => Found::Loss(loss),
        }
    }
}

fn tell(story: Story, rules: &[&str]) -> Found {
    let stage = Stage::new();
    let mut node = Node { seat: stage.seat("alone").on_power(), ready: None, mix: None };
    story(&mut node, rules);
    node.look()
}

#[track_caller]
fn fails_without(rule: &str, story: Story) {
    let found = tell(story, &[rule]);
    println!("{rule}: {found:?}");
    assert!(!matches!(found, Found::Everything), "nobody noticed `{rule}`");
}

fn in_the_middle_of_a_load(node: &mut Node, rules: &[&str]) {
    node.start(4, rules);
    node.write(300);
    assert!(rules.is_empty() || node.seat.power().met() > 0);
}

fn after_a_close(node: &mut Node, rules: &[&str]) {
    node.start(4, rules);
    node.write(300);
    node.close();
    assert!(rules.is_empty() || node.seat.power().met() > 0);
}

/// The log no longer has everything: the state alone does.
fn after_the_log_was_trimmed(node: &mut Node, rules: &[&str]) {
    node.start(1, &[rules, &["quick sync *"]].concat());
    node.write(1);
    let first = node.seat.data_dir.join("log/0000000000000001.log");
    eventually(5 * PATIENCE, "the first segment to go", || {
        if first.exists() { Err(node.mix.as_ref().unwrap().figures()) } else { Ok(()) }
    });
    node.close();
}

/// The first segment of the log has its name, and nothing in it.
fn before_the_first_batch(node: &mut Node, rules: &[&str]) {
    node.seat.power().rule(&[rules, &["stall sync */log/*.log"]].concat());
    node.seat.begin();
    eventually(PATIENCE, "the first segment", || {
        let path = node.seat.data_dir.join("log/0000000000000001.log");
        if path.exists() { Ok(()) } else { Err("no segment") }
    });
    eventually(PATIENCE, "the sync to be waited for", || {
        let wanted = 1 + rules.len();
        if node.seat.power().met() >= wanted { Ok(()) } else { Err(node.seat.power().met()) }
    });
}

/// The last batch was written and not synced when the process died. The next one finds it, and builds on it;
/// the power fails before the old segment is gone for good, which would be soon, as it is short.
fn after_a_kill_before_a_sync(node: &mut Node, rules: &[&str]) {
    node.start(4, &[]);
    node.write(300);
    node.seat.power().rule(&["stall sync */log/*.log"]);
    node.wait_for_rule();
    node.seat.kill();
    node.start(4, &[rules, &["stall sync */log distkv-wal-keep"]].concat());
    node.write(50);
}

#[test]
fn with_every_sync_made_nothing_is_missing() {
    for (name, story) in [
        ("in the middle of a load", in_the_middle_of_a_load as Story),
        ("after a close", after_a_close),
        ("after the log was trimmed", after_the_log_was_trimmed),
        ("before the first batch", before_the_first_batch),
        ("after a kill before a sync", after_a_kill_before_a_sync),
    ] {
        let found = tell(story, &[]);
        assert!(matches!(found, Found::Everything), "{name}: {found:?}");
    }
}

#[test]
fn a_batch_of_the_log_is_synced() {
    fails_without("drop sync */log/*.log", in_the_middle_of_a_load);
}

#[test]
fn the_name_of_a_segment_is_synced() {
    fails_without("drop sync */log", in_the_middle_of_a_load);
}

#[test]
fn the_header_of_a_segment_is_synced_before_it_has_its_name() {
    fails_without("drop sync */log/*.tmp", before_the_first_batch);
}

#[test]
fn the_last_batch_is_synced_again_before_anything_builds_on_it() {
    fails_without("drop sync */log/*.log distkv-node", after_a_kill_before_a_sync);
}

#[test]
fn the_identity_is_synced() {
    fails_without("drop sync */identity.new", in_the_middle_of_a_load);
}

#[test]
fn the_names_in_the_directory_are_synced() {
    fails_without("drop sync /data", in_the_middle_of_a_load);
}

#[test]
fn tables_of_the_state_are_synced() {
    fails_without("drop sync */state/*.sst", after_a_close);
}

#[test]
fn the_manifest_of_the_state_is_synced() {
    fails_without("drop sync */state/MANIFEST-*", after_a_close);
}

/// RocksDB writes it under such a name first.
#[test]
fn the_pointer_to_the_manifest_is_synced() {
    fails_without("drop sync */state/*.dbtmp", after_a_close);
}

#[test]
fn names_in_the_state_are_synced() {
    fails_without("drop sync */state", after_the_log_was_trimmed);
}
