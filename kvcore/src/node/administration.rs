//! What people ask of the cluster, and are told about it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::core::Core;
use super::proposal::{Proposal, propose};
use super::ring::{MoveStatus, NodeLoad, Plan, PlannedLoad, PlannedMove, RingStatus, json};
use super::status::{self, Report};
use super::vitals;
use crate::metadata::{Change, State};
use crate::placement::{Replica, Step, Weighted};
use crate::rpc::message::{self, manage, reply, request};
use crate::types::config::Retune;
use crate::types::{Error, Kind, NodeId, PartitionId, Result};

/// How long a member may take to say how large its partitions are.
const SURVEY: Duration = Duration::from_secs(1);
/// For so many nodes that are not there yet a question may ask.
const NEWCOMERS: usize = 1000;
/// About how long a move takes however little there is to send, in seconds.
const STEP: f64 = 0.3;

/// How large a partition is, and how much of it is on its way.
#[derive(Clone, Copy, Default)]
pub(super) struct Size {
    pub(super) bytes: u64,
    sent: u64,
}

/// How large the partitions are, as their leaders say that can be reached.
pub(super) async fn sizes(core: &Core) -> BTreeMap<PartitionId, Size> {
    let linked = core.pool.linked().borrow().clone();
    let asked = linked.iter().map(|node| {
        core.pool
            .node(*node)
            .call(request::Body::Ping(message::Ping { sizes: true, heirs: Vec::new() }), SURVEY)
    });
    let mut sizes = vitals::led(core);
    for answer in futures::future::join_all(asked).await {
        if let Ok(reply::Body::Pong(pong)) = answer {
            sizes.extend(pong.sizes);
        }
    }
    let size = |told: message::PartitionSize| {
        let partition = PartitionId(u16::try_from(told.partition).ok()?);
        Some((partition, Size { bytes: told.bytes, sent: told.sent }))
    };
    sizes.into_iter().filter_map(size).collect()
}

/// Describes the node and its cluster.
pub(super) async fn describe(core: &Core, ring: bool) -> Result<message::Described> {
    let mut report = status::report(core);
    if ring {
        let then = propose(core.state()).await?.then();
        report.ring = Some(self::ring(core, &report, &then, &sizes(core).await));
    }
    Ok(message::Described { json: json(&report)? })
}

fn ring(
    core: &Core,
    report: &Report,
    then: &BTreeMap<NodeId, usize>,
    sizes: &BTreeMap<PartitionId, Size>,
) -> RingStatus {
    let state = core.state();
    let mut vitals = core.vitals.lock().clone();
    vitals.insert(core.node, vitals::own(core));
    let loads = state.members.values().zip(&report.members).map(|(member, told)| {
        let known = vitals.get(&member.node);
        NodeLoad {
            id: told.id.clone(),
            address: told.address.clone(),
            state: told.state.clone(),
            weight: told.weight,
            zone: told.zone.clone(),
            replicas: told.replicas,
            leaders: known.map_or(told.leaders, |vitals| vitals.leaders),
            bytes: known.map_or(0, |vitals| vitals.bytes),
            target: then.get(&member.node).copied().unwrap_or(0),
        }
    });
    let moves = state.moves.iter().map(|(partition, step)| {
        let size = sizes.get(partition).copied().unwrap_or_default();
        let name = |replica: Option<Replica>| replica.map(|replica| replica.node.to_string());
        MoveStatus {
            partition: partition.0,
            from: name(step.remove),
            to: name(step.add),
            bytes: size.bytes,
            sent: size.sent,
        }
    });
    RingStatus {
        epoch: state.epoch().0,
        partitions: state.config.partitions,
        replication_factor: state.config.replication_factor,
        nodes: loads.collect(),
        moves: moves.collect(),
        tuning: state.tuning.clone(),
    }
}

