//! Carries out the moves of the partitions that are led here, and hands leadership to where the map
//! prefers it, or away from a node whose disk is full.
//!
//! A move never makes a group smaller than it was: the new replica listens until it has nearly all of
//! the log, then one joint change lets it in and the old one out. A leader that is to go hands over
//! first. What has been done is read from the group itself each time, so a move that was broken off
//! anywhere is simply gone on with, by whoever leads the partition then.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::core::Core;
use super::space::Level;
use crate::metadata::{Change, Move};
use crate::partition::Replica;
use crate::placement;
use crate::rpc::message::{self, reply};
use crate::types::{Error, Kind, NodeId, PartitionId, ReplicaId, Result};

/// How often the mover looks when nothing changes.
const PERIOD: Duration = Duration::from_millis(100);
/// How long one step of a move may take before it is looked at anew.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a step looks for what it waits for.
const STEP: Duration = Duration::from_millis(20);
/// How long one decision may take.
const DECIDE: Duration = Duration::from_secs(5);
/// How long a leader is left alone after it was asked to hand over.
const REST: Duration = Duration::from_secs(3);
/// How long a stopping node waits for others to take over what it leads.
const HANDOVER: Duration = Duration::from_secs(1);
/// How long a node may take to say that it can lead something.
const READY: Duration = Duration::from_millis(300);
/// Leaderships handed over in one go.
const HANDOVERS: usize = 8;
/// How long a group's membership may differ from the map with no move under way, before it is put
/// right. The map here may be older than the change.
const SETTLE: Duration = Duration::from_secs(3);

/// Runs until it is dropped.
pub(super) async fn run(core: Arc<Core>) {
    let mut watch = core.metadata.watch();
    let mut moving = JoinSet::new();
    let mut busy = BTreeSet::new();
    let mut resting = BTreeMap::new();
    let mut odd = BTreeMap::new();
    loop {
        while let Some(ended) = moving.try_join_next() {
            match ended {
                Ok(partition) => drop(busy.remove(&partition)),
                // A task that panicked does not say which partition it was; all may be tried again.
                Err(_) => busy.clear(),
            }
        }
        let state = core.state();
        let led: Vec<_> = core.host.replicas().into_iter().filter(|r| r.group().leads()).collect();
        for replica in &led {
            let partition = replica.partition();
            let step = state.moves.get(&partition).copied();
            let Some(step) = step.or_else(|| repair(&core, replica, &mut odd)) else { continue };
            if busy.insert(partition) {
                moving.spawn(carry_out(core.clone(), replica.clone(), step));
            }
        }
        if core.space.level() > Level::Plenty {
            hand_away(&core, &led, &mut resting).await;
        } else {
            hand_over_preferred(&core, &led, &mut resting).await;
        }
        drop(tokio::time::timeout(PERIOD, watch.changed()).await);
    }
}

/// A step that moves nothing but makes the group's membership what the map says, if that is overdue.
fn repair(
    core: &Core,
    replica: &Replica,
    odd: &mut BTreeMap<PartitionId, Instant>,
) -> Option<Move> {
    let (partition, now) = (replica.partition(), replica.group().voters());
    let destined = core.state().destined(partition);
    let placed: BTreeSet<ReplicaId> = destined.iter().map(|replica| replica.id).collect();
    if now.voters == placed && now.learners.is_empty() && !now.joint {
        odd.remove(&partition);
        return None;
    }
    let since = *odd.entry(partition).or_insert_with(Instant::now);
    (since.elapsed() > SETTLE).then_some(Move { add: None, remove: None, lost: false })
}

async fn carry_out(core: Arc<Core>, replica: Arc<Replica>, step: Move) -> PartitionId {
    let partition = replica.partition();
    let done = tokio::time::timeout(PATIENCE, advance(&core, &replica, step)).await;
    match done {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%partition, %error, "move waits"),
        Err(_) => tracing::info!(%partition, "move takes long"),
    }
    partition
}

