//! What a node takes: many overwrites of few keys, and how soon a full node is back.
//!
//! A real node of its own process is written to until many times its live data has gone through it. Its
//! log, its state and its memory are watched all the time and must stay within their bounds. Then it is
//! filled with distinct keys and killed, and the time until it serves again is taken, against that of an
//! empty node.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bench::{Pace, Verdict, Writers, disk, peak_memory};
use clap::Parser;
use cluster::{Seat, Stage, connect, eventually};
use kvcore::api::Client;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Bytes of a value.
const VALUE: usize = 4096;
/// What a node may take of memory beside its limit.
const BESIDE: u64 = 300 * MIB;

/// Measures what a node takes.
#[derive(Parser)]
struct CommandLine {
    /// MiB of live data
    #[arg(long, default_value_t = 100)]
    live: u64,
    /// MiB that are written over it
    #[arg(long, default_value_t = 10 * 1024)]
    written: u64,
    /// MiB that the node holds when it is killed
    #[arg(long, default_value_t = 1024)]
    held: u64,
    /// The node's memory limit, in MiB
    #[arg(long, default_value_t = 512)]
    memory_limit: u64,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let mut verdict = Verdict::default();
    overwrite(&line, &mut verdict);
    restart(&line, &mut verdict);
    verdict.code()
}

/// The most that was seen.
#[derive(Default)]
struct Most {
    log: AtomicU64,
    state: AtomicU64,
    memory: AtomicU64,
}

fn node(stage: &Stage, line: &CommandLine) -> Seat {
    let limit = format!("--memory-limit={}MiB", line.memory_limit);
    let mut seat = stage.seat("node").with(&[&limit]);
    seat.start();
    seat
}

fn client(seat: &Seat) -> Client {
    connect(&seat.address).unwrap()
}

fn overwrite(line: &CommandLine, verdict: &mut Verdict) {
    let stage = Stage::new();
    let seat = node(&stage, line);
    let writers = Writers {
        prefix: "over/".into(),
        keys: line.live * MIB / VALUE as u64,
        value_bytes: VALUE,
        pace: Pace::UnderWay(512),
    };
    let (most, done) = (Arc::new(Most::default()), Arc::new(AtomicBool::new(false)));
    let watch = {
        let (most, done) = (most.clone(), done.clone());
        let (dir, pid) = (seat.data_dir.clone(), seat.pid());
        thread::spawn(move || {
            while !done.load(Ordering::SeqCst) {
                most.log.fetch_max(disk(&dir.join("log")), Ordering::SeqCst);
                most.state.fetch_max(disk(&dir.join("state")), Ordering::SeqCst);
                most.memory.fetch_max(peak_memory(pid), Ordering::SeqCst);
                thread::sleep(Duration::from_millis(100));
            }
        })
    };
    let client = client(&seat);
    let filled = writers.fill(&client);
    let written = writers.write(&client, line.written * MIB / VALUE as u64);
    done.store(true, Ordering::SeqCst);
    watch.join().unwrap();
    let settled = settle(&seat);
    let seconds = written.took.as_secs_f64();
    println!(
        "{} MiB over {} MiB of live data: {} writes, {} failed, in {seconds:.0} s: {:.0} writes/s, {:.0} MiB/s",
        line.written,
        line.live,
        written.acknowledged,
        written.failed + filled.failed,
        written.acknowledged as f64 / seconds,
        line.written as f64 / seconds,
    );
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let (log, state) = (most.log.load(Ordering::SeqCst), most.state.load(Ordering::SeqCst));
    let memory = most.memory.load(Ordering::SeqCst);
    println!(
        "  at most: log {:.0} MiB, state {:.0} MiB, memory {:.0} MiB; state once settled {:.0} MiB",
        mib(log),
        mib(state),
        mib(memory),
        mib(settled)
    );
    verdict.at_most("writes that failed", (written.failed + filled.failed) as f64, 0.0);
    verdict.at_most("log, GiB", log as f64 / GIB as f64, 1.5);
    verdict.at_most("state after compaction, of live data", mib(settled) / line.live as f64, 3.0);
    let limit = line.memory_limit * MIB + BESIDE;
    verdict.at_most("memory, of its limit and 300 MiB", memory as f64 / limit as f64, 1.0);
}

/// Waits until the state's size has not changed for some seconds: nothing is left to compact.
fn settle(seat: &Seat) -> u64 {
    let state = seat.data_dir.join("state");
    let (mut size, mut since) = (0, Instant::now());
    eventually(Duration::from_secs(120), "compaction to end", || {
        let now = disk(&state);
        if now != size {
            (size, since) = (now, Instant::now());
        }
        if since.elapsed() > Duration::from_secs(6) { Ok(size) } else { Err("it goes on") }
    })
}

fn restart(line: &CommandLine, verdict: &mut Verdict) {
    let stage = Stage::new();
    let mut seat = node(&stage, line);
    seat.kill();
    let empty = start(&mut seat);
    let writers = Writers {
        prefix: "held/".into(),
        keys: line.held * MIB / VALUE as u64,
        value_bytes: VALUE,
        pace: Pace::UnderWay(512),
    };
    let filled = writers.fill(&client(&seat));
    let seconds = filled.took.as_secs_f64();
    println!("{} MiB of distinct keys in {seconds:.0} s, {} failed", line.held, filled.failed);
    seat.kill();
    let killed = start(&mut seat);
    seat.ask_to_end("TERM");
    let closed = start(&mut seat);
    println!(
        "  until it serves again: {killed:.2?} after SIGKILL, {closed:.2?} after SIGTERM; empty {empty:.2?}"
    );
    verdict.at_most("restart with data after SIGKILL, s", killed.as_secs_f64(), 10.0);
    verdict.at_most("restart with data after SIGTERM, s", closed.as_secs_f64(), 10.0);
}

/// How long a node takes until it says that it is ready.
fn start(seat: &mut Seat) -> Duration {
    let began = Instant::now();
    seat.start();
    began.elapsed()
}
