//! Three groups in one process, over real loopback links.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;
use crate::engine::{Family, MemoryEngine, keys};
use crate::raft::MemoryLog;
use crate::raft::journal::Journal;
use crate::rpc::{Caller, Handler, Identity};
use crate::types::{Clock, Entropy, GroupId, Limits, PartitionId, Seam};

const GROUP: GroupId = GroupId::Partition(PartitionId(3));
/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Real(Instant);

impl Clock for Real {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        0
    }
}

impl Entropy for Real {
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}

/// Takes messages for one replica, as a node would, and counts them.
#[derive(Default)]
struct Desk {
    group: Mutex<Option<Group>>,
    chunks: AtomicUsize,
    /// Chunks with this number are not answered, once: the link is to be cut meanwhile.
    stuck: Mutex<Option<u32>>,
    reached: Notify,
}

impl Handler for Desk {
    fn handle(&self, _: &Arc<Caller>, request: request::Body, _: Duration) -> Answer {
        let to = match &request {
            request::Body::Append(append) => append.to,
            request::Body::AskVote(ask) => ask.to,
            request::Body::SnapshotChunk(chunk) => {
                self.chunks.fetch_add(1, Ordering::SeqCst);
                let mut stuck = self.stuck.lock();
                if *stuck == Some(chunk.chunk) {
                    *stuck = None;
                    self.reached.notify_one();
                    return Box::pin(std::future::pending());
                }
                chunk.to
            }
            request::Body::SnapshotInstall(install) => install.to,
            request::Body::HandOver(hand_over) => hand_over.to,
            _ => 0,
        };
        match &*self.group.lock() {
            Some(group) if group.tag().replica == ReplicaId(to) => group.take(request),
            _ => Box::pin(std::future::ready(Err(Error::new(Kind::Unavailable, "not here")))),
        }
    }
}

/// One node with one replica: what stays when it is stopped, and what runs.
struct Site {
    replica: ReplicaId,
    node: NodeId,
    log: LogStore,
    engine: Arc<dyn Engine>,
    staging: Staging,
    desk: Arc<Desk>,
    address: String,
    pool: Pool,
}

impl Site {
    async fn new(number: u64) -> Site {
        let desk = Arc::new(Desk::default());
        let (pool, address) = open_pool(NodeId(number), "127.0.0.1:0", desk.clone()).await;
        Site {
            replica: ReplicaId(100 + number),
            node: NodeId(number),
            log: LogStore::memory(MemoryLog::default()),
            engine: Arc::new(MemoryEngine::new(1 << 30)),
            staging: Staging::open(None, 1 << 30, 1 << 30, number << 32).unwrap(),
            desk,
            address,
            pool,
        }
    }

    async fn start(&self) {
        let group = Group::start(GroupOptions {
            tag: Tag { group: GROUP, replica: self.replica },
            log: self.log.clone(),
            engine: self.engine.clone(),
            apply: Box::new(Journal::new(GROUP, self.engine.clone())),
            pool: self.pool.clone(),
            staging: self.staging.clone(),
            timers: Timers {
                heartbeat: Duration::from_millis(100),
                election_min: Duration::from_millis(400),
                election_max: Duration::from_millis(600),
            },
        });
        *self.desk.group.lock() = Some(group.await.unwrap());
    }

    fn group(&self) -> Group {
        self.desk.group.lock().clone().unwrap()
    }

    fn running(&self) -> Option<Group> {
        self.desk.group.lock().clone()
    }

    /// Cuts all links, and opens the port again.
    async fn relink(&mut self) {
        self.pool.close().await;
        let (pool, _) = open_pool(self.node, &self.address, self.desk.clone()).await;
        self.pool = pool;
    }

    async fn stop(&mut self) {
        self.pool.close().await;
        let group = self.desk.group.lock().take();
        group.unwrap().stop().await;
    }

    fn list(&self) -> Vec<Bytes> {
        Journal::list(GROUP, self.engine.as_ref())
    }

