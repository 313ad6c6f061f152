//! Carries out the moves of the partitions that are led here, and hands leadership to where the map
//! prefers it, or away from a node whose disk is full.
//!
//! A move never makes a group smaller than it was: the new replica listens until it has nearly all of
//! the log, then one joint change lets it in and the old one out. A leader that is to go hands over
//! first. What has been done is read from the group itself each time, so a move that was broken off
//! anywhere is simply gone on with, by whoever leads the partition then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::core::Core;
use super::space::Level;
use crate::metadata::{Change, Move};
use crate::partition::Replica;
use crate::types::{Error, Kind, PartitionId, ReplicaId, Result};

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
async fn advance(core: &Core, replica: &Replica, step: Move) -> Result<()> {
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
        let heir = heir(core, replica).ok_or_else(|| {
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

/// Who may take over what is led here: a voter that stays, can be reached, has room on its disk and
/// nearly all of the log; the preferred one first.
pub(super) fn heir(core: &Core, replica: &Replica) -> Option<ReplicaId> {
    let (state, roomy) = (core.state(), core.roomy());
    let (partition, group) = (replica.partition(), replica.group());
    let voters = group.voters().voters;
    let preferred = state.table.assignment(partition).and_then(|placed| placed.preferred);
    state
        .destined(partition)
        .into_iter()
        .filter(|other| {
            roomy.contains(&other.node)
                && voters.contains(&other.id)
                && group.follows_closely(other.id)
        })
        .min_by_key(|other| (preferred != Some(other.node), other.id))
        .map(|other| other.id)
}

/// Hands over everything that somebody with room can lead.
async fn hand_away(
    core: &Core,
    led: &[Arc<Replica>],
    resting: &mut BTreeMap<PartitionId, Instant>,
) {
    resting.retain(|_, since| since.elapsed() < REST);
    for replica in led {
        let partition = replica.partition();
        if resting.contains_key(&partition) {
            continue;
        }
        let Some(heir) = heir(core, replica) else { continue };
        resting.insert(partition, Instant::now());
        if let Err(error) = replica.group().hand_over(heir).await {
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
    let mut left = HANDOVERS;
    for replica in led {
        let partition = replica.partition();
        if left == 0 || state.moves.contains_key(&partition) || resting.contains_key(&partition) {
            continue;
        }
        let heir = state.table.assignment(partition).and_then(|assignment| {
            let node = assignment.preferred.filter(|node| *node != core.node)?;
            assignment.replica_on(node)
        });
        let Some(heir) = heir else { continue };
        let group = replica.group();
        let ready = roomy.contains(&heir.node)
            && group.voters().voters.contains(&heir.id)
            && group.follows_closely(heir.id);
        if !ready {
            continue;
        }
        resting.insert(partition, Instant::now());
        left -= 1;
        if let Err(error) = group.hand_over(heir.id).await {
            tracing::debug!(%partition, %error, "leadership was not handed over");
        }
    }
}

/// Asks others to lead what is led here, and waits a moment for them to do so.
pub(super) async fn hand_over_all(core: &Core) {
    let deadline = Instant::now() + HANDOVER;
    loop {
        let mut waiting = false;
        for replica in core.host.replicas() {
            let group = replica.group();
            if !group.leads() {
                continue;
            }
            let heir = heir(core, &replica);
            let Some(heir) = heir else { continue };
            waiting = true;
            if let Err(error) = group.hand_over(heir).await {
                tracing::debug!(%error, "leadership was not handed over");
            }
        }
        if !waiting || Instant::now() >= deadline {
            return;
        }
        tokio::time::sleep(STEP).await;
    }
}
