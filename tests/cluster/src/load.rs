//! Writers that remember what they were promised.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kvcore::api::{Bytes, CallOptions, Client, Error, Kind};
use parking_lot::{Condvar, Mutex};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::patience::eventually;

/// How a writer pauses after a failed write, so as not to spin while nobody can answer.
const PAUSE: Duration = Duration::from_millis(20);
/// Reads under way at once when a ledger is checked.
const CHECKS: usize = 64;

/// What a load writes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Threads that write, each one write at a time.
    pub writers: usize,
    /// What every key begins with. No two loads on one cluster may share it.
    pub prefix: String,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// How many writes in all; for ever if nothing is said.
    pub count: Option<u64>,
    /// Where each acknowledged key is noted at once, one a line.
    pub record: Option<PathBuf>,
}

impl Plan {
    /// Four writers of small values, until they are stopped.
    pub fn endless(prefix: &str) -> Plan {
        Plan { writers: 4, prefix: prefix.into(), value_bytes: 64, count: None, record: None }
    }
}

/// A write that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Its key.
    pub key: String,
    /// The kind of the error.
    pub kind: Kind,
    /// The error in words.
    pub message: String,
}

/// What became of every write.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Bytes of each value.
    pub value_bytes: usize,
    /// The keys whose write was acknowledged: their values must be there.
    pub acknowledged: Vec<String>,
    /// The writes that failed: their values may be there only if the kind allows it.
    pub failed: Vec<Failed>,
}

/// Writers at work, each key written once. Ended by [`stop`](Load::stop), or when dropped.
pub struct Load {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<()>>,
}

struct Shared {
    plan: Plan,
    client: Client,
    progress: Mutex<Progress>,
    stopping: Condvar,
}

struct Progress {
    next: u64,
    stop: bool,
    ledger: Ledger,
    record: Option<File>,
}

impl Load {
    /// Starts the writers.
    ///
    /// # Panics
    /// If the record cannot be created.
    pub fn start(client: Client, plan: Plan) -> Load {
        let ledger = Ledger { value_bytes: plan.value_bytes, ..Ledger::default() };
        let mut record = plan.record.as_ref().map(|path| File::create(path).unwrap());
        if let Some(record) = &mut record {
            writeln!(record, "{}", plan.value_bytes).unwrap();
        }
        let progress = Mutex::new(Progress { next: 0, stop: false, ledger, record });
        let shared = Arc::new(Shared { plan, client, progress, stopping: Condvar::new() });
        let writers = (0..shared.plan.writers).map(|_| {
            let shared = shared.clone();
            thread::spawn(move || shared.write())
        });
        Load { writers: writers.collect(), shared }
    }

    /// How many writes are acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.shared.progress.lock().ledger.acknowledged.len()
    }

    /// Waits until that many more writes are acknowledged than now.
    ///
    /// # Panics
    /// If they are not in time.
    #[track_caller]
    pub fn wait_for_more(&self, more: usize, patience: Duration) {
        let enough = self.acknowledged() + more;
        eventually(patience, &format!("{enough} acknowledged writes"), || {
            let progress = self.shared.progress.lock();
            let ledger = &progress.ledger;
            if ledger.acknowledged.len() >= enough {
                return Ok(());
            }
            let (acknowledged, last) = (ledger.acknowledged.len(), ledger.failed.last());
            Err(format!("{acknowledged}, and the last failed one: {last:?}"))
        });
    }

    /// Lets every writer end the write it is at; what became of all of them.
    ///
    /// # Panics
    /// If a writer panicked.
    pub fn stop(mut self) -> Ledger {
        self.shared.stop();
        self.join()
    }

    /// Waits until all of a counted load is written.
    ///
    /// # Panics
    /// If a writer panicked.
    pub fn join(&mut self) -> Ledger {
        for writer in self.writers.drain(..) {
            writer.join().expect("a writer panicked");
        }
        self.shared.progress.lock().ledger.clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop();
        for writer in self.writers.drain(..) {
            drop(writer.join());
        }
    }
}

