//! What a node keeps when its process is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kvcore::api::{Client, ClientOptions, MemberStatus, NodeId, PartitionId, RingStatus, Status};

use crate::cli::distkv;
use crate::power::Power;
use crate::process::{Exit, Process, Ready};
use crate::routes;
use crate::volume::Volume;

/// How long a start may take: a debug build, on a machine with other things to do.
const START: Duration = Duration::from_secs(60);

/// A place for one node: directory, address and flags, and the process when there is one.
pub struct Seat {
    /// What it is called in messages.
    pub label: String,
    /// Where it listens.
    pub address: String,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// More flags for its next start.
    pub flags: Vec<String>,
    scratch: PathBuf,
    power: Option<Power>,
    process: Option<Process>,
    ready: Option<Ready>,
    /// Whether the process was begun, and nobody has seen yet that it is ready.
    begun: bool,
    /// Behind the process: it is unmounted when nobody uses it any more.
    volume: Option<Volume>,
}

impl Seat {
    pub(crate) fn new(label: &str, scratch: &Path, address: String) -> Seat {
        Seat {
            label: label.into(),
            address,
            data_dir: scratch.join(label),
            flags: Vec::new(),
            scratch: scratch.into(),
            power: None,
            process: None,
            ready: None,
            begun: false,
            volume: None,
        }
    }

    /// The same seat with other flags for its next start.
    #[must_use]
    pub fn with(mut self, flags: &[&str]) -> Seat {
        self.set(flags);
        self
    }

    /// The same seat on a power supply that can be cut, and with a disk that can be made to fail.
    ///
    /// # Panics
    /// If its directory cannot be made.
    #[must_use]
    pub fn on_power(mut self) -> Seat {
        let power = Power::new(&self.scratch.join(format!("{}.power", self.label)));
        self.data_dir = power.data_dir();
        self.power = Some(power);
        self
    }

    /// The same seat on a small file system of its own.
    #[must_use]
    pub fn on_volume(mut self, volume: Volume) -> Seat {
        self.data_dir = volume.path().join("data");
        self.volume = Some(volume);
        self
    }

    /// The small file system it is on.
    ///
    /// # Panics
    /// If it is on none.
    #[track_caller]
    pub fn volume(&self) -> &Volume {
        self.volume.as_ref().expect("the seat is on a volume of its own")
    }

    /// Its power supply.
    ///
    /// # Panics
    /// If it has none of its own.
    #[track_caller]
    pub fn power(&self) -> &Power {
        self.power.as_ref().expect("the seat is on a power supply")
    }

    /// Other flags for its next start.
    pub fn set(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    }

    /// Runs the process; see [`finish`](Seat::finish).
    ///
    /// # Panics
    /// If one is there.
    #[track_caller]
    pub fn begin(&mut self) {
        assert!(self.process.is_none(), "{} is taken", self.label);
        let mut flags = vec![format!("--listen={}", self.address)];
        if !self.flags.iter().any(|flag| flag.starts_with("--in-memory")) {
            flags.push(format!("--data-dir={}", self.data_dir.display()));
        }
        flags.extend(self.flags.iter().cloned());
        let variables = self.power.as_ref().map(Power::environment).unwrap_or_default();
        let log = self.scratch.join(format!("{}.log", self.label));
        self.process = Some(Process::spawn(&self.label, &flags, variables, &log));
        self.begun = true;
    }

    /// Waits until the process that was begun is ready.
    ///
    /// # Panics
    /// If it does not become so in time.
    #[track_caller]
    pub fn finish(&mut self) -> Ready {
        match self.outcome() {
            Ok(ready) => ready,
            Err(exit) => panic!("{} did not start: {exit:?}", self.label),
        }
    }

