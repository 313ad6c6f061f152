//! A steady load of reads and writes that knows what every answer must be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::{Failed, Ledger, eventually, value_of};
use kvcore::api::{CallOptions, Client, Error};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::latency::Latencies;

/// What is called: as many reads as writes. Each key is written once, and read again at random.
#[derive(Clone, Debug)]
pub struct Calls {
    /// What every key begins with.
    pub prefix: String,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// So many calls begin every second, whether or not those before have ended.
    pub rate: u32,
}

/// Calls that are made beside what is measured. Ended by [`stop`](Calling::stop), or when dropped.
pub struct Calling {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    calls: Calls,
    client: Client,
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    under_way: usize,
    phase: Phase,
    ledger: Ledger,
}

/// What the calls came to that ended in a part of the run.
#[derive(Default)]
pub struct Phase {
    /// How long they took, those that failed included.
    pub latencies: Latencies,
    /// Those that failed, and the reads that did not give what was written, in words.
    pub failed: Vec<String>,
}

impl Calls {
    /// Starts to call.
    pub fn start(&self, client: &Client) -> Calling {
        let ledger = Ledger { value_bytes: self.value_bytes, ..Ledger::default() };
        let shared = Arc::new(Shared {
            calls: self.clone(),
            client: client.clone(),
            stop: AtomicBool::new(false),
            seen: Mutex::new(Seen { ledger, ..Seen::default() }),
        });
        let thread = thread::spawn({
            let shared = shared.clone();
            move || run(&shared)
        });
        Calling { shared, thread: Some(thread) }
    }
}

impl Calling {
    /// What came of the calls that ended since the last time this was asked.
    pub fn phase(&self) -> Phase {
        std::mem::take(&mut self.shared.seen.lock().phase)
    }

    /// The writes so far.
    pub fn ledger(&self) -> Ledger {
        self.shared.seen.lock().ledger.clone()
    }

    /// Bytes of the values that were acknowledged so far.
    pub fn written(&self) -> u64 {
        let ledger = &self.shared.seen.lock().ledger;
        (ledger.acknowledged.len() * ledger.value_bytes) as u64
    }

    /// Lets every call end; all the writes.
    ///
    /// # Panics
    /// If one does not end.
    pub fn stop(mut self) -> Ledger {
        self.end();
        eventually(Duration::from_secs(60), "every call to end", || {
            match self.shared.seen.lock().under_way {
                0 => Ok(()),
                under_way => Err(under_way),
            }
        });
        self.ledger()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the load ends");
        }
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.end();
        }
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

fn run(shared: &Arc<Shared>) {
    let calls = &shared.calls;
    let mut chance = SmallRng::seed_from_u64(7);
    let (began, mut begun) = (Instant::now(), 0);
    while !shared.stop.load(Ordering::SeqCst) {
        // When this call should begin; a late one is counted from then on, or a stall would hide the calls
        // that it held up (Tene, "How not to measure latency").
        let due = began + Duration::from_secs(begun) / calls.rate;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let read = {
            let mut seen = shared.seen.lock();
            seen.under_way += 1;
            let written = &seen.ledger.acknowledged;
            let reads = begun % 2 == 1 && !written.is_empty();
            reads.then(|| written[chance.random_range(0..written.len())].clone())
        };
        match read {
            Some(key) => get(shared, key, due),
            None => put(shared, format!("{}/{begun:010}", calls.prefix), due),
        }
        begun += 1;
    }
}

fn put(shared: &Arc<Shared>, key: String, due: Instant) {
    let value = value_of(&key, shared.calls.value_bytes);
    let put = Arc::new(shared.client.put(Bytes::from(key.clone()), value, CallOptions::default()));
    let (shared, ready) = (shared.clone(), put.clone());
    put.on_ready(move || {
        let outcome = ready.take().expect("it is ready");
        let mut seen = shared.seen.lock();
        seen.note(due, outcome.as_ref().map(drop).map_err(|error| (&key, error)));
        match outcome {
            Ok(_) => seen.ledger.acknowledged.push(key),
            Err(error) => {
                let failed = Failed { key, kind: error.kind(), message: error.to_string() };
                seen.ledger.failed.push(failed);
            }
        }
    });
}

fn get(shared: &Arc<Shared>, key: String, due: Instant) {
    let get = Arc::new(shared.client.get(Bytes::from(key.clone()), CallOptions::default()));
    let (shared, ready) = (shared.clone(), get.clone());
    get.on_ready(move || {
        let outcome = ready.take().expect("it is ready");
        let mut seen = shared.seen.lock();
        seen.note(due, outcome.as_ref().map(drop).map_err(|error| (&key, error)));
        let found = outcome.map(|entry| entry.map(|entry| entry.value));
        let right = value_of(&key, shared.calls.value_bytes);
        if found.is_ok_and(|value| value != Some(right)) {
            seen.phase.failed.push(format!("{key} was not read as it was written"));
        }
    });
}

impl Seen {
    fn note(&mut self, due: Instant, outcome: Result<(), (&String, &Error)>) {
        self.under_way -= 1;
        self.phase.latencies.note(due.elapsed());
        if let Err((key, error)) = outcome {
            self.phase.failed.push(format!("{key}: {error}"));
        }
    }
}