impl Shared {
    fn stop(&self) {
        self.progress.lock().stop = true;
        self.stopping.notify_all();
    }

    fn write(&self) {
        while let Some(key) = self.next_key() {
            let value = value_of(&key, self.plan.value_bytes);
            let put = self.client.put(key.clone().into(), value, CallOptions::default());
            let outcome = put.wait();
            self.note(key, outcome.map(|_| ()));
        }
    }

    fn next_key(&self) -> Option<String> {
        let mut progress = self.progress.lock();
        if progress.stop || self.plan.count.is_some_and(|count| progress.next >= count) {
            return None;
        }
        let nth = progress.next;
        progress.next += 1;
        Some(format!("{}/{nth:08}", self.plan.prefix))
    }

    fn note(&self, key: String, outcome: Result<(), Error>) {
        let mut progress = self.progress.lock();
        let Err(error) = outcome else {
            if let Some(record) = &mut progress.record {
                writeln!(record, "{key}").unwrap();
            }
            progress.ledger.acknowledged.push(key);
            return;
        };
        let failed = Failed { key, kind: error.kind(), message: error.to_string() };
        progress.ledger.failed.push(failed);
        let until = Instant::now() + PAUSE;
        while !progress.stop && !self.stopping.wait_until(&mut progress, until).timed_out() {}
    }
}

impl Ledger {
    /// Reads what a load recorded.
    ///
    /// # Errors
    /// If the file cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Ledger, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let mut lines = text.lines();
        let value_bytes = lines.next().and_then(|line| line.parse().ok());
        Ok(Ledger {
            value_bytes: value_bytes.ok_or("the record does not begin with the value bytes")?,
            acknowledged: lines.map(str::to_owned).collect(),
            failed: Vec::new(),
        })
    }

    /// Checks that every acknowledged write is there, and none that failed with a promise that it was
    /// not applied.
    ///
    /// # Errors
    /// What is wrong, with the first few keys; also why a key cannot be read.
    pub fn check(&self, client: &Client) -> Result<(), String> {
        let promised_absent = self
            .failed
            .iter()
            .filter(|failed| !failed.kind.maybe_applied())
            .map(|failed| &failed.key);
        let wrong = [
            self.differing(client, "lost or changed", self.acknowledged.iter(), true)?,
            self.differing(client, "refused and yet there", promised_absent, false)?,
        ];
        let wrong = wrong.concat();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn differing<'a>(
        &self,
        client: &Client,
        what: &str,
        keys: impl Iterator<Item = &'a String>,
        there: bool,
    ) -> Result<String, String> {
        let keys: Vec<_> = keys.collect();
        let mut differing = Vec::new();
        for some in keys.chunks(CHECKS) {
            let options =
                CallOptions { timeout: Some(Duration::from_secs(20)), ..CallOptions::default() };
            let gets: Vec<_> = some
                .iter()
                .map(|key| (key, client.get(key.as_bytes().to_vec().into(), options.clone())))
                .collect();
            for (key, get) in gets {
                let found = get.wait().map_err(|error| format!("{key}: {error:?}"))?;
                let expected = there.then(|| value_of(key, self.value_bytes));
                if found.map(|entry| entry.value) != expected {
                    differing.push(key.as_str());
                }
            }
        }
        let mut message = String::new();
        if !differing.is_empty() {
            let few = differing.iter().take(5).copied().collect::<Vec<_>>().join(", ");
            let (count, all) = (differing.len(), keys.len());
            write!(message, "{count} of {all} writes are {what}: {few} ... ").unwrap();
        }
        Ok(message)
    }
}

/// The value that belongs to a key: the key itself, as far as there is room, then noise that nothing can
/// compress.
pub fn value_of(key: &str, bytes: usize) -> Bytes {
    let seed =
        key.bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut value = vec![0; bytes];
    SmallRng::seed_from_u64(seed).fill_bytes(&mut value);
    value.iter_mut().zip(key.bytes()).for_each(|(place, byte)| *place = byte);
    value.into()
}
