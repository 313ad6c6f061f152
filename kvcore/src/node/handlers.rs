//! Whatever arrives over the links, and from the client in this process.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::core::Core;
use super::{administration, vitals};
use crate::metadata::{Change, NewMember};
use crate::partition::Replica;
use crate::placement::Assignment;
use crate::rpc::message::{self, execute, executed, reply, request};
use crate::rpc::{Answer, Caller, Handler, convert};
use crate::types::config::{Founding, check_address};
use crate::types::{
    Budget, ClusterId, Command, Consistency, Error, GroupId, Kind, NodeId, PartitionId, ReplicaId,
    Result, Room, Token,
};

/// How often a request is passed on from node to node at most: to somebody who holds the partition,
/// and from there to its leader.
const HOPS: u32 = 2;
/// How long the member whose place is asked for may take to show that it is alive.
const PING: Duration = Duration::from_secs(1);

/// The node's handler. It answers `Unavailable` before the node has started and after it stopped.
pub(super) struct Handlers {
    core: RwLock<Option<Arc<Core>>>,
    in_flight: Budget,
}

impl Handlers {
    /// Handlers of a node that has not started, for requests of so many bytes at once.
    pub(super) fn new(inflight_bytes: usize) -> Handlers {
        Handlers { core: RwLock::default(), in_flight: Budget::new(inflight_bytes) }
    }

    /// From now on requests go to this node.
    pub(super) fn open(&self, core: Arc<Core>) {
        *self.core.write() = Some(core);
    }

    /// From now on nothing is answered.
    pub(super) fn close(&self) {
        *self.core.write() = None;
    }

    fn dispatch(
        &self,
        core: Arc<Core>,
        caller: &Caller,
        request: request::Body,
        timeout: Duration,
    ) -> Result<Answer> {
        Ok(match request {
            request::Body::Append(_)
            | request::Body::AskVote(_)
            | request::Body::SnapshotChunk(_)
            | request::Body::SnapshotInstall(_)
            | request::Body::HandOver(_) => {
                check_member(core.cluster, &core.state().removed, caller)?;
                replicate(&core, request)?
            }
            request::Body::Execute(execute) => {
                let room = self.room(&execute)?;
                Box::pin(async move {
                    run(&core, execute, room, timeout).await.map(reply::Body::Executed)
                })
            }
            request::Body::Route(_) => now(reply::Body::Routes(routes(&core))),
            request::Body::Describe(asked) => Box::pin(async move {
                administration::describe(&core, asked.ring).await.map(reply::Body::Described)
            }),
            request::Body::Plan(asked) => Box::pin(async move {
                administration::plan(&core, asked).await.map(reply::Body::Planned)
            }),
            request::Body::Manage(asked) => Box::pin(async move {
                administration::manage(&core, asked, timeout).await.map(reply::Body::Managed)
            }),
            request::Body::Ping(ping) => now(reply::Body::Pong(pong(&core, caller, &ping))),
            request::Body::Join(join) => {
                Box::pin(async move { admit(&core, join, timeout).await.map(reply::Body::Joined) })
            }
            request::Body::Propose(propose) => {
                check_member(core.cluster, &core.state().removed, caller)?;
                Box::pin(async move {
                    let change = Change::decode(&propose.command)?;
                    let outcome = core.metadata.decide(&change).await?.encode()?;
                    Ok(reply::Body::Proposed(message::Proposed { outcome }))
                })
            }
        })
    }

    /// Room for a request among those in flight, until it is dropped: with the request, or with the
    /// command that became of it, which may stay when nobody waits for its answer any more.
    fn room(&self, execute: &message::Execute) -> Result<Room> {
        let bytes = match &execute.operation {
            Some(execute::Operation::Put(put)) => 64 + put.key.len() + put.value.len(),
            _ => 64,
        };
        self.in_flight.take(bytes)
    }
}