/// Which moves are to come, or would be.
///
/// # Errors
/// `NotFound` for one that would leave but is no member; `InvalidArgument` if nobody would be left.
pub(super) async fn plan(core: &Core, question: message::Plan) -> Result<message::Planned> {
    let state = core.state();
    let what_if = WhatIf::of(&state, question)?;
    let (map, members, copies) = (state.clone(), what_if.members.clone(), what_if.copies);
    let proposed =
        tokio::task::spawn_blocking(move || Proposal::with(&map, &members, copies)).await;
    let proposal =
        proposed.map_err(|error| Error::internal("the proposal was interrupted").because(error))?;
    let sizes = sizes(core).await;
    let name = |node: NodeId| what_if.names.get(&node).cloned().unwrap_or_else(|| node.to_string());
    let steps = proposal.steps.iter().filter(|step| !state.moves.contains_key(&step.partition));
    let planned = |step: &Step| PlannedMove {
        partition: step.partition.0,
        from: step.remove.map(name),
        to: step.add.map(name),
        bytes: step.add.and(sizes.get(&step.partition)).map_or(0, |size| size.bytes),
    };
    let moves: Vec<PlannedMove> = steps.map(planned).collect();
    let (now, then) = (proposal.now(), proposal.then());
    let known = state.members.keys().chain(what_if.names.keys()).chain(then.keys());
    let nodes: BTreeSet<NodeId> = known.copied().collect();
    let load = |node: NodeId| PlannedLoad {
        id: name(node),
        now: now.get(&node).copied().unwrap_or(0),
        then: then.get(&node).copied().unwrap_or(0),
    };
    let plan = Plan {
        epoch: state.epoch().0,
        bytes: moves.iter().map(|one| one.bytes).sum(),
        seconds: seconds(core, &state, &moves),
        nodes: nodes.into_iter().map(load).collect(),
        moves,
    };
    Ok(message::Planned { json: json(&plan)? })
}

/// The members of a question.
struct WhatIf {
    members: Vec<Weighted>,
    copies: usize,
    /// Those that are not there yet.
    names: BTreeMap<NodeId, String>,
}

impl WhatIf {
    fn of(state: &State, question: message::Plan) -> Result<WhatIf> {
        let mut members = state.weighted();
        if question.with.len() > NEWCOMERS {
            return Err(Error::new(Kind::InvalidArgument, "too many newcomers to plan for")
                .with("newcomers", question.with.len())
                .with("limit", NEWCOMERS));
        }
        for leaver in &question.without {
            let leaver = NodeId(*leaver);
            if !state.members.contains_key(&leaver) {
                return Err(Error::new(Kind::NotFound, "no such member").with("node", leaver));
            }
            members.retain(|member| member.node != leaver);
        }
        let mut names = BTreeMap::new();
        for (number, newcomer) in question.with.into_iter().enumerate() {
            // Where a node's virtual nodes are hangs on its id, which is random: these stand for any.
            let taken = |node| state.members.contains_key(&node) || names.contains_key(&node);
            let node = (1..).map(NodeId).find(|node| !taken(*node)).unwrap_or_default();
            names.insert(node, format!("new-{}", number + 1));
            members.push(Weighted {
                node,
                weight_milli: newcomer.weight_milli,
                zone: Some(newcomer.zone).filter(|zone| !zone.is_empty()),
            });
        }
        if members.is_empty() {
            return Err(Error::new(Kind::InvalidArgument, "nobody would be left"));
        }
        let dead = state.members.values().filter(|member| member.dead && !member.leaving);
        let dead = dead.filter(|member| !question.without.contains(&member.node.0));
        let all = members.len() + dead.count();
        let copies = usize::from(state.config.replication_factor).min(all);
        Ok(WhatIf { members, copies, names })
    }
}

