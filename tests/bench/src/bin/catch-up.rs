//! What a replica that catches up costs the others: the latency of writes with and without it.
//!
//! Three nodes take a steady load. One is killed, and the logs are trimmed beyond what it has; then it
//! comes back, and gets its partitions as snapshots while the load goes on. The 99th percentile of the
//! writes meanwhile is compared with the usual one, in the same run.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use bench::{Pace, Verdict, Writers, disk};
use clap::Parser;
use cluster::{Cluster, Stage, connect, eventually};

const MIB: u64 = 1 << 20;
const VALUE: usize = 4096;

/// Measures what a replica that catches up costs the others.
#[derive(Parser)]
struct CommandLine {
    /// MiB that each node holds
    #[arg(long, default_value_t = 1024)]
    held: u64,
    /// Writes a second
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Seconds over which the usual latency is measured
    #[arg(long, default_value_t = 60)]
    usual: u64,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let stage = Stage::new();
    let flags = ["--log-budget=256MiB", "--memory-limit=256MiB"];
    let mut cluster = Cluster::of(&stage, 3, &flags);
    let client = connect(&cluster.endpoints()).unwrap();
    let held = Writers {
        prefix: "held/".into(),
        keys: line.held * MIB / VALUE as u64,
        value_bytes: VALUE,
        pace: Pace::UnderWay(256),
    };
    let steady = Writers { pace: Pace::Every(line.rate), ..held.clone() };
    let filled = held.fill(&client);
    println!("each node holds {} MiB, written in {:.0?}", line.held, filled.took);

    let load = steady.start(&client);
    thread::sleep(Duration::from_secs(line.usual));
    let usual = load.stop();

    // Gone for long enough that nobody has in his log what it lacks.
    let led_before = cluster.seats[2].status().unwrap().leaders;
    cluster.seats[2].kill();
    let endpoints = cluster.live_endpoints();
    let client = connect(&endpoints).unwrap();
    let missed = held.write(&client, 1024 * MIB / VALUE as u64);
    println!("the third node has missed {} writes", missed.acknowledged);
    for seat in &cluster.seats[..2] {
        println!(
            "  the log of {} takes {} MiB",
            seat.label,
            disk(&seat.data_dir.join("log")) / MIB
        );
    }

    let load = steady.start(&client);
    let began = Instant::now();
    cluster.seats[2].start();
    let seat = &cluster.seats[2];
    let arriving = seat.data_dir.join("snapshots");
    let mut arrived = BTreeSet::new();
    eventually(Duration::from_secs(600), "the third node to catch up", || {
        let names = std::fs::read_dir(&arriving).into_iter().flatten().flatten();
        arrived.extend(names.map(|entry| entry.file_name()));
        // It is given back what it should lead when it has nearly all of it.
        let status = seat.status()?;
        let leads_again = status.leaders * 10 >= led_before * 9;
        if leads_again && status.lagging == 0 { Ok(()) } else { Err(format!("{status:?}")) }
    });
    let caught_up = began.elapsed();
    let meanwhile = load.stop();
    println!(
        "it caught up within {caught_up:.1?}, by {} snapshots, while {} writes went on",
        arrived.len(),
        meanwhile.acknowledged
    );

    let p99 = |written: &bench::Written| written.latencies.quantile(0.99);
    for (when, written) in [("usually", &usual), ("meanwhile", &meanwhile)] {
        println!(
            "  {when:<10} p50 {:>9.2?}  p99 {:>9.2?}  max {:>9.2?}  {} failed",
            written.latencies.quantile(0.5),
            p99(written),
            written.latencies.quantile(1.0),
            written.failed
        );
    }
    let mut verdict = Verdict::default();
    let ratio = p99(&meanwhile).as_secs_f64() / p99(&usual).as_secs_f64();
    verdict.at_most("p99 while a node catches up, of the usual", ratio, 3.0);
    verdict.at_least("snapshots", arrived.len() as f64, 1.0);
    verdict.at_most("writes that failed", (usual.failed + meanwhile.failed) as f64, 0.0);
    verdict.code()
}