    /// All pairs of the group but those that are the replica's own.
    fn pairs(&self) -> Vec<(Bytes, Bytes)> {
        let view = self.engine.view().unwrap();
        let data = keys::data_range(GROUP);
        let mut pairs = view.scan(Family::Data, data, false, usize::MAX, usize::MAX).unwrap();
        let meta = keys::meta_range(GROUP);
        pairs.extend(view.scan(Family::Meta, meta, false, usize::MAX, usize::MAX).unwrap());
        let own = [keys::replica(GROUP), keys::applied(GROUP)];
        pairs.retain(|(key, _)| !own.iter().any(|own| own == key));
        pairs
    }
}

async fn open_pool(node: NodeId, listen: &str, desk: Arc<Desk>) -> (Pool, String) {
    let listener = TcpListener::bind(listen).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let who = Identity { node: Some(node), cluster: None, address: address.clone() };
    let real = Arc::new(Real(Instant::now()));
    let seam = Seam { clock: real.clone(), entropy: real };
    let pool = Pool::new(who, Some(desk), &Limits::default(), seam);
    pool.serve(listener).unwrap();
    (pool, address)
}

fn introduce(sites: &[Site]) {
    for site in sites {
        for other in sites {
            site.pool.set_address(other.node, &other.address);
        }
    }
}

