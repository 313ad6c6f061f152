//! What placement and metadata cost a cluster of 10, 100 and 1,000 nodes.
//!
//! No cluster is started: the target is computed for clusters of so many nodes that some join and
//! leave, the map that metadata would keep is made and encoded, and what nodes say to each other is
//! counted from the periods that the code has. Two tables are printed, and whether what is promised of
//! placement holds: few replicas move, and no node has too much. The first promise is only looked at
//! where a node has enough replicas for it to make sense.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench::Verdict;
use clap::Parser;
use kvcore::metadata::{Change, Member, State};
use kvcore::placement::{Assignment, Replica, Table, Weighted, target};
use kvcore::types::config::{ClusterConfig, Timers};
use kvcore::types::{ClusterId, Epoch, NodeId, PartitionId, ReplicaId};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

const NODES: [usize; 3] = [10, 100, 1000];
const PARTITIONS: [u16; 4] = [64, 256, 1024, 4096];
const REPLICATION_FACTOR: u8 = 3;
const VNODES: u32 = 64;
/// Below that many replicas to a node, one more or less is so large a part of what it should have that
/// a ratio says nothing; and where the bound on loads, a whole number, gets smaller by one, many nodes
/// are above it at once.
const ENOUGH: f64 = 10.0;
/// What is promised: replicas moved over the least possible, and replicas of a node beyond 1.10 times
/// its share.
const MOVED: f64 = 1.25;
const BEYOND: f64 = 1.0;
/// How often a node asks each other one how it is (`node::liveness`).
const PING: Duration = Duration::from_millis(500);
/// Memory of an idle replica, in MB: that of openraft, measured at 64 and 256 groups.
const REPLICA_MB: (f64, f64) = (0.2, 0.3);