/// Goes on with a move, as far as it goes now.
async fn advance(core: &Core, replica: &Arc<Replica>, step: Move) -> Result<()> {
    let (partition, group) = (replica.partition(), replica.group());
    let destined = core.state().destined(partition);
    for coming in &destined {
        let now = group.voters();
        if now.voters.contains(&coming.id) {
            continue;
        }
        if !now.learners.contains(&coming.id) {
            group.add_learner(coming.id, coming.node).await?;
        }
        until(replica, || group.follows_closely(coming.id)).await?;
    }
    // The map here may be older than what has been agreed on since; a group that followed it would go
    // back to members that are gone.
    let under_way = Some(step).filter(|step| step.add.is_some() || step.remove.is_some());
    let confirm = Change::Confirm { partition, step: under_way, destined: destined.clone() };
    core.decide(&confirm, DECIDE).await?;

    let destined: BTreeSet<ReplicaId> = destined.iter().map(|replica| replica.id).collect();
    let leaving = !destined.contains(&replica.id());
    let mut voters = destined.clone();
    if leaving {
        voters.insert(replica.id());
    }
    let now = group.voters();
    if now.voters != voters || now.joint {
        group.change_voters(&voters, false).await?;
    }
    until(replica, || group.settled(&voters)).await?;
    let strangers: BTreeSet<ReplicaId> =
        group.voters().learners.difference(&destined).copied().collect();
    if !strangers.is_empty() {
        group.remove_learners(&strangers).await?;
    }
    if leaving {
        // The next leader finds the move as it is and does the rest.
        let heir = heirs(core, slice::from_ref(replica)).await.remove(&partition);
        let heir = heir.ok_or_else(|| {
            Error::new(Kind::Unavailable, "no other replica is ready to lead")
                .with("partition", partition)
        })?;
        group.hand_over(heir).await?;
        let rest = Instant::now() + REST;
        while group.leads() && Instant::now() < rest {
            group.changed(STEP).await;
        }
        return Ok(());
    }
    match under_way {
        Some(step) => core.decide(&Change::CommitMove { partition, step }, DECIDE).await.map(drop),
        None => Ok(()),
    }
}

/// Waits for something that the leader here is to see, as long as it leads.
async fn until(replica: &Replica, seen: impl Fn() -> bool) -> Result<()> {
    while !seen() {
        if !replica.group().leads() {
            return Err(Error::new(Kind::Unavailable, "leadership was lost")
                .with("partition", replica.partition()));
        }
        tokio::time::sleep(STEP).await;
    }
    Ok(())
}

/// Who may take over each of these, where anybody may: a voter that stays, has room on its disk and nearly all
/// of the log, and says itself that it can lead; the preferred one first.
async fn heirs(core: &Core, led: &[Arc<Replica>]) -> BTreeMap<PartitionId, ReplicaId> {
    let (state, roomy) = (core.state(), core.roomy());
    let mut wanted = Vec::new();
    for replica in led {
        let (partition, group) = (replica.partition(), replica.group());
        let voters = group.voters().voters;
        let others = state.destined(partition).into_iter().filter(|other| {
            roomy.contains(&other.node)
                && voters.contains(&other.id)
                && group.follows_closely(other.id)
        });
        wanted.extend(others.map(|other| (partition, other)));
    }
    let ready = ready(core, wanted.iter().map(|(_, other)| *other)).await;
    // The preferred ones come last, and win.
    wanted.retain(|(_, other)| ready.contains(&other.id));
    wanted.sort_by_key(|(partition, other)| {
        let placed = state.table.assignment(*partition);
        let preferred = placed.and_then(|placed| placed.preferred);
        (preferred == Some(other.node), Reverse(other.id))
    });
    wanted.into_iter().map(|(partition, other)| (partition, other.id)).collect()
}