impl Handler for Handlers {
    fn handle(&self, caller: &Arc<Caller>, request: request::Body, timeout: Duration) -> Answer {
        let Some(core) = self.core.read().clone() else {
            let error = Error::new(Kind::Unavailable, "the node is not serving");
            return Box::pin(std::future::ready(Err(error)));
        };
        self.dispatch(core, caller, request, timeout)
            .unwrap_or_else(|error| Box::pin(std::future::ready(Err(error))))
    }
}

fn pong(core: &Core, caller: &Caller, ping: &message::Ping) -> message::Pong {
    let own = vitals::own(core);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    message::Pong {
        full: own.full,
        replicas: count(core.host.replicas().len()),
        leaders: count(own.leaders),
        bytes: own.bytes,
        room: own.room,
        removed: caller.node.is_some_and(|node| core.state().removed.contains(&node)),
        sizes: if ping.sizes { vitals::led(core) } else { Vec::new() },
        ready: vitals::ready(core, &ping.heirs),
    }
}

fn now(reply: reply::Body) -> Answer {
    Box::pin(std::future::ready(Ok(reply)))
}

/// Checks that a node of this cluster asks, and no client; nor one that was removed, which may not know it
/// yet. A node that has joined since its link was made named no cluster then.
fn check_member(cluster: ClusterId, removed: &BTreeSet<NodeId>, caller: &Caller) -> Result<()> {
    let here = caller.cluster.is_none_or(|theirs| theirs == cluster);
    match caller.node {
        Some(node) if here && !removed.contains(&node) => Ok(()),
        _ => Err(Error::new(Kind::PermissionDenied, "only members of the cluster may ask that")),
    }
}

/// A message between replicas goes to the replica it names; its successor here never gets it.
fn replicate(core: &Core, request: request::Body) -> Result<Answer> {
    let (group, to) = match &request {
        request::Body::Append(append) => (append.group, append.to),
        request::Body::AskVote(ask) => (ask.group, ask.to),
        request::Body::SnapshotChunk(chunk) => (chunk.group, chunk.to),
        request::Body::SnapshotInstall(install) => (install.group, install.to),
        request::Body::HandOver(hand_over) => (hand_over.group, hand_over.to),
        _ => return Err(Error::internal("not a message between replicas")),
    };
    let absent = || {
        Error::new(Kind::Unavailable, "the replica is not on this node")
            .with("group", group)
            .with("replica", to)
    };
    if core.storage.log_is_full() && !fits(core, &request) {
        return Err(Error::new(Kind::StorageFull, "the disk of the replica's node is full")
            .with("group", group));
    }
    match convert::group_id(group)? {
        GroupId::Metadata => {
            let metadata = core.metadata.group();
            match metadata.tag().replica == ReplicaId(to) {
                true => Ok(metadata.take(request)),
                false => Err(absent()),
            }
        }
        GroupId::Partition(partition) => {
            let replica = core.host.replica(partition).ok_or_else(absent)?;
            match replica.id() == ReplicaId(to) {
                true => Ok(replica.group().take(request)),
                false => Err(absent()),
            }
        }
    }
}

/// Whether what a message between replicas brings still fits into a log that gets no more segments. What was
/// under way when it got full does as a rule, and without it no new leader could be confirmed. Nor could
/// it without its first entry, which is empty.
fn fits(core: &Core, request: &request::Body) -> bool {
    match request {
        request::Body::Append(append) => {
            let bytes: usize = append.entries.iter().map(|entry| entry.payload.len()).sum();
            bytes == 0 || bytes as u64 <= core.storage.log_left()
        }
        request::Body::SnapshotChunk(_) => false,
        _ => true,
    }
}