/// About how long moves take: what is sent, at the rate that nodes send at, and a moment for each.
fn seconds(core: &Core, state: &State, moves: &[PlannedMove]) -> f64 {
    let senders = core.reachable().len().max(1) as f64;
    let bytes: u64 = moves.iter().map(|one| one.bytes).sum();
    let mut taking: BTreeMap<&str, usize> = BTreeMap::new();
    for to in moves.iter().filter_map(|one| one.to.as_deref()) {
        *taking.entry(to).or_default() += 1;
    }
    let most = taking.values().max().copied().unwrap_or(0);
    let rounds = most.div_ceil(state.tuning.moves_per_node.max(1) as usize) as f64;
    (bytes as f64 / (senders * core.move_rate() as f64)).max(rounds * STEP)
}

/// Sees to what a person asks of the cluster.
///
/// # Errors
/// `Unsupported` for what is not known here, `NotFound`, `InvalidArgument`; as [`Core::decide`].
pub(super) async fn manage(
    core: &Core,
    asked: message::Manage,
    timeout: Duration,
) -> Result<message::Managed> {
    let change = match asked.action {
        Some(manage::Action::Leave(leave)) => Change::Leave { node: NodeId(leave.node) },
        Some(manage::Action::Remove(remove)) => {
            let node = NodeId(remove.node);
            if !remove.force {
                check_removal(core, node)?;
            }
            Change::Remove { node }
        }
        Some(manage::Action::Transfer(transfer)) => {
            let partition = u16::try_from(transfer.partition).map_err(|_| {
                Error::new(Kind::NotFound, "no such partition")
                    .with("partition", transfer.partition)
            })?;
            Change::Prefer { partition: PartitionId(partition), node: NodeId(transfer.node) }
        }
        Some(manage::Action::Tune(tune)) => Change::Tune {
            change: Retune {
                moves_per_node: tune.moves_per_node,
                move_rate: tune.move_rate,
                paused: tune.paused,
                dead_node_timeout_ms: tune.dead_node_timeout_ms,
                max_dead_milli: tune.max_dead_milli,
            },
        },
        None => {
            return Err(Error::new(Kind::Unsupported, "an action that is not known here"));
        }
    };
    core.decide(&change, timeout).await?;
    // The map here may be a little older than the decision.
    let mut tuning = core.state().tuning.clone();
    if let Change::Tune { change } = &change {
        tuning = tuning.changed(change)?;
    }
    Ok(message::Managed { tuning: json(&tuning)? })
}

/// Whether the others can do without that member.
///
/// # Errors
/// `InvalidArgument` with the reason if not.
fn check_removal(core: &Core, node: NodeId) -> Result<()> {
    let (state, mut alive) = (core.state(), core.reachable());
    if alive.contains(&node) {
        return Err(
            Error::new(Kind::InvalidArgument, "the node is up: have it leave").with("node", node)
        );
    }
    alive.remove(&node);
    for (partition, placed) in state.table.iter() {
        if placed.replica_on(node).is_none() {
            continue;
        }
        let left = placed.replicas.iter().filter(|replica| alive.contains(&replica.node)).count();
        let reason = match left {
            0 => "it holds the only copy of a partition that can be reached",
            left if left * 2 <= placed.replicas.len() => {
                "without it a partition has no majority of its replicas"
            }
            _ => continue,
        };
        return Err(Error::new(Kind::InvalidArgument, format!("the node is needed: {reason}"))
            .with("node", node)
            .with("partition", partition)
            .with("replicas", placed.replicas.len())
            .with("reachable", left));
    }
    let voters = core.metadata.group().voters().voters;
    let votes = |member: &&crate::metadata::Member| {
        alive.contains(&member.node) && voters.contains(&member.metadata)
    };
    let left = state.members.values().filter(votes).count();
    if left * 2 <= voters.len() {
        return Err(Error::new(
            Kind::InvalidArgument,
            "the node is needed: without it the metadata group has no majority",
        )
        .with("node", node)
        .with("voters", voters.len())
        .with("reachable", left));
    }
    Ok(())
}
