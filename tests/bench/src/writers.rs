//! Writers that keep many writes under way, and note how long each took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvcore::api::{CallOptions, Client};
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
        let key = |_: &mut SmallRng| next.fetch_add(1, Ordering::SeqCst);
        self.drive(client, Some(self.keys), &AtomicBool::new(false), key)
    }

    /// Writes until it is stopped.
    pub fn start(&self, client: &Client) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let (this, client, stopped) = (self.clone(), client.clone(), stop.clone());
        let thread = thread::spawn(move || this.run(&client, None, &stopped));
        Running { stop, thread }
    }

    fn run(&self, client: &Client, count: Option<u64>, stop: &AtomicBool) -> Written {
        self.drive(client, count, stop, |chance| chance.random_range(0..self.keys))
    }

    fn drive(
        &self,
        client: &Client,
        count: Option<u64>,
        stop: &AtomicBool,
        mut key: impl FnMut(&mut SmallRng) -> u64,
    ) -> Written {
        let most = match self.pace {
            Pace::UnderWay(most) => most,
            Pace::Every(_) => 4096,
        };
        let (tell, told) = sync_channel(most);
        let mut written = Written::default();
        let mut chance = SmallRng::seed_from_u64(7);
        let began = Instant::now();
        let mut under_way = 0;
        let mut begun = 0;
        let mut note = |outcome: (bool, Duration)| match outcome {
            (true, took) => {
                written.acknowledged += 1;
                written.latencies.note(took);
            }
            (false, _) => written.failed += 1,
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
            let mut value = vec![0; self.value_bytes];
            chance.fill_bytes(&mut value);
            let key = format!("{}{:012}", self.prefix, key(&mut chance));
            let put = Arc::new(client.put(key.into(), Bytes::from(value), options()));
            let (tell, ready) = (tell.clone(), put.clone());
            put.on_ready(move || {
                let acknowledged = matches!(ready.take(), Some(Ok(_)));
                // There is room for as many as are under way.
                tell.try_send((acknowledged, due.elapsed())).ok();
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