/// Three replicas, all of them voters.
async fn three() -> Vec<Site> {
    let mut sites = Vec::new();
    for number in 1..=3 {
        sites.push(Site::new(number).await);
    }
    introduce(&sites);
    for site in &sites {
        site.start().await;
    }
    let first = sites[0].group();
    first.found(sites[0].node).await.unwrap();
    eventually("the founder leads", || first.leads()).await;
    for site in &sites[1..] {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = first.add_learner(site.replica, site.node).await {
            assert!(Instant::now() < deadline, "{error}");
            first.changed(Duration::from_millis(20)).await;
        }
    }
    let all = sites.iter().map(|site| site.replica).collect();
    first.change_voters(&all, false).await.unwrap();
    sites
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Proposes at whoever leads, until it is acknowledged.
async fn propose(sites: &[Site], payload: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for group in sites.iter().filter_map(Site::running).filter(Group::leads) {
            let proposed = group.propose(Bytes::from(payload.to_owned()));
            let proposed = tokio::time::timeout(Duration::from_secs(5), proposed).await;
            if matches!(proposed, Ok(Ok(_))) {
                return;
            }
        }
        assert!(Instant::now() < deadline, "{payload} is not taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn leader(sites: &[Site]) -> Option<usize> {
    sites.iter().position(|site| site.running().is_some_and(|group| group.leads()))
}

async fn all_equal(sites: &[Site]) {
    let equal = || {
        let first = sites[0].pairs();
        sites[1..].iter().all(|site| site.pairs() == first)
    };
    eventually("all replicas hold the same", equal).await;
}

async fn close(sites: Vec<Site>) {
    for mut site in sites {
        match site.running() {
            Some(_) => site.stop().await,
            None => site.pool.close().await,
        }
    }
}

#[tokio::test]
async fn all_apply_the_same_in_the_same_order() {
    let sites = three().await;
    let payloads: Vec<String> = (0..300).map(|number| format!("payload {number}")).collect();
    for chunk in payloads.chunks(30) {
        futures::future::join_all(chunk.iter().map(|payload| propose(&sites, payload))).await;
    }
    all_equal(&sites).await;
    let mut list: Vec<String> = sites[2]
        .list()
        .iter()
        .map(|payload| String::from_utf8(payload.to_vec()).unwrap())
        .collect();
    list.sort();
    let mut expected = payloads;
    expected.sort();
    assert_eq!(list, expected);
    close(sites).await;
}

#[tokio::test]
async fn a_new_leader_has_all_that_was_acknowledged() {
    let mut sites = three().await;
    let mut acknowledged = Vec::new();
    for number in 0..50 {
        let payload = format!("before {number}");
        propose(&sites, &payload).await;
        acknowledged.push(payload);
    }
    let old = leader(&sites).unwrap();
    sites[old].stop().await;
    for number in 0..50 {
        let payload = format!("after {number}");
        propose(&sites, &payload).await;
        acknowledged.push(payload);
    }
    assert_ne!(leader(&sites), Some(old));
    // The old leader comes back, and follows.
    sites[old].relink().await;
    introduce(&sites);
    sites[old].start().await;
    all_equal(&sites).await;
    let list = sites[old].list();
    for payload in acknowledged {
        assert!(list.contains(&Bytes::from(payload.clone())), "{payload} is lost");
    }
    close(sites).await;
}

/// Has all that run forget nearly all of their logs.
async fn trim_all(sites: &[Site]) {
    let deadline = Instant::now() + PATIENCE;
    for site in sites.iter().filter(|site| site.running().is_some()) {
        while site.log.weight().entries > 3 {
            assert!(Instant::now() < deadline, "{:?}", site.log.weight());
            site.group().trim(0).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Stops a follower, has the others write and change their leader meanwhile, and starts it again. The
/// new leader knows nothing of how far the follower had come, and has to find out.
async fn away(sites: &mut [Site], trim: bool, payloads: impl Iterator<Item = String>) -> usize {
    let follower = (leader(sites).unwrap() + 1) % 3;
    sites[follower].stop().await;
    for payload in payloads {
        propose(sites, &payload).await;
    }
    if trim {
        trim_all(sites).await;
    }
    let heir = sites[(follower + 1) % 3].group();
    let deadline = Instant::now() + PATIENCE;
    while !heir.leads() {
        assert!(Instant::now() < deadline, "leadership is not handed over");
        if let Some(leader) = leader(sites) {
            sites[leader].group().hand_over(heir.tag().replica).await.unwrap();
        }
        heir.changed(Duration::from_millis(200)).await;
    }
    sites[follower].relink().await;
    introduce(sites);
    sites[follower].start().await;
    follower
}

#[tokio::test]
async fn a_replica_that_was_away_catches_up_by_the_log() {
    let mut sites = three().await;
    let meanwhile = (0..200).map(|number| format!("meanwhile {number}"));
    let follower = away(&mut sites, false, meanwhile).await;
    all_equal(&sites).await;
    assert_eq!(sites[follower].list().len(), 200);
    assert_eq!(sites[follower].desk.chunks.load(Ordering::SeqCst), 0);
    close(sites).await;
}

#[tokio::test]
async fn a_replica_that_was_away_for_too_long_catches_up_by_a_snapshot() {
    let mut sites = three().await;
    let meanwhile = (0..300).map(|number| format!("meanwhile {number}"));
    let follower = away(&mut sites, true, meanwhile).await;
    all_equal(&sites).await;
    assert!(sites[follower].desk.chunks.load(Ordering::SeqCst) > 0);
    // The log is purged right after the state has been replaced.
    let purged = || sites[follower].log.state().purged.is_some();
    eventually("the log is purged", purged).await;
    // And it goes on by the log.
    propose(&sites, "last").await;
    all_equal(&sites).await;
    assert_eq!(sites[follower].list().last(), Some(&Bytes::from_static(b"last")));
    close(sites).await;
}

#[tokio::test]
async fn a_log_keeps_what_it_is_told_to_and_what_a_snapshot_under_way_needs() {
    let mut sites = three().await;
    let follower = (leader(&sites).unwrap() + 1) % 3;
    *sites[follower].desk.stuck.lock() = Some(1);
    let large = "x".repeat(400_000);
    let meanwhile = (0..12).map(|number| format!("{number} {large}"));
    assert_eq!(away(&mut sites, true, meanwhile).await, follower);
    tokio::time::timeout(PATIENCE, sites[follower].desk.reached.notified()).await.unwrap();
    // A snapshot is under way to the follower: what comes now must stay.
    let leading = leader(&sites).unwrap();
    let before = sites[leading].log.state().last.unwrap();
    for number in 0..20 {
        propose(&sites, &format!("more {number}")).await;
    }
    for _ in 0..20 {
        sites[leading].group().trim(0).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let purged = sites[leading].log.state().purged.unwrap();
    assert!(purged <= before, "{purged:?} {before:?}");
    sites[follower].relink().await;
    introduce(&sites);
    all_equal(&sites).await;
    // Now it may go, but for what is to be kept.
    let weight = || sites[leading].log.weight();
    let full = weight();
    let deadline = Instant::now() + PATIENCE;
    while weight().entries == full.entries {
        assert!(Instant::now() < deadline, "nothing is forgotten");
        sites[leading].group().trim(full.bytes / 2).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(weight().bytes >= full.bytes / 2, "{:?} of {full:?}", weight());
    close(sites).await;
}

#[tokio::test]
async fn a_snapshot_that_was_broken_off_is_begun_again() {
    let mut sites = three().await;
    let follower = (leader(&sites).unwrap() + 1) % 3;
    *sites[follower].desk.stuck.lock() = Some(2);
    // Each part takes a megabyte.
    let large = "x".repeat(400_000);
    let meanwhile = (0..12).map(|number| format!("{number} {large}"));
    assert_eq!(away(&mut sites, true, meanwhile).await, follower);
    let reached = sites[follower].desk.reached.notified();
    tokio::time::timeout(PATIENCE, reached).await.unwrap();
    let before = sites[follower].desk.chunks.load(Ordering::SeqCst);
    assert_eq!(sites[follower].list().len(), 0);
    sites[follower].relink().await;
    introduce(&sites);
    all_equal(&sites).await;
    assert_eq!(sites[follower].list().len(), 12);
    assert!(sites[follower].desk.chunks.load(Ordering::SeqCst) > before + 2);
    close(sites).await;
}

/// CPU time of this thread, on which everything of a test runs.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

#[tokio::test]
async fn a_dead_replica_costs_the_leader_little() {
    let mut sites = three().await;
    let leader = leader(&sites).unwrap();
    sites[(leader + 1) % 3].stop().await;
    // So that there is something that the dead one lacks.
    propose(&sites, "unheard").await;
    let (began, before) = (Instant::now(), cpu());
    while began.elapsed() < Duration::from_secs(3) {
        propose(&sites, "more").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let share = (cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64();
    println!("with a dead replica: {:.1} % of a core", share * 100.0);
    // Calling without a pause takes all of it.
    assert!(share < 0.4, "{share}");
    close(sites).await;
}

#[tokio::test]
async fn leadership_changes_hands_at_once_although_many_write() {
    let sites = three().await;
    propose(&sites, "first").await;
    let done = std::sync::atomic::AtomicBool::new(false);
    let writers = (0..8).map(|writer| {
        let (sites, done) = (&sites, &done);
        async move {
            let mut round = 0;
            while !done.load(Ordering::SeqCst) {
                propose(sites, &format!("{writer} {round}")).await;
                round += 1;
            }
        }
    });
    let changes = async {
        for heir in [1, 2, 0, 1, 2, 0] {
            let (old, heir) = (leader(&sites).unwrap(), sites[heir].group());
            hand_over(&sites[old].group(), &heir).await;
        }
        done.store(true, Ordering::SeqCst);
    };
    futures::join!(futures::future::join_all(writers), changes);
    all_equal(&sites).await;
    close(sites).await;
}

async fn hand_over(old: &Group, heir: &Group) {
    eventually("the heir follows", || old.follows_closely(heir.tag().replica)).await;
    old.hand_over(heir.tag().replica).await.unwrap();
    eventually("the heir leads", || heir.leads()).await;
}

#[tokio::test]
async fn who_has_never_answered_does_not_follow_closely() {
    let sites = three().await;
    let leader = sites[leader(&sites).unwrap()].group();
    eventually("a voter follows", || leader.follows_closely(sites[1].replica)).await;
    // A replica that was placed but has not been started.
    leader.add_learner(ReplicaId(999), sites[2].node).await.unwrap();
    for number in 0..5 {
        propose(&sites, &number.to_string()).await;
        assert!(!leader.follows_closely(ReplicaId(999)));
    }
    close(sites).await;
}

/// As after a failed log, which ends before what the state has applied: openraft then has it forget all up
/// to there.
#[cfg(feature = "rocksdb")]
#[tokio::test]
async fn a_state_ahead_of_its_log_is_on_disk_before_the_log_goes_on() {
    use crate::engine::{RocksEngine, RocksOptions};
    use openraft::storage::RaftLogStorage;
    let dir = tempfile::tempdir().unwrap();
    let mut site = Site::new(1).await;
    site.engine = Arc::new(RocksEngine::open(dir.path(), RocksOptions::default()).unwrap());
    site.start().await;
    site.group().found(site.node).await.unwrap();
    eventually("it leads", || site.group().leads()).await;
    for number in 0..5 {
        site.group().propose(Bytes::from(number.to_string())).await.unwrap();
    }
    site.stop().await;
    let persisted = || state_machine::persisted(site.engine.as_ref(), GROUP).unwrap();
    assert_eq!(persisted(), None);
    let vote = site.log.state().vote.unwrap();
    let last = site.log.state().last;
    let shorter = LogStore::memory(MemoryLog::default());
    let vote = super::super::log_store::decode_vote(&vote).unwrap();
    shorter.clone().save_vote(&vote).await.unwrap();
    let again = Site {
        log: shorter,
        pool: open_pool(site.node, "127.0.0.1:0", site.desk.clone()).await.0,
        ..site
    };
    again.start().await;
    let persisted = state_machine::persisted(again.engine.as_ref(), GROUP).unwrap();
    assert_eq!(persisted.map(|at| at.index), last.map(|at| at.index));
    close(vec![again]).await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_reading() {
    let mut sites = three().await;
    propose(&sites, "one").await;
    let first = leader(&sites).unwrap();
    let old = sites[first].group();
    let since = Instant::now();
    while !old.leads_by_lease().await {
        assert!(since.elapsed() < PATIENCE, "a leader that is heard has a lease");
    }
    sites[first].pool.close().await;
    // Nobody answers it any more: a proof by quorum is not to be had, whatever it believes of itself.
    assert_eq!(old.read_index().await.unwrap_err().kind(), Kind::Unavailable);
    // Nobody else can lead while its lease counts.
    let mut held = 0;
    let others: Vec<Group> = sites
        .iter()
        .enumerate()
        .filter(|(number, _)| *number != first)
        .map(|(_, site)| site.group())
        .collect();
    loop {
        let led = others.iter().any(Group::leads);
        if old.leads_by_lease().await {
            assert!(!led, "two lead at once");
            held += 1;
        } else if led {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "another one leads; the lease held {held} times");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!old.leads_by_lease().await);
    let site = sites.remove(first);
    site.desk.group.lock().take().unwrap().stop().await;
    close(sites).await;
}

#[tokio::test]
async fn who_has_followed_a_leader_before_it_was_restarted_votes_for_no_other_at_once() {
    let mut sites = three().await;
    propose(&sites, "one").await;
    let (first, follower) = (leader(&sites).unwrap(), (leader(&sites).unwrap() + 1) % 3);
    eventually("it follows", || sites[follower].list().len() == 1).await;
    let from = sites[first].group().tag().replica;
    sites[follower].stop().await;
    // It hears of nobody any more: what it refuses, it refuses by itself.
    for site in &sites {
        site.pool.close().await;
    }
    let (pool, _) =
        open_pool(sites[follower].node, &sites[follower].address, sites[follower].desk.clone())
            .await;
    sites[follower].pool = pool;
    sites[follower].start().await;
    let ask = |transfer| {
        request::Body::AskVote(crate::rpc::message::AskVote {
            group: GROUP.number(),
            to: sites[follower].replica.0,
            vote: Some(crate::rpc::message::Vote {
                term: 1_000_000,
                replica: from.0 + 50,
                committed: false,
            }),
            last: Some(crate::rpc::message::Position { term: 1_000_000, index: 1_000_000 }),
            pre: true,
            transfer,
        })
    };
    let granted = async |transfer| {
        let voted = sites[follower].group().take(ask(transfer)).await.unwrap();
        crate::rpc::message::Voted::try_from(voted).unwrap().granted
    };
    assert!(!granted(false).await, "its leader may still count on its lease");
    assert!(granted(true).await, "that leader itself hands over");
    close(sites).await;
}
