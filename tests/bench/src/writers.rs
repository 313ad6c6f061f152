//! Writers that keep many writes under way, and note how long each took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::{Failed, Ledger, value_of};
use kvcore::api::{CallOptions, Client, Error};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::latency::Latencies;

/// How fast to write.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many writes are always under way.
    UnderWay(usize),
    /// So many begin every second, whether or not those before have ended.
    Every(u32),
}

/// What is written: each value is random, so that it cannot be compressed.
#[derive(Clone, Debug)]
pub struct Writers {
    /// What every key begins with.
    pub prefix: String,
    /// How many keys there are; they are written in random order, over and over.
    pub keys: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// How fast.
    pub pace: Pace,
}

/// A load that runs beside what is measured.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Written>,
}

/// What a load came to.
#[derive(Default)]
pub struct Written {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes that failed.
    pub failed: u64,
    /// How long the acknowledged ones took.
    pub latencies: Latencies,
    /// How long all of it took.
    pub took: Duration,
    /// What became of each key, if each was written once.
    pub ledger: Ledger,
}

impl Running {
    /// Ends the load; what it came to.
    ///
    /// # Panics
    /// If the load did.
    pub fn stop(self) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the load ends")
    }
}

impl Writers {
    /// Writes that many times.
    pub fn write(&self, client: &Client, count: u64) -> Written {
        self.run(client, Some(count), &AtomicBool::new(false))
    }

    /// Writes every key once, in order.
    pub fn fill(&self, client: &Client) -> Written {
        let next = AtomicU64::new(0);
        let next = |chance: &mut SmallRng| self.noise(next.fetch_add(1, Ordering::SeqCst), chance);
        self.drive(client, Some(self.keys), &AtomicBool::new(false), next, false)
    }

    /// The same with values that follow from their keys, so that they can be checked.
    pub fn fill_once(&self, client: &Client) -> Written {
        let next = AtomicU64::new(0);
        let next = |_: &mut SmallRng| {
            let key = self.key(next.fetch_add(1, Ordering::SeqCst));
            let value = value_of(&key, self.value_bytes);
            (key, value)
        };
        self.drive(client, Some(self.keys), &AtomicBool::new(false), next, true)
    }

    /// Writes until it is stopped.
    pub fn start(&self, client: &Client) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let (this, client, stopped) = (self.clone(), client.clone(), stop.clone());
        let thread = thread::spawn(move || this.run(&client, None, &stopped));
        Running { stop, thread }
    }

    fn run(&self, client: &Client, count: Option<u64>, stop: &AtomicBool) -> Written {
        let next = |chance: &mut SmallRng| self.noise(chance.random_range(0..self.keys), chance);
        self.drive(client, count, stop, next, false)
    }

    fn key(&self, nth: u64) -> String {
        format!("{}{nth:012}", self.prefix)
    }

    fn noise(&self, nth: u64, chance: &mut SmallRng) -> (String, Bytes) {
        let mut value = vec![0; self.value_bytes];
        chance.fill_bytes(&mut value);
        (self.key(nth), value.into())
    }

    fn drive(
        &self,
        client: &Client,
        count: Option<u64>,
        stop: &AtomicBool,
        mut next: impl FnMut(&mut SmallRng) -> (String, Bytes),
        kept: bool,
    ) -> Written {
        let most = match self.pace {
            Pace::UnderWay(most) => most,
            Pace::Every(_) => 4096,
        };
        let (tell, told) = sync_channel(most);
        let ledger = Ledger { value_bytes: self.value_bytes, ..Ledger::default() };
        let mut written = Written { ledger, ..Written::default() };
        let mut chance = SmallRng::seed_from_u64(7);
        let began = Instant::now();
        let mut under_way = 0;
        let mut begun = 0;
        let mut note = |(key, outcome, took): (String, Result<(), Error>, Duration)| match outcome {
            Ok(()) => {
                written.acknowledged += 1;
                written.latencies.note(took);
                written.ledger.acknowledged.extend(Some(key).filter(|_| kept));
            }
            Err(error) => {
                written.failed += 1;
                let failed = Failed { key, kind: error.kind(), message: error.to_string() };
                written.ledger.failed.extend(Some(failed).filter(|_| kept));
            }
        };
        while count.is_none_or(|count| begun < count) && !stop.load(Ordering::SeqCst) {
            // When this write should begin; a late one is counted from then on, or a stall would hide
            // the writes that it held up (Tene, "How not to measure latency").
            let due = match self.pace {
                Pace::UnderWay(_) => Instant::now(),
                Pace::Every(rate) => began + Duration::from_secs(begun) / rate,
            };
            thread::sleep(due.saturating_duration_since(Instant::now()));
            while under_way >= most {
                note(told.recv().expect("the channel is open"));
                under_way -= 1;
            }
            while let Ok(outcome) = told.try_recv() {
                note(outcome);
                under_way -= 1;
            }
            let (key, value) = next(&mut chance);
            let put = Arc::new(client.put(key.clone().into(), value, options()));
            let (tell, ready) = (tell.clone(), put.clone());
            put.on_ready(move || {
                let outcome = ready.take().expect("it is ready").map(drop);
                // There is room for as many as are under way.
                tell.try_send((key, outcome, due.elapsed())).ok();
            });
            begun += 1;
            under_way += 1;
        }
        for _ in 0..under_way {
            note(told.recv().expect("the channel is open"));
        }
        written.took = began.elapsed();
        written
    }
}

fn options() -> CallOptions {
    CallOptions { timeout: Some(Duration::from_secs(30)), ..CallOptions::default() }
}
