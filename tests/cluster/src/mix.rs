//! A mixed load: new keys, overwrites, deletes and reads, all of it checked.
//!
//! Each key belongs to one writer, who has a client, and so a session, of its own and makes one call at a
//! time. So the writes of a key have an order, and an unknown outcome is over when the next write of the
//! key is acknowledged: a late attempt is refused by the session. Reads go to anybody's keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kvcore::api::{CallOptions, Client, ClientOptions, Error};
use parking_lot::{Condvar, Mutex};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::history::{History, Verdict, written};
use crate::patience::eventually;

/// How a writer pauses after a failed call, so as not to spin while nobody can answer.
const PAUSE: Duration = Duration::from_millis(20);
/// Reads under way at once when all keys are checked.
const CHECKS: usize = 64;
/// Complaints kept in words; the others are counted.
const COMPLAINTS: usize = 10;

/// What a mixed load does.
#[derive(Clone, Debug)]
pub struct MixPlan {
    /// Threads that write and read, each one call at a time.
    pub writers: usize,
    /// Keys that each of them makes before it only overwrites and deletes.
    pub keys: usize,
    /// What every key begins with. No two loads on one cluster may share it.
    pub prefix: String,
    /// What the choices follow from.
    pub seed: u64,
    /// How long a call is tried.
    pub timeout: Duration,
}

impl MixPlan {
    /// Six writers of a thousand keys each, who try for 5 s.
    pub fn seeded(prefix: &str, seed: u64) -> MixPlan {
        let timeout = Duration::from_secs(5);
        MixPlan { writers: 6, keys: 1000, prefix: prefix.into(), seed, timeout }
    }
}

/// What came of a mixed load so far.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes that may have been applied or not.
    pub unknown: u64,
    /// Writes that failed and were not applied.
    pub refused: u64,
    /// Reads that were answered, checks included.
    pub reads: u64,
    /// Failed calls by the kind of the error.
    pub errors: BTreeMap<String, u64>,
    /// Reads that missed an acknowledged write.
    pub lost: u64,
    /// Answers that cannot be.
    pub wrong: u64,
    /// The first of those two, in words.
    pub complaints: Vec<String>,
    /// The longest time without an acknowledged write.
    pub longest_pause: Duration,
}

/// Writers at work. Ended by [`stop`](Mix::stop), or when dropped.
pub struct Mix {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<()>>,
}

struct Shared {
    plan: MixPlan,
    /// Of each writer, its keys.
    histories: Vec<Mutex<Vec<History>>>,
    progress: Mutex<Progress>,
    stopping: Condvar,
}

struct Progress {
    stop: bool,
    figures: Figures,
    last: Instant,
}

impl Mix {
    /// Starts the writers.
    ///
    /// # Panics
    /// If no endpoint answers.
    #[track_caller]
    pub fn start(endpoints: &str, plan: MixPlan) -> Mix {
        let connect_timeout = Duration::from_secs(30);
        let options =
            ClientOptions { timeout: plan.timeout, connect_timeout, ..ClientOptions::default() };
        let client = |_| Client::connect(endpoints, options.clone()).wait().unwrap();
        let clients: Vec<_> = (0..plan.writers).map(client).collect();
        let shared = Arc::new(Shared {
            histories: clients.iter().map(|_| Mutex::default()).collect(),
            plan,
            progress: Mutex::new(Progress {
                stop: false,
                figures: Figures::default(),
                last: Instant::now(),
            }),
            stopping: Condvar::new(),
        });
        let writers = clients.into_iter().enumerate().map(|(nth, client)| {
            let shared = shared.clone();
            thread::spawn(move || Writer::new(&shared, nth, client).run())
        });
        Mix { writers: writers.collect(), shared }
    }

    /// What came of it so far.
    pub fn figures(&self) -> Figures {
        let progress = self.shared.progress.lock();
        let mut figures = progress.figures.clone();
        figures.longest_pause = figures.longest_pause.max(progress.last.elapsed());
        figures
    }

    /// Waits until that many more writes are acknowledged than now.
    ///
    /// # Panics
    /// If they are not in time.
    #[track_caller]
    pub fn wait_for_more(&self, more: u64, patience: Duration) {
        let enough = self.figures().acknowledged + more;
        eventually(patience, &format!("{enough} acknowledged writes"), || {
            let figures = self.figures();
            if figures.acknowledged >= enough { Ok(()) } else { Err(figures) }
        });
    }

