//! What it takes to grow, shrink and heal a cluster that is in use: seconds, bytes, and what callers notice.
//!
//! Three nodes take a steady load of reads and writes. A fourth joins; another one leaves, and ends by itself;
//! a fifth joins; and one is killed, and given up by the others without anybody asking. After each step all
//! data is read, and compared with what was written. The 99th percentile of the calls while the fourth joins
//! is compared with the usual one, in the same run, and the bytes that it was sent with its share.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing)]

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use bench::{Calling, Calls, Pace, Phase, Verdict, Writers};
use clap::Parser;
use cluster::{Cluster, Ledger, Stage, eventually, patient};
use kvcore::api::{Client, ClientOptions, Retune};

const MIB: u64 = 1 << 20;
/// Bytes of the values that are moved: so many that what is stored beside them does not count.
const VALUE: usize = 16 << 10;
/// Logs so small that what is moved is moved as snapshots.
const FLAGS: [&str; 2] = ["--log-budget=64MiB", "--memory-limit=128MiB"];
/// How long a step may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(600);
/// How soon replicas and leaders are to be spread evenly after each step, in seconds.
const EVEN: f64 = 60.0;

/// Measures what it takes to grow, shrink and heal a cluster.
#[derive(Parser)]
struct CommandLine {
    /// MiB of values
    #[arg(long, default_value_t = 200)]
    held: u64,
    /// Calls a second
    #[arg(long, default_value_t = 400)]
    rate: u32,
    /// MiB a second that each node sends of what moves; 0 for what nodes send unless they are told
    #[arg(long, default_value_t = 0)]
    move_rate: u64,
    /// Replicas on their way to one node at a time; by default as clusters are tuned that nobody has tuned
    #[arg(long)]
    moves_per_node: Option<u32>,
    /// Seconds over which the usual latency is measured
    #[arg(long, default_value_t = 30)]
    usual: u64,
}

struct Run<'a> {
    stage: &'a Stage,
    cluster: Cluster,
    held: Ledger,
    calling: Calling,
    verdict: Verdict,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let stage = Stage::new();
    let cluster = Cluster::of(&stage, 3, &FLAGS);
    let (move_rate, moves_per_node) = (Some(line.move_rate * MIB), line.moves_per_node);
    cluster.tune(Retune { move_rate, moves_per_node, ..Retune::default() });
    // As programs have it: nobody tries for longer than the 5 s that are the default.
    let client = Client::connect(&cluster.endpoints(), ClientOptions::default()).wait().unwrap();
    let held = Writers {
        prefix: "held/".into(),
        keys: line.held * MIB / VALUE as u64,
        value_bytes: VALUE,
        pace: Pace::UnderWay(64),
    };
    let filled = held.fill_once(&client);
    println!("the cluster holds {} MiB, written in {:.1?}", line.held, filled.took);
    let calls = Calls { prefix: "live".into(), value_bytes: 1024, rate: line.rate };
    let calling = calls.start(&client);
    let verdict = Verdict::default();
    let mut run = Run { stage: &stage, cluster, held: filled.ledger, calling, verdict };
    run.check();

    run.calling.phase();
    thread::sleep(Duration::from_secs(line.usual));
    let usual = run.calling.phase();
    print("usually", &usual);
    run.verdict.at_most("calls that failed usually", usual.failed.len() as f64, 0.0);

    let meanwhile = run.join("the fourth");
    let ratio = meanwhile.latencies.quantile(0.99).as_secs_f64()
        / usual.latencies.quantile(0.99).as_secs_f64();
    run.verdict.at_most("p99 while the fourth joins, of the usual", ratio, 3.0);
    run.leave(1);
    // Three replicas need three nodes when one of them dies.
    run.join("the fifth");
    run.die(0);

    let Run { calling, mut verdict, cluster, .. } = run;
    let ledger = calling.stop();
    let live = ledger.check(&patient(&cluster.live_endpoints()));
    println!("{} written by the calls: {live:?}", ledger.acknowledged.len());
    verdict.at_most("what the calls wrote and is wrong", f64::from(u8::from(live.is_err())), 0.0);
    verdict.code()
}