/// Those of the replicas that can lead, as their nodes say now: what is known of them may be of before they were
/// restarted, or of before they began to end. A leader that hands over to one that cannot take it would take no
/// writes until somebody is elected.
async fn ready(
    core: &Core,
    wanted: impl Iterator<Item = placement::Replica>,
) -> BTreeSet<ReplicaId> {
    let mut by_node = BTreeMap::<NodeId, Vec<u64>>::new();
    for heir in wanted {
        by_node.entry(heir.node).or_default().push(heir.id.0);
    }
    let asked = by_node.into_iter().map(|(node, heirs)| {
        let ping = message::Ping { heirs, ..message::Ping::default() };
        core.pool.node(node).call(ping.into(), READY)
    });
    let answers = futures::future::join_all(asked).await;
    let pongs = answers.into_iter().filter_map(|answer| match answer {
        Ok(reply::Body::Pong(pong)) => Some(pong.ready),
        _ => None,
    });
    pongs.flatten().map(ReplicaId).collect()
}

/// Hands over everything that somebody with room can lead.
async fn hand_away(
    core: &Core,
    led: &[Arc<Replica>],
    resting: &mut BTreeMap<PartitionId, Instant>,
) {
    resting.retain(|_, since| since.elapsed() < REST);
    let led: Vec<_> =
        led.iter().filter(|replica| !resting.contains_key(&replica.partition())).cloned().collect();
    let heirs = heirs(core, &led).await;
    for replica in &led {
        let partition = replica.partition();
        let Some(heir) = heirs.get(&partition) else { continue };
        resting.insert(partition, Instant::now());
        if let Err(error) = replica.group().hand_over(*heir).await {
            tracing::debug!(%partition, %error, "leadership was not handed over");
        }
    }
}

/// Hands over some of the leaderships that the map prefers elsewhere.
async fn hand_over_preferred(
    core: &Core,
    led: &[Arc<Replica>],
    resting: &mut BTreeMap<PartitionId, Instant>,
) {
    let (state, roomy) = (core.state(), core.roomy());
    resting.retain(|_, since| since.elapsed() < REST);
    let mut wanted = Vec::new();
    for replica in led {
        let (partition, group) = (replica.partition(), replica.group());
        if state.moves.contains_key(&partition) || resting.contains_key(&partition) {
            continue;
        }
        let heir = state.table.assignment(partition).and_then(|assignment| {
            let node = assignment.preferred.filter(|node| *node != core.node)?;
            assignment.replica_on(node)
        });
        let Some(heir) = heir else { continue };
        let follows = roomy.contains(&heir.node)
            && group.voters().voters.contains(&heir.id)
            && group.follows_closely(heir.id);
        if follows && wanted.len() < HANDOVERS {
            wanted.push((replica, heir));
        }
    }
    if wanted.is_empty() {
        return;
    }
    let ready = ready(core, wanted.iter().map(|(_, heir)| *heir)).await;
    for (replica, heir) in wanted {
        let partition = replica.partition();
        // One that is not ready is asked again later, too.
        resting.insert(partition, Instant::now());
        if !ready.contains(&heir.id) {
            continue;
        }
        if let Err(error) = replica.group().hand_over(heir.id).await {
            tracing::debug!(%partition, %error, "leadership was not handed over");
        }
    }
}

/// Asks others to lead what is led here, and waits a moment for them to do so.
pub(super) async fn hand_over_all(core: &Core) {
    let deadline = Instant::now() + HANDOVER;
    loop {
        let led: Vec<_> =
            core.host.replicas().into_iter().filter(|replica| replica.group().leads()).collect();
        let heirs = heirs(core, &led).await;
        for replica in &led {
            let Some(heir) = heirs.get(&replica.partition()) else { continue };
            if let Err(error) = replica.group().hand_over(*heir).await {
                tracing::debug!(%error, "leadership was not handed over");
            }
        }
        if heirs.is_empty() || Instant::now() >= deadline {
            return;
        }
        tokio::time::sleep(STEP).await;
    }
}