/// Runs an operation where its partition is led: here, or where this node believes that to be.
async fn run(
    core: &Core,
    execute: message::Execute,
    room: Room,
    timeout: Duration,
) -> Result<message::Executed> {
    let limits = &core.config.limits;
    let key = match &execute.operation {
        Some(execute::Operation::Get(get)) => &get.key,
        Some(execute::Operation::Delete(delete)) => &delete.key,
        Some(execute::Operation::Put(put)) => {
            limits.check_value(&put.value)?;
            &put.key
        }
        None => return Err(Error::new(Kind::Unsupported, "an operation that is not known here")),
    };
    limits.check_key(key)?;
    let partition = Token::of(key).partition(core.state().config.partitions);
    let replica = core.host.replica(partition);
    if let Some(replica) = replica.as_ref().filter(|replica| replica.group().leads()) {
        return perform(core, replica, execute, room).await;
    }
    if execute.hops >= HOPS {
        return Err(Error::new(Kind::Unavailable, "the partition's leader is not known here")
            .with("partition", partition));
    }
    let target = forward_to(core, partition, replica.as_deref());
    let target = target.map_err(|error| match core.host.damage().of(partition) {
        Some(_) => Error::new(Kind::Corruption, "what this node has of the partition is damaged")
            .with("partition", partition)
            .because(error),
        None => error,
    })?;
    let onward = message::Execute { hops: execute.hops + 1, ..execute };
    let passed_on = core.pool.node(target).call(request::Body::Execute(onward), timeout).await;
    match passed_on.map_err(ending)? {
        reply::Body::Executed(executed) => Ok(executed),
        _ => Err(Error::internal("a request was answered with something else")),
    }
}

/// That this node is about to end, and has passed nothing on, is its own affair: another one may answer.
fn ending(error: Error) -> Error {
    match error.kind() {
        Kind::Closed => error.into_kind(Kind::Unavailable),
        _ => error,
    }
}

/// Whom to pass a request on to.
fn forward_to(core: &Core, partition: PartitionId, here: Option<&Replica>) -> Result<NodeId> {
    let leader = here.and_then(|replica| replica.group().leader()).map(|(_, node)| node);
    let (state, reachable) = (core.state(), core.reachable());
    choose(core.node, leader, state.table.assignment(partition), &reachable).ok_or_else(|| {
        Error::new(Kind::Unavailable, "the partition has no leader").with("partition", partition)
    })
}

/// The leader if the replica here knows it, else whoever else holds the partition, the node that should
/// lead it first: a replica that knows no leader may only be new, or cut off from the others.
fn choose(
    here: NodeId,
    leader: Option<NodeId>,
    assignment: Option<&Assignment>,
    reachable: &BTreeSet<NodeId>,
) -> Option<NodeId> {
    if let Some(leader) = leader.filter(|leader| *leader != here) {
        return Some(leader);
    }
    let assignment = assignment?;
    let holders = assignment.replicas.iter().map(|replica| replica.node);
    let mut preferred_first = assignment.preferred.into_iter().chain(holders);
    preferred_first.find(|node| *node != here && reachable.contains(node))
}

async fn perform(
    core: &Core,
    replica: &Replica,
    execute: message::Execute,
    room: Room,
) -> Result<message::Executed> {
    if let Some(execute::Operation::Get(get)) = &execute.operation {
        let consistency = Consistency::from_number(get.consistency)?;
        let found = replica.read(&get.key, consistency).await;
        let found = found.map_err(|error| damaged(core, replica, error))?;
        let value = match found {
            None => message::Value::default(),
            Some((value, revision)) => message::Value { found: true, value, revision },
        };
        let epoch = core.state().epoch().0;
        return Ok(message::Executed { epoch, result: Some(executed::Result::Value(value)) });
    }
    // A delete makes room.
    let removes = matches!(execute.operation, Some(execute::Operation::Delete(_)));
    core.space.admit(removes)?;
    if !removes {
        core.storage.admit()?;
    }
    let outcome = replica.write(Command::try_from(execute)?, Box::new(room)).await?;
    convert::executed(outcome, core.state().epoch())
}

