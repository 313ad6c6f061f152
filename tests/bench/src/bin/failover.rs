//! For how long writes stop when a node that leads is killed, and how long one takes when it is asked to end.
//!
//! Every partition has a writer of its own, that writes one value after the other. One node after the other is
//! killed and started again. For each kill and each partition the longest time without an acknowledged write is
//! taken: of the partitions that the victim led, and of the others. Then the nodes are asked to end instead,
//! and the longest write is taken.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bench::Verdict;
use clap::Parser;
use cluster::{Cluster, Seat, Stage, eventually};
use kvcore::api::{CallOptions, Client, ClientOptions, PartitionId};
use kvcore::types::Token;
use parking_lot::Mutex;

const NODES: usize = 3;
/// How long anything may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Acknowledged writes by which a partition counts as going on again.
const ON: usize = 10;

/// Measures for how long writes stop.
#[derive(Parser)]
struct CommandLine {
    /// Kills
    #[arg(long, default_value_t = 60)]
    kills: usize,
    /// Times that a node is asked to end
    #[arg(long, default_value_t = 10)]
    stops: usize,
    /// Partitions
    #[arg(long, default_value_t = 64)]
    partitions: u16,
    /// Milliseconds between two writes of a partition
    #[arg(long, default_value_t = 50)]
    every: u64,
}

/// A write that was acknowledged.
#[derive(Clone, Copy)]
struct Write {
    begun: Instant,
    acknowledged: Instant,
}

impl Write {
    fn took(&self) -> Duration {
        self.acknowledged - self.begun
    }
}

/// One writer for each partition.
struct Load {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<()>>,
}

struct Shared {
    client: Client,
    every: Duration,
    stop: AtomicBool,
    /// Of each partition, what was acknowledged lately.
    writes: Vec<Mutex<Vec<Write>>>,
    failed: Mutex<Vec<String>>,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let stage = Stage::new();
    let partitions = format!("--partitions={}", line.partitions);
    let mut cluster = Cluster::of(&stage, NODES, &[&partitions]);
    // As programs have it: nobody tries for longer than the 5 s that are the default.
    let client = Client::connect(&cluster.endpoints(), ClientOptions::default()).wait().unwrap();
    let load = Load::start(client, line.partitions, Duration::from_millis(line.every));
    cluster.wait_even(PATIENCE);

    let mut verdict = Verdict::default();
    kills(&line, &mut cluster, &load, &mut verdict);
    stops(&line, &mut cluster, &load, &mut verdict);
    verdict.code()
}

fn kills(line: &CommandLine, cluster: &mut Cluster, load: &Load, verdict: &mut Verdict) {
    let (mut own, mut each, mut others, mut back) = (vec![], vec![], vec![], vec![]);
    for nth in 0..line.kills {
        let victim = nth % NODES;
        let led = cluster.seats[victim].led().unwrap();
        assert!(!led.is_empty(), "the victim leads");
        load.forget();
        let killed = Instant::now();
        cluster.seats[victim].kill();
        load.wait_until_all_go_on(killed);
        let gaps = load.gaps(killed);
        let longest = |of: &dyn Fn(&PartitionId) -> bool| {
            let gaps = gaps.iter().filter(|(partition, _)| of(partition));
            gaps.map(|(_, gap)| *gap).max().unwrap_or_default()
        };
        own.push(longest(&|partition| led.contains(partition)));
        others.push(longest(&|partition| !led.contains(partition)));
        each.extend(gaps.iter().filter(|(one, _)| led.contains(one)).map(|(_, gap)| *gap));

        load.forget();
        let started = Instant::now();
        give_back(cluster, victim, &led);
        back.push(load.gaps(started).into_iter().map(|(_, gap)| gap).max().unwrap_or_default());
        println!(
            "  kill {:>2} of {}: {} partitions stopped for {:.2?} at worst, the others for {:.2?}",
            nth + 1,
            line.kills,
            led.len(),
            own[nth],
            others[nth]
        );
    }
    if line.kills == 0 {
        return;
    }
    println!("for how long writes stopped:");
    show("partitions led by the victim, the worst of each kill", &mut own);
    show("partitions led by the victim, each", &mut each);
    show("partitions led elsewhere, the worst of each kill", &mut others);
    show("any, while the victim came back", &mut back);
    let failed = load.failed();
    verdict.at_most("seconds of 95 in 100 kills", at(&own, 0.95).as_secs_f64(), 2.0);
    verdict.at_most("seconds of the worst kill", at(&own, 1.0).as_secs_f64(), 3.0);
    verdict.at_most("seconds of partitions led elsewhere", at(&others, 1.0).as_secs_f64(), 1.0);
    verdict.at_most("writes that failed", failed as f64, 0.0);
}

fn stops(line: &CommandLine, cluster: &mut Cluster, load: &Load, verdict: &mut Verdict) {
    let (mut ends, mut back) = (vec![], vec![]);
    for nth in 0..line.stops {
        let victim = nth % NODES;
        let led = cluster.seats[victim].led().unwrap();
        assert!(!led.is_empty(), "the victim leads");
        load.forget();
        let asked = Instant::now();
        let exit = cluster.seats[victim].ask_to_end("TERM");
        assert_eq!(exit.status.code(), Some(0), "{exit:?}");
        let ended = asked.elapsed();
        load.wait_until_all_go_on(Instant::now());
        let (partition, longest) = load.longest();
        ends.push(longest.took());

        load.forget();
        give_back(cluster, victim, &led);
        back.push(load.longest().1.took());
        println!(
            "  stop {:>2} of {}: ended in {ended:.2?}; the longest write took {:.2?}, to partition \
             {partition}, {} by who ended, from {:.2?} on; {:.2?} while it came back",
            nth + 1,
            line.stops,
            ends[nth],
            if led.contains(&partition) { "led" } else { "not led" },
            longest.begun.saturating_duration_since(asked),
            back[nth]
        );
    }
    if line.stops == 0 {
        return;
    }
    println!("the longest write:");
    show("while a node ended because it was asked to", &mut ends);
    show("while it came back", &mut back);
    verdict.at_most("seconds of the longest write", at(&ends, 1.0).as_secs_f64(), 0.5);
    // To come back is to be given back what one led: nobody is to wait for an election.
    let back = at(&back, 1.0).as_secs_f64();
    verdict.at_most("seconds of the longest write while a node comes back", back, 0.7);
    verdict.at_most("writes that failed", load.failed() as f64, 0.0);
}