    /// Reads every key, while the writers go on; how many there are.
    ///
    /// # Errors
    /// What was lost or wrong by now, or why a key cannot be read.
    pub fn check(&self, client: &Client) -> Result<usize, String> {
        let mut checked = 0;
        for writer in 0..self.shared.histories.len() {
            let before = self.shared.histories[writer].lock().clone();
            for (some, first) in before.chunks(CHECKS).zip((0..).step_by(CHECKS)) {
                self.shared.check(client, writer, first, some)?;
                checked += some.len();
            }
        }
        self.shared.progress.lock().figures.verdict().map(|()| checked)
    }

    /// Lets every writer end the call it is at; what came of it all.
    ///
    /// # Panics
    /// If a writer panicked.
    pub fn stop(&mut self) -> Figures {
        self.shared.stop();
        for writer in self.writers.drain(..) {
            writer.join().expect("a writer panicked");
        }
        self.shared.progress.lock().figures.clone()
    }
}

impl Drop for Mix {
    fn drop(&mut self) {
        self.shared.stop();
        for writer in self.writers.drain(..) {
            drop(writer.join());
        }
    }
}

impl Figures {
    /// Whether nothing was lost and nothing wrong.
    ///
    /// # Errors
    /// What was.
    pub fn verdict(&self) -> Result<(), String> {
        if self.lost + self.wrong == 0 {
            return Ok(());
        }
        let complaints = self.complaints.join("\n  ");
        Err(format!("{} lost, {} wrong:\n  {complaints}", self.lost, self.wrong))
    }

    fn judge(&mut self, verdict: Verdict) {
        let complaint = match verdict {
            Verdict::Right => return,
            Verdict::Lost(complaint) => {
                self.lost += 1;
                complaint
            }
            Verdict::Wrong(complaint) => {
                self.wrong += 1;
                complaint
            }
        };
        if self.complaints.len() < COMPLAINTS {
            self.complaints.push(complaint);
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "writes acknowledged    {}", self.acknowledged)?;
        writeln!(f, "writes unknown         {}", self.unknown)?;
        writeln!(f, "writes refused         {}", self.refused)?;
        writeln!(f, "reads                  {}", self.reads)?;
        writeln!(f, "errors                 {:?}", self.errors)?;
        writeln!(f, "lost                   {}", self.lost)?;
        writeln!(f, "wrong                  {}", self.wrong)?;
        let pause = self.longest_pause.as_secs_f64();
        write!(f, "longest pause          {pause:.2} s without an acknowledged write")
    }
}

impl Shared {
    fn stop(&self) {
        self.progress.lock().stop = true;
        self.stopping.notify_all();
    }

    fn stopped(&self) -> bool {
        self.progress.lock().stop
    }

    fn key(&self, writer: usize, nth: usize) -> String {
        format!("{}/{writer}/{nth:06}", self.plan.prefix)
    }

    fn history(&self, writer: usize, nth: usize) -> History {
        self.histories[writer].lock()[nth].clone()
    }

    /// Reads some keys at once, which were that far before.
    fn check(
        &self,
        client: &Client,
        writer: usize,
        first: usize,
        before: &[History],
    ) -> Result<(), String> {
        let options =
            CallOptions { timeout: Some(Duration::from_secs(30)), ..CallOptions::default() };
        let keys =
            before.iter().zip(first..).map(|(history, nth)| (history, nth, self.key(writer, nth)));
        let gets: Vec<_> = keys
            .map(|(history, nth, key)| {
                let get = client.get(key.clone().into(), options.clone());
                (history, nth, key, get)
            })
            .collect();
        for (before, nth, key, get) in gets {
            let found = get.wait().map_err(|error| format!("{key}: {error:?}"))?;
            let verdict = before.judge(&self.history(writer, nth), &key, found.as_ref());
            let mut progress = self.progress.lock();
            progress.figures.reads += 1;
            progress.figures.judge(verdict);
        }
        Ok(())
    }