    /// Waits until the process that was begun is ready, or has ended.
    #[track_caller]
    fn outcome(&mut self) -> Result<Ready, Exit> {
        let outcome = self.process().wait_ready(START);
        self.begun = false;
        match &outcome {
            Ok(ready) => {
                assert_eq!(ready.listen, self.address, "{} listens elsewhere", self.label);
                self.ready = Some(ready.clone());
            }
            Err(_) => self.process = None,
        }
        outcome
    }

    /// Starts a node that may start or refuse to.
    ///
    /// # Errors
    /// How it ended instead of becoming ready.
    ///
    /// # Panics
    /// If it does neither in time.
    #[track_caller]
    pub fn attempt(&mut self) -> Result<Ready, Exit> {
        self.begin();
        self.outcome()
    }

    /// Starts a node and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become so in time.
    #[track_caller]
    pub fn start(&mut self) -> Ready {
        self.begin();
        self.finish()
    }

    /// Starts a node that must refuse to; how it ended.
    ///
    /// # Panics
    /// If it becomes ready, or neither that nor ended in time.
    #[track_caller]
    pub fn refuse(&mut self) -> Exit {
        match self.attempt() {
            Ok(ready) => panic!("{} started: {ready:?}", self.label),
            Err(exit) => exit,
        }
    }