/// Starts the victim again, and waits until it has been given back as much to lead.
fn give_back(cluster: &mut Cluster, victim: usize, led: &BTreeSet<PartitionId>) {
    cluster.seats[victim].start();
    cluster.wait_even(PATIENCE);
    let seat: &Seat = &cluster.seats[victim];
    eventually(PATIENCE, "it to lead as much as before", || match seat.led()?.len() {
        now if now * 10 >= led.len() * 9 => Ok(()),
        now => Err(format!("{now} of {}", led.len())),
    });
}

impl Load {
    fn start(client: Client, partitions: u16, every: Duration) -> Load {
        let shared = Arc::new(Shared {
            client,
            every,
            stop: AtomicBool::new(false),
            writes: (0..partitions).map(|_| Mutex::default()).collect(),
            failed: Mutex::default(),
        });
        let writers = (0..partitions).map(|nth| {
            let shared = shared.clone();
            thread::spawn(move || shared.write(PartitionId(nth)))
        });
        Load { writers: writers.collect(), shared }
    }

    /// Forgets all writes but the last of each partition.
    fn forget(&self) {
        for writes in &self.shared.writes {
            let mut writes = writes.lock();
            let all = writes.len();
            writes.drain(..all.saturating_sub(1));
        }
    }

    /// Waits until every partition takes writes that were begun after that moment.
    fn wait_until_all_go_on(&self, since: Instant) {
        eventually(PATIENCE, "every partition to take writes", || {
            let stand = |writes: &&Mutex<Vec<Write>>| {
                writes.lock().iter().filter(|write| write.begun > since).count() < ON
            };
            match self.shared.writes.iter().filter(stand).count() {
                0 => Ok(()),
                standing => Err(format!("{standing} stand still; {:?}", self.shared.failed.lock())),
            }
        });
    }

    /// The longest time since that moment in which a partition acknowledged nothing.
    fn gaps(&self, since: Instant) -> Vec<(PartitionId, Duration)> {
        let longest = |writes: &Mutex<Vec<Write>>| {
            let writes = writes.lock();
            // The last one before that moment began the pause that it falls into.
            let before = writes.iter().rfind(|write| write.acknowledged <= since);
            let mut last = before.map_or(since, |write| write.acknowledged);
            let mut longest = Duration::ZERO;
            for write in writes.iter().filter(|write| write.acknowledged > since) {
                longest = longest.max(write.acknowledged - last);
                last = write.acknowledged;
            }
            longest.max(last.elapsed())
        };
        (0..).map(PartitionId).zip(self.shared.writes.iter().map(longest)).collect()
    }

    /// The partition whose write took longest, when that write was begun, and how long it took.
    fn longest(&self) -> (PartitionId, Write) {
        let longest = |(partition, writes): (PartitionId, &Mutex<Vec<Write>>)| {
            let longest = writes.lock().iter().copied().max_by_key(Write::took)?;
            Some((partition, longest))
        };
        let all = (0..).map(PartitionId).zip(&self.shared.writes).filter_map(longest);
        all.max_by_key(|(_, write)| write.took()).expect("every partition has a write")
    }

    /// How many writes failed; some of them are printed.
    fn failed(&self) -> usize {
        let failed = self.shared.failed.lock();
        failed.iter().take(5).for_each(|failed| println!("  {failed}"));
        failed.len()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for writer in self.writers.drain(..) {
            drop(writer.join());
        }
    }
}

impl Shared {
    fn write(&self, partition: PartitionId) {
        let all = self.writes.len() as u16;
        let in_it = |key: &String| Token::of(key.as_bytes()).partition(all) == partition;
        let key = (0..).map(|nth: u64| format!("key-{nth}")).find(in_it).unwrap();
        while !self.stop.load(Ordering::SeqCst) {
            let begun = Instant::now();
            let put =
                self.client.put(key.clone().into(), vec![7; 64].into(), CallOptions::default());
            match put.wait() {
                Ok(_) => {
                    let write = Write { begun, acknowledged: Instant::now() };
                    self.writes[usize::from(partition.0)].lock().push(write);
                }
                Err(error) => {
                    let failed = format!("partition {partition}: {}: {error}", error.kind());
                    self.failed.lock().push(failed);
                }
            }
            thread::sleep(self.every.saturating_sub(begun.elapsed()));
        }
    }
}

/// What that part of the figures, in order, stays within: the nearest rank.
fn at(sorted: &[Duration], part: f64) -> Duration {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn show(what: &str, figures: &mut [Duration]) {
    figures.sort_unstable();
    let [half, most, worst] = [0.5, 0.95, 1.0].map(|part| at(figures, part));
    println!("  {what}: p50 {half:.2?}, p95 {most:.2?}, max {worst:.2?} of {}", figures.len());
}