    fn failed(&self, error: &Error, count: impl FnOnce(&mut Figures)) {
        let mut progress = self.progress.lock();
        *progress.figures.errors.entry(error.kind().to_string()).or_default() += 1;
        count(&mut progress.figures);
        let until = Instant::now() + PAUSE;
        while !progress.stop && !self.stopping.wait_until(&mut progress, until).timed_out() {}
    }
}

/// One thread of a load.
struct Writer<'a> {
    shared: &'a Shared,
    own: usize,
    client: Client,
    random: SmallRng,
}

impl Writer<'_> {
    fn new(shared: &Shared, own: usize, client: Client) -> Writer<'_> {
        let random = SmallRng::seed_from_u64(shared.plan.seed.wrapping_add(own as u64));
        Writer { shared, own, client, random }
    }

    fn run(mut self) {
        while !self.shared.stopped() {
            let keys = self.shared.histories[self.own].lock().len();
            let grow = keys < self.shared.plan.keys && self.random.random_bool(0.3);
            if keys == 0 || grow {
                self.shared.histories[self.own].lock().push(History::default());
                self.write(keys);
            } else if self.random.random_bool(0.3) {
                self.read();
            } else {
                let nth = self.random.random_range(0..keys);
                self.write(nth);
            }
        }
        self.client.close();
    }

    fn read(&mut self) {
        let writer = self.random.random_range(0..self.shared.histories.len());
        let keys = self.shared.histories[writer].lock().len();
        if keys == 0 {
            return;
        }
        let nth = self.random.random_range(0..keys);
        let key = self.shared.key(writer, nth);
        let before = self.shared.history(writer, nth);
        match self.client.get(key.clone().into(), CallOptions::default()).wait() {
            Ok(found) => {
                let verdict = before.judge(&self.shared.history(writer, nth), &key, found.as_ref());
                let mut progress = self.shared.progress.lock();
                progress.figures.reads += 1;
                progress.figures.judge(verdict);
            }
            Err(error) => self.shared.failed(&error, |_| {}),
        }
    }

    fn write(&self, nth: usize) {
        let key = self.shared.key(self.own, nth);
        let (before, number) = {
            let history = &mut self.shared.histories[self.own].lock()[nth];
            let before = history.clone();
            history.begun += 1;
            (before, history.begun)
        };
        let options = CallOptions::default();
        let outcome = match written(&key, number) {
            Some(value) => {
                let put = self.client.put(key.clone().into(), value, options);
                put.wait().map(|revision| put_verdict(&before, &key, revision))
            }
            None => {
                let delete = self.client.delete(key.clone().into(), options);
                delete.wait().map(|existed| delete_verdict(&before, &key, existed))
            }
        };
        match outcome {
            Ok((revision, verdict)) => {
                let history = &mut self.shared.histories[self.own].lock()[nth];
                history.acknowledged = number;
                history.revision = revision;
                self.acknowledged(verdict);
            }
            Err(error) if error.kind().maybe_applied() => {
                self.shared.failed(&error, |figures| figures.unknown += 1);
            }
            Err(error) => {
                self.shared.histories[self.own].lock()[nth].refused.push(number);
                self.shared.failed(&error, |figures| figures.refused += 1);
            }
        }
    }

    fn acknowledged(&self, verdict: Verdict) {
        let mut progress = self.shared.progress.lock();
        progress.figures.acknowledged += 1;
        progress.figures.judge(verdict);
        let pause = progress.last.elapsed();
        progress.figures.longest_pause = progress.figures.longest_pause.max(pause);
        progress.last = Instant::now();
    }
}

/// A put gives a larger revision than the one before it did.
fn put_verdict(before: &History, key: &str, revision: u64) -> (u64, Verdict) {
    let verdict = if revision > before.revision {
        Verdict::Right
    } else {
        let earlier = before.revision;
        Verdict::Wrong(format!("{key} was given revision {revision} after {earlier}"))
    };
    (revision, verdict)
}

/// A delete says whether the key existed, which is known unless the outcome of a write before it is open.
fn delete_verdict(before: &History, key: &str, existed: bool) -> (u64, Verdict) {
    let there = written(key, before.acknowledged).is_some();
    let verdict = if existed == there || !before.is_certain() {
        Verdict::Right
    } else {
        let acknowledged = before.acknowledged;
        Verdict::Wrong(format!("deleting {key} behind write {acknowledged}: existed={existed}"))
    };
    (before.revision, verdict)
}