/// A read that came upon damage, or that the disk refused: the replica stops, and another one leads, if
/// there is one.
fn damaged(core: &Core, replica: &Replica, error: Error) -> Error {
    if error.kind() != Kind::Corruption && !error.is_unreadable() {
        return error;
    }
    core.host.raise_alarm();
    let state = core.state();
    let placed = state.table.assignment(replica.partition());
    match placed.is_some_and(|placed| placed.replicas.len() > 1) {
        true => error.into_kind(Kind::Unavailable),
        false => error,
    }
}

fn routes(core: &Core) -> message::Routes {
    let state = core.state();
    let leaders = state.table.iter().map(|(partition, assignment)| {
        let known = match core.host.replica(partition) {
            Some(replica) => replica.group().leader().map(|(_, node)| node),
            None => assignment.preferred,
        };
        known.map_or(0, |node| node.0)
    });
    message::Routes {
        epoch: state.epoch().0,
        partitions: u32::from(state.config.partitions),
        leaders: leaders.collect(),
        members: members(core),
        cluster: convert::cluster_bytes(Some(core.cluster)),
    }
}

fn members(core: &Core) -> Vec<message::Member> {
    let state = core.state();
    let member = |member: &crate::metadata::Member| message::Member {
        node: member.node.0,
        address: member.address.clone(),
        zone: member.zone.clone().unwrap_or_default(),
        weight_milli: member.weight_milli,
        state: u32::from(member.leaving) + 2 * u32::from(member.dead),
    };
    state.members.values().map(member).collect()
}

/// Lets a node into the cluster.
async fn admit(core: &Core, join: message::Join, timeout: Duration) -> Result<message::Joined> {
    let state = core.state();
    if !state.founded() {
        return Err(Error::new(Kind::Unavailable, "the cluster is not founded yet"));
    }
    let node = convert::node_id(join.node)
        .ok_or_else(|| Error::new(Kind::InvalidArgument, "a member needs an id"))?;
    check_address(&join.address)?;
    let out_of_range = |_| Error::new(Kind::InvalidArgument, "setting out of range");
    let demands = Founding {
        partitions: join.partitions.map(u16::try_from).transpose().map_err(out_of_range)?,
        replication_factor: join
            .replication_factor
            .map(u8::try_from)
            .transpose()
            .map_err(out_of_range)?,
        vnodes: join.vnodes,
    };
    demands.agrees_with(join.durable, &state.config)?;
    let replaces = predecessor(core, node, &join.address).await?;
    let member = NewMember {
        node,
        address: join.address.clone(),
        zone: (!join.zone.is_empty()).then(|| join.zone.clone()),
        weight_milli: join.weight_milli,
    };
    let decision = core.decide(&Change::Join { member, replaces }, timeout).await?;
    let crate::metadata::Decision::Joined { metadata } = decision else {
        return Err(Error::internal("joining was answered with something else"));
    };
    tracing::info!(%node, address = join.address, "a node joined");
    let config = &state.config;
    Ok(message::Joined {
        cluster: convert::cluster_bytes(Some(core.cluster)),
        metadata_replica: metadata.0,
        members: members(core),
        settings: Some(message::ClusterSettings {
            partitions: u32::from(config.partitions),
            replication_factor: u32::from(config.replication_factor),
            vnodes: config.vnodes,
            durable: config.durable,
        }),
    })
}

/// The member whose place a joining node takes: one at the same address that is not there any more.
async fn predecessor(core: &Core, node: NodeId, address: &str) -> Result<Option<NodeId>> {
    let state = core.state();
    let known = state.members.values().find(|m| m.address == address && m.node != node);
    let Some(known) = known else { return Ok(None) };
    let alive = known.node == core.node || {
        let ping = request::Body::Ping(message::Ping::default());
        core.pool.node(known.node).call(ping, PING).await.is_ok()
    };
    match alive {
        true => Err(Error::new(Kind::InvalidArgument, "the address belongs to another member")
            .with("address", address)
            .with("member", known.node)),
        false => Ok(Some(known.node)),
    }
}

#[cfg(test)]
#[path = "handlers_test.rs"]
mod tests;