    /// Ends the process by SIGKILL.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn kill(&mut self) {
        self.process().signal("KILL");
        self.reap();
    }

    /// Loses power: the process, if there is one, ends by SIGKILL, and what it had not synced is gone.
    ///
    /// # Panics
    /// If the seat is on no power supply of its own, or nobody sat here since its last cut.
    #[track_caller]
    pub fn lose_power(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
        self.power().cut();
    }

    /// Loses power in the middle of writing: of what was not synced, any part may be there.
    ///
    /// # Panics
    /// As [`lose_power`](Seat::lose_power).
    #[track_caller]
    pub fn tear(&mut self, seed: u64) {
        if self.process.is_some() {
            self.kill();
        }
        self.power().tear(seed);
    }

    /// Waits for a process that was sent SIGKILL to be gone.
    #[track_caller]
    pub(crate) fn reap(&mut self) {
        self.process().wait_exit(Duration::from_secs(10));
        self.process = None;
    }

    /// Ends the process by a signal that it hears, SIGTERM or SIGINT; how it ended. It has 5 s.
    ///
    /// # Panics
    /// If there is none, or it does not end in time.
    #[track_caller]
    pub fn ask_to_end(&mut self, signal: &str) -> Exit {
        self.ask_to_end_within(signal, Duration::from_secs(5))
    }

    /// The same with another time than 5 s, for a node with much to put on disk.
    ///
    /// # Panics
    /// If there is none, or it does not end in time.
    #[track_caller]
    pub fn ask_to_end_within(&mut self, signal: &str, patience: Duration) -> Exit {
        self.process().signal(signal);
        self.wait_exit(patience)
    }

    /// Waits for the process here to end by itself; how it ended.
    ///
    /// # Panics
    /// If there is none, or it does not end in time.
    #[track_caller]
    pub fn wait_exit(&mut self, patience: Duration) -> Exit {
        let exit = self.process().wait_exit(patience);
        self.process = None;
        exit
    }

    /// The id of the process here.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap_or_else(|| panic!("nobody sits on {}", self.label)).pid()
    }

    /// Whether there is a process here, running or ended by itself.
    pub fn is_taken(&self) -> bool {
        self.process.is_some()
    }

    /// Whether a process is running here.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// The replicas that its directory holds, by group, when it is stopped.
    ///
    /// # Panics
    /// If it cannot be looked at.
    #[track_caller]
    pub fn replicas(&self) -> BTreeMap<String, u64> {
        let told = distkv(&["inspect", "--json", &self.data_dir.display().to_string()]).ok();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let replicas = told["replicas"].as_array().unwrap().iter();
        let named = |one: &serde_json::Value| {
            (one["group"].as_str().unwrap().to_owned(), one["replica"].as_u64().unwrap())
        };
        replicas.map(named).collect()
    }

    /// How many bytes the process here has written to its log so far.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn log_bytes(&self) -> u64 {
        self.process.as_ref().expect("somebody sits here").stderr_bytes()
    }

    /// What the last `ready` line said.
    ///
    /// # Panics
    /// If there was none.
    #[track_caller]
    pub fn ready(&self) -> &Ready {
        self.ready.as_ref().expect("the seat was started")
    }

    #[track_caller]
    pub(crate) fn process(&mut self) -> &mut Process {
        let label = &self.label;
        self.process.as_mut().unwrap_or_else(|| panic!("nobody sits on {label}"))
    }

    /// Whether the process here was begun, and nobody has seen yet that it is ready.
    pub(crate) fn is_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn running(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// What the node here says of itself and its cluster.
    ///
    /// # Errors
    /// Why it does not, or that another node answered for it.
    pub fn status(&self) -> Result<Status, String> {
        let status = self.ask(|client| client.status().wait())?;
        if self.ready.as_ref().is_some_and(|ready| ready.node != status.node) {
            return Err(format!("{} was asked, but {} answered", self.label, status.node));
        }
        Ok(status)
    }

    /// Whether the node here runs a replica of every partition, which has a leader and has applied what it
    /// knows of: true of a healthy node in a cluster of no more nodes than the replication factor.
    ///
    /// # Errors
    /// What it lacks, or why it does not say.
    pub fn whole(&self) -> Result<(), String> {
        let status = self.status()?;
        let runs_all = status.replicas == usize::from(status.partitions);
        if runs_all && status.lagging + status.leaderless == 0 {
            return Ok(());
        }
        Err(format!("{}: {status:?}", self.label))
    }

    /// The members, as the node here sees them.
    ///
    /// # Errors
    /// Why it does not say.
    pub fn members(&self) -> Result<Vec<MemberStatus>, String> {
        self.ask(|client| client.members().wait())
    }

    /// Who holds and leads how much, and the moves under way, as the node here sees it.
    ///
    /// # Errors
    /// Why it does not say.
    pub fn ring(&self) -> Result<RingStatus, String> {
        self.ask(|client| client.ring().wait())
    }

    /// The partitions that the node here says it leads.
    ///
    /// # Errors
    /// Why it does not say.
    pub fn led(&self) -> Result<BTreeSet<PartitionId>, String> {
        routes::led(&self.address, self.node())
            .map_err(|error| format!("{}: {error:?}", self.label))
    }

    /// The node's id, as its last `ready` line said.
    ///
    /// # Panics
    /// If there was none.
    #[track_caller]
    pub fn node(&self) -> NodeId {
        NodeId(u64::from_str_radix(&self.ready().node, 16).unwrap())
    }

    fn ask<T>(&self, ask: impl Fn(&Client) -> kvcore::api::Result<T>) -> Result<T, String> {
        let answer = connect(&self.address).and_then(|client| {
            let answer = ask(&client);
            client.close();
            answer
        });
        answer.map_err(|error| format!("{}: {error:?}", self.label))
    }
}

/// A thin client that tries for half a minute: for whoever asks once.
///
/// # Panics
/// If nobody answers for so long.
#[track_caller]
pub fn patient(endpoints: &str) -> Client {
    let patience = Duration::from_secs(30);
    let options =
        ClientOptions { timeout: patience, connect_timeout: patience, ..ClientOptions::default() };
    Client::connect(endpoints, options).wait().unwrap()
}

/// A thin client that tries for no more than 2 s, so that whoever asks again asks again soon.
///
/// # Errors
/// Those of [`Client::connect`].
pub fn connect(endpoints: &str) -> kvcore::api::Result<Client> {
    let patience = Duration::from_secs(2);
    let options =
        ClientOptions { timeout: patience, connect_timeout: patience, ..ClientOptions::default() };
    Client::connect(endpoints, options).wait()
}