impl Run<'_> {
    /// One more node joins, and gets its share.
    fn join(&mut self, who: &str) -> Phase {
        let nth = self.cluster.seats.len();
        let (begun, step) = (Instant::now(), format!("{who} joins"));
        self.calling.phase();
        self.cluster.add(self.stage.seat(&format!("node-{nth}")), &FLAGS);
        self.watch(&step, begun);
        let phase = self.end(&step, begun);

        let (nodes, ring) = (self.cluster.live().count(), self.cluster.ring().unwrap());
        let values = (self.held.acknowledged.len() * VALUE) as u64 + self.calling.written();
        let share = u64::from(ring.replication_factor) * values / nodes as u64;
        let received = self.cluster.seats[nth].status().unwrap().snapshot_bytes_received;
        println!("  it was sent {} MiB; its share is {} MiB", received / MIB, share / MIB);
        let part = received as f64 / share as f64;
        self.verdict.at_most(&format!("bytes sent while {step}, of its share"), part, 1.25);
        // Else it came out of the logs, and nothing is said about snapshots.
        self.verdict.at_least(&format!("bytes sent while {step}, of its share"), part, 0.5);
        self.check();
        phase
    }

    /// A node leaves; its process ends by itself.
    fn leave(&mut self, nth: usize) {
        let begun = Instant::now();
        self.calling.phase();
        self.cluster.leave(nth).unwrap();
        eventually(PATIENCE, "it to be gone", || {
            self.progress("one leaves", begun);
            if self.cluster.seats[nth].is_running() { Err("it is still there") } else { Ok(()) }
        });
        let exit = self.cluster.seats[nth].wait_exit(PATIENCE);
        println!("  its process ended after {:.1?}: {}", begun.elapsed(), exit.status);
        let in_order = f64::from(u8::from(exit.status.success()));
        self.verdict.at_least("processes that ended in order when they left", in_order, 1.0);
        self.watch("one leaves", begun);
        self.end("one leaves", begun);
        self.check();
    }

    /// A node is killed, and given up after 3 s.
    fn die(&mut self, nth: usize) {
        self.cluster.tune(Retune { dead_node_timeout_ms: Some(3000), ..Retune::default() });
        self.calling.phase();
        let begun = Instant::now();
        self.cluster.seats[nth].kill();
        eventually(PATIENCE, "it to be given up", || match self.cluster.load_of(nth)? {
            Some(node) if node.state == "dead" => Ok(()),
            node => Err(format!("{node:?}")),
        });
        println!("  it was given up after {:.1?}", begun.elapsed());
        self.watch("one dies", begun);
        self.end("one dies", begun);
        let lacking = self.cluster.live().map(|seat| seat.status().unwrap().under_replicated);
        let lacking = lacking.max().unwrap_or(0) as f64;
        self.verdict.at_most("partitions that lack a replica after a death", lacking, 0.0);
        self.check();
    }

    /// Waits until the cluster is at rest and even, and says how far it is every second.
    fn watch(&self, step: &str, begun: Instant) {
        eventually(PATIENCE, "replicas and leaders to be spread evenly", || {
            self.progress(step, begun);
            self.cluster.even()
        });
    }

    fn progress(&self, step: &str, begun: Instant) {
        thread_local!(static NEXT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });
        let second = begun.elapsed().as_secs();
        if NEXT.replace(second) == second {
            return;
        }
        let Ok(ring) = self.cluster.ring() else { return };
        let bytes: u64 = ring.moves.iter().map(|step| step.bytes).sum();
        let sent: u64 = ring.moves.iter().map(|step| step.sent).sum();
        let held = ring.nodes.iter().map(|node| format!("{}/{}", node.replicas, node.target));
        println!(
            "  {second:>3} s {step}: {} moves under way, {} of {} MiB sent; replicas {}",
            ring.moves.len(),
            sent / MIB,
            bytes / MIB,
            held.collect::<Vec<_>>().join(" ")
        );
    }

    fn end(&mut self, step: &str, begun: Instant) -> Phase {
        let took = begun.elapsed().as_secs_f64();
        let phase = self.calling.phase();
        print(step, &phase);
        for failed in phase.failed.iter().take(5) {
            println!("    {failed}");
        }
        self.verdict.at_most(&format!("seconds until all is even when {step}"), took, EVEN);
        let failed = phase.failed.len() as f64;
        self.verdict.at_most(&format!("calls that failed when {step}"), failed, 0.0);
        phase
    }

    /// Reads everything through one of the nodes.
    fn check(&mut self) {
        let client = patient(&self.cluster.live_endpoints());
        for ledger in [&self.held, &self.calling.ledger()] {
            let outcome = ledger.check(&client);
            let wrong = f64::from(u8::from(outcome.is_err()));
            if let Err(why) = outcome {
                println!("  {why}");
            }
            self.verdict.at_most("checks of all data that found something", wrong, 0.0);
        }
    }
}

fn print(when: &str, phase: &Phase) {
    println!(
        "{when}: p50 {:.2?}, p99 {:.2?}, max {:.2?} of {} calls; {} failed",
        phase.latencies.quantile(0.5),
        phase.latencies.quantile(0.99),
        phase.latencies.quantile(1.0),
        phase.latencies.count(),
        phase.failed.len()
    );
}