/// Computes what placement and metadata cost.
#[derive(Parser)]
struct CommandLine {
    /// Changes of each cluster, every other one a join
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(2..))]
    changes: u16,
    /// Print JSON: one object for each combination
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let sizes =
        NODES.into_iter().flat_map(|nodes| PARTITIONS.map(|partitions| (nodes, partitions)));
    let cells: Vec<Cell> =
        sizes.map(|(nodes, partitions)| Cell::of(nodes, partitions, line.changes)).collect();
    if line.json {
        println!("{}", serde_json::to_string_pretty(&cells).unwrap());
        return if cells.iter().all(Cell::holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    print(&cells);
    let most = |figure: fn(&Cell) -> f64, cells: &mut dyn Iterator<Item = &Cell>| {
        cells.map(figure).fold(f64::MIN, f64::max)
    };
    let moved = most(|cell| cell.moved_over_least, &mut cells.iter().filter(|cell| cell.enough));
    let beyond = most(|cell| cell.beyond, &mut cells.iter());
    let mut verdict = Verdict::default();
    verdict.at_most("replicas moved over the least, where nodes have enough", moved, MOVED);
    verdict.at_most("replicas of a node beyond 1.10 x its share", beyond, BEYOND);
    verdict.code()
}

/// What a cluster of one size costs.
#[derive(Serialize)]
struct Cell {
    nodes: usize,
    partitions: u16,
    /// Replicas of a node on average, and whether that is enough for ratios to mean something.
    replicas_a_node: f64,
    enough: bool,
    /// The time that a target took, the median of all.
    join_ms: f64,
    leave_ms: f64,
    /// All replicas that moved, over what had to: a newcomer's share, what a leaver held.
    moved_over_least: f64,
    /// The same at worst, in one change.
    moved_at_worst: f64,
    /// The heaviest node met, over the average, and its replicas beyond 1.10 times that.
    heaviest_over_average: f64,
    beyond: f64,
    /// The most partitions that a node is to lead, over the average.
    leaders_over_average: f64,
    /// The map: its bytes, and the time to encode it and to copy it, as each node does at each change.
    state_bytes: usize,
    state_ms: f64,
    /// A change in the metadata log: the largest of those that make up a move.
    change_bytes: usize,
    /// Changes for one join: the member's, three for each move, new preferred leaders.
    changes_a_join: f64,
    /// What metadata's leader sends to all others for one join.
    sent_a_join_bytes: f64,
    /// What each node stores of the map for one join.
    stored_a_join_bytes: f64,
    /// Links of a node.
    links: usize,
    /// Pings that a node sends in a second; as many come in.
    pings: f64,
    /// Heartbeats that a node sends in a second for what it leads, when all groups tick; as many come in.
    heartbeats: f64,
    /// Heartbeats that the leader of metadata sends on top.
    metadata_heartbeats: f64,
    /// Memory of the replicas of a node, from and to.
    memory_mb: (f64, f64),
}

impl Cell {
    fn of(nodes: usize, partitions: u16, changes: u16) -> Cell {
        let mut cluster = Cluster::founded(nodes, partitions);
        let mut seen = Seen::default();
        for change in 0..changes {
            // Leaves put right the number of nodes that joins have changed.
            if change % 2 == 0 { cluster.join(&mut seen) } else { cluster.leave(&mut seen) }
        }
        let all = f64::from(partitions) * f64::from(REPLICATION_FACTOR);
        let share = all / nodes as f64;
        let state = cluster.state();
        let (state_bytes, state_ms) = encoded(&state);
        let change_bytes = change_bytes(&state);
        let others = (nodes - 1) as f64;
        let heartbeats = 1.0 / Timers::default().heartbeat.as_secs_f64();
        let joins = seen.joins.len() as f64;
        let changes_a_join = 1.0 + (3 * seen.join_moves + seen.join_leaders) as f64 / joins;
        // What confirms a move alters nothing, and is not stored.
        let stored_a_join = changes_a_join - seen.join_moves as f64 / joins;
        Cell {
            nodes,
            partitions,
            replicas_a_node: share,
            enough: share >= ENOUGH,
            join_ms: median_ms(&mut seen.joins),
            leave_ms: median_ms(&mut seen.leaves),
            moved_over_least: seen.moved as f64 / seen.least,
            moved_at_worst: seen.moved_at_worst,
            heaviest_over_average: seen.heaviest,
            beyond: seen.beyond.unwrap(),
            leaders_over_average: seen.leaders,
            state_bytes,
            state_ms,
            change_bytes,
            changes_a_join,
            sent_a_join_bytes: changes_a_join * change_bytes as f64 * others,
            stored_a_join_bytes: stored_a_join * state_bytes as f64,
            links: nodes - 1,
            pings: others / PING.as_secs_f64(),
            heartbeats: all * (1.0 - 1.0 / f64::from(REPLICATION_FACTOR)) / nodes as f64
                * heartbeats,
            metadata_heartbeats: others * heartbeats,
            memory_mb: (share * REPLICA_MB.0, share * REPLICA_MB.1),
        }
    }

    fn holds(&self) -> bool {
        self.beyond <= BEYOND && (!self.enough || self.moved_over_least <= MOVED)
    }
}

/// What was seen while nodes came and went.
#[derive(Default)]
struct Seen {
    /// How long each target took.
    joins: Vec<Duration>,
    leaves: Vec<Duration>,
    /// Replicas and preferred leaders that changed at joins.
    join_moves: usize,
    join_leaders: usize,
    moved: usize,
    least: f64,
    moved_at_worst: f64,
    heaviest: f64,
    beyond: Option<f64>,
    leaders: f64,
}

/// A cluster that is always as its last target said.
struct Cluster {
    chance: SmallRng,
    members: Vec<Weighted>,
    nodes: Vec<Vec<NodeId>>,
    preferred: Vec<Option<NodeId>>,
}

impl Cluster {
    fn founded(nodes: usize, partitions: u16) -> Cluster {
        let mut cluster = Cluster {
            chance: SmallRng::seed_from_u64(nodes as u64),
            members: Vec::new(),
            nodes: vec![Vec::new(); usize::from(partitions)],
            preferred: vec![None; usize::from(partitions)],
        };
        cluster.members = (0..nodes).map(|_| cluster.newcomer()).collect();
        cluster.settle();
        cluster
    }

    fn newcomer(&mut self) -> Weighted {
        Weighted { node: NodeId(self.chance.random()), weight_milli: 1000, zone: None }
    }

    fn join(&mut self, seen: &mut Seen) {
        let newcomer = self.newcomer();
        self.members.push(newcomer);
        let (took, moved, leaders) = self.settle();
        seen.joins.push(took);
        seen.join_moves += moved;
        seen.join_leaders += leaders;
        self.see(seen, moved, self.share());
    }

    fn leave(&mut self, seen: &mut Seen) {
        let leaver = self.members.remove(self.chance.random_range(0..self.members.len())).node;
        let held = self.nodes.iter().filter(|nodes| nodes.contains(&leaver)).count();
        let (took, moved, _) = self.settle();
        seen.leaves.push(took);
        self.see(seen, moved, held as f64);
    }

    /// Goes to the target: how long that took to compute, the replicas moved, the leaders changed.
    fn settle(&mut self) -> (Duration, usize, usize) {
        let began = Instant::now();
        let target =
            target(&self.nodes, &self.preferred, &self.members, REPLICATION_FACTOR, VNODES);
        let took = began.elapsed();
        let (mut moved, mut leaders) = (0, 0);
        let goals = target.partitions.into_iter();
        for ((held, leader), goal) in self.nodes.iter_mut().zip(&mut self.preferred).zip(goals) {
            moved += goal.nodes.iter().filter(|node| !held.contains(node)).count();
            leaders += usize::from(*leader != goal.preferred);
            (*held, *leader) = (goal.nodes, goal.preferred);
        }
        (took, moved, leaders)
    }

    fn share(&self) -> f64 {
        self.nodes.len() as f64 * f64::from(REPLICATION_FACTOR) / self.members.len() as f64
    }

    fn see(&self, seen: &mut Seen, moved: usize, least: f64) {
        seen.moved += moved;
        seen.least += least;
        if moved > 0 {
            seen.moved_at_worst = seen.moved_at_worst.max(moved as f64 / least);
        }
        let most = most_frequent(self.nodes.iter().flatten());
        let leads = most_frequent(self.preferred.iter().flatten());
        let share = self.share();
        seen.heaviest = seen.heaviest.max(most / share);
        let beyond = most - 1.10 * share;
        seen.beyond = Some(seen.beyond.map_or(beyond, |seen| seen.max(beyond)));
        seen.leaders = seen.leaders.max(leads * f64::from(REPLICATION_FACTOR) / share);
    }

    /// The map that metadata would have of it, but for the counter of replica ids, a byte or two.
    fn state(&self) -> State {
        let mut ids = (1..).map(ReplicaId);
        let mut state = State::default();
        state.cluster = ClusterId(u128::MAX / 3);
        state.config = ClusterConfig {
            partitions: self.nodes.len() as u16,
            replication_factor: REPLICATION_FACTOR,
            vnodes: VNODES,
            durable: true,
        };
        for (number, member) in self.members.iter().enumerate() {
            let member = Member {
                node: member.node,
                address: format!("10.20.{}.{}:7400", 100 + number / 250, number % 250),
                zone: Some(format!("zone-{}", number % 3)),
                weight_milli: member.weight_milli,
                metadata: ids.next().unwrap(),
                leaving: false,
                dead: false,
            };
            state.members.insert(member.node, member);
        }
        let placed = self.nodes.iter().zip(&self.preferred).map(|(nodes, preferred)| {
            let replica = |node: &NodeId| Replica { id: ids.next().unwrap(), node: *node };
            Assignment { replicas: nodes.iter().map(replica).collect(), preferred: *preferred }
        });
        state.table = Table { epoch: Epoch(100_000), partitions: placed.collect() };
        state
    }
}

fn median_ms(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn most_frequent<'a>(nodes: impl Iterator<Item = &'a NodeId>) -> f64 {
    let mut nodes: Vec<&NodeId> = nodes.collect();
    nodes.sort_unstable();
    nodes.chunk_by(|left, right| left == right).map(<[_]>::len).max().unwrap_or(0) as f64
}

/// The bytes of a map, and the milliseconds to encode it and to copy it for the node around it: the
/// shortest of a few times, since the first finds cold caches.
fn encoded(state: &State) -> (usize, f64) {
    let time = || {
        let began = Instant::now();
        let bytes = state.encode().unwrap().len();
        std::hint::black_box(state.clone());
        (bytes, began.elapsed().as_secs_f64() * 1000.0)
    };
    std::iter::repeat_with(time).take(10).min_by(|left, right| left.1.total_cmp(&right.1)).unwrap()
}

/// The bytes of the largest change that a move is made of: that it begins, is confirmed, is done.
fn change_bytes(state: &State) -> usize {
    let (last, node) = (PartitionId(state.config.partitions - 1), NodeId(u64::MAX));
    let replicas = state.destined(last);
    let new = Replica { id: ReplicaId(1 << 20), node };
    let (add, remove) = (Some(new), replicas.first().copied());
    let step = kvcore::metadata::Move { add, remove, lost: false };
    let changes = [
        Change::BeginMove { partition: last, add: Some(node), remove: step.remove.map(|it| it.id) },
        Change::Confirm { partition: last, step: Some(step), destined: replicas },
        Change::CommitMove { partition: last, step },
    ];
    changes.iter().map(|change| change.encode().unwrap().len()).max().unwrap()
}

fn print(cells: &[Cell]) {
    println!("placement: {REPLICATION_FACTOR} replicas, {VNODES} virtual nodes");
    println!("moved: over the least possible; *: too few replicas a node to judge that\n");
    println!(
        "{:>5} {:>10} {:>8} | {:>7} {:>8} | {:>5} {:>5} | {:>8} {:>7} | {:>13}",
        "nodes",
        "partitions",
        "replicas",
        "join ms",
        "leave ms",
        "moved",
        "worst",
        "heaviest",
        "leaders",
        "memory MB",
    );
    println!(
        "{:>5} {:>10} {:>8} | {:>16} | {:>11} | {:>16} | {:>13}",
        "", "", "a node", "target", "", "over average", "a node"
    );
    for cell in cells {
        println!(
            "{:>5} {:>10} {:>7.1}{} | {:>7.1} {:>8.1} | {:>5.2} {:>5.2} | {:>8.2} {:>7.2} | {:>5.1} to {:>5.1}",
            cell.nodes,
            cell.partitions,
            cell.replicas_a_node,
            if cell.enough { ' ' } else { '*' },
            cell.join_ms,
            cell.leave_ms,
            cell.moved_over_least,
            cell.moved_at_worst,
            cell.heaviest_over_average,
            cell.leaders_over_average,
            cell.memory_mb.0,
            cell.memory_mb.1,
        );
    }
    println!("\nmetadata and what nodes say to each other\n");
    println!(
        "{:>5} {:>10} | {:>8} {:>8} {:>6} | {:>7} {:>9} {:>9} | {:>5} {:>7} {:>10}",
        "nodes",
        "partitions",
        "map KiB",
        "ms",
        "change",
        "changes",
        "sent",
        "stored",
        "links",
        "pings/s",
        "heartbeats",
    );
    println!(
        "{:>5} {:>10} | {:>8} {:>8} {:>6} | {:>27} | {:>24}",
        "", "", "", "a change", "bytes", "for one join: MiB, MiB", "of a node, a second",
    );
    for cell in cells {
        println!(
            "{:>5} {:>10} | {:>8.1} {:>8.3} {:>6} | {:>7.0} {:>9.2} {:>9.1} | {:>5} {:>7.0} {:>10.0}",
            cell.nodes,
            cell.partitions,
            cell.state_bytes as f64 / 1024.0,
            cell.state_ms,
            cell.change_bytes,
            cell.changes_a_join,
            cell.sent_a_join_bytes / f64::from(1 << 20),
            cell.stored_a_join_bytes / f64::from(1 << 20),
            cell.links,
            cell.pings,
            cell.heartbeats,
        );
    }
    println!();
}
