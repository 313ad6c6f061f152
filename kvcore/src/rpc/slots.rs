//! Which link leads where: the state of each process that was ever called or that has called.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::handler::Caller;
use super::link::{Ending, Link};
use super::message::request;
use crate::types::{ClusterId, Error, Kind, NodeId, Result};

/// The pause after a first failed dial; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause. A link that lived for less counts as a failed dial as well, so that one that
/// is closed as soon as it is open is not dialed in a tight loop.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Processes to remember before those that are idle are forgotten.
const REMEMBERED: usize = 1024;

/// Whom a peer stands for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Target {
    /// That node, wherever it is.
    Node(NodeId),
    /// That node, over the link that is for snapshots only.
    Bulk(NodeId),
    /// Whoever answers there.
    Address(Arc<str>),
}

impl Target {
    /// Where to send that request: pieces of a snapshot would delay what is behind them.
    pub(super) fn carrying(&self, request: &request::Body) -> Target {
        match (self, request) {
            (
                Target::Node(node),
                request::Body::SnapshotChunk(_) | request::Body::SnapshotInstall(_),
            ) => Target::Bulk(*node),
            _ => self.clone(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(node) => write!(f, "{node}"),
            Target::Bulk(node) => write!(f, "{node} (bulk)"),
            Target::Address(address) => f.write_str(address),
        }
    }
}

/// What to do with a call.
pub(super) enum Route {
    /// Put it on this link.
    Link(Arc<Link>),
    /// Put it on this new link, and dial that address.
    Dial(Arc<Link>, Arc<str>),
}

#[derive(Default)]
struct Slot {
    /// In the order of opening; the first is used, so that calls stay in order.
    open: Vec<Arc<Link>>,
    dialing: Option<Arc<Link>>,
    failures: u32,
    /// On the seam's monotonic clock.
    retry_at: Duration,
    failure: Option<Ending>,
    /// Whether the log says that it is down: only changes are logged.
    down: bool,
}

impl Slot {
    fn idle(&self, now: Duration) -> bool {
        self.open.is_empty() && self.dialing.is_none() && self.retry_at <= now
    }

    /// Notes a failed dial and sets the pause. `chance` takes up to a quarter off it, so that many
    /// nodes do not knock at a restarted one in step.
    fn pause(&mut self, ending: Ending, now: Duration, chance: u64) {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now + doubled - doubled.mul_f64((chance % 1024) as f64 / 4096.0);
        self.failure = Some(ending);
    }

    fn went_down(&mut self, target: &Target, ending: &Ending) {
        // A node is down when the link that carries its elections is: the other one says nothing.
        if !matches!(target, Target::Bulk(_)) && !std::mem::replace(&mut self.down, true) {
            let error = ending.error();
            tracing::warn!(peer = %target, %error, "peer is down");
        }
    }
}

/// All slots, and the address book.
#[derive(Default)]
pub(super) struct Slots {
    slots: HashMap<Target, Slot>,
    addresses: HashMap<NodeId, Arc<str>>,
    closed: bool,
}

impl Slots {
    /// The link for a call to that target.
    ///
    /// # Errors
    /// `Closed`; `Unavailable` if there is no address; what the last dial failed with, in the pause
    /// after it.
    pub(super) fn route(
        &mut self,
        target: &Target,
        now: Duration,
        link: impl FnOnce() -> Arc<Link>,
    ) -> Result<Route> {
        if self.closed {
            return Err(Ending::closed().error());
        }
        if self.slots.len() >= REMEMBERED && !self.slots.contains_key(target) {
            self.slots.retain(|_, slot| !slot.idle(now));
        }
        let address = match target {
            Target::Node(node) | Target::Bulk(node) => self.addresses.get(node).cloned(),
            Target::Address(address) => Some(Arc::clone(address)),
        };
        let slot = self.slots.entry(target.clone()).or_default();
        if let Some(link) = slot.open.first().or(slot.dialing.as_ref()) {
            return Ok(Route::Link(Arc::clone(link)));
        }
        if let (Some(failure), true) = (&slot.failure, now < slot.retry_at) {
            return Err(failure.error());
        }
        let address = address.ok_or_else(|| {
            Error::new(Kind::Unavailable, "no address is known for the node").with("node", target)
        })?;
        let link = link();
        slot.dialing = Some(Arc::clone(&link));
        Ok(Route::Dial(link, address))
    }

    /// The open link that a call would take.
    pub(super) fn current(&self, target: &Target) -> Option<&Arc<Link>> {
        self.slots.get(target)?.open.first()
    }

    /// Puts an open link where calls find it: at the target it was dialed for, if it was dialed, and
    /// at the node that it leads to. `caller` is who is there, and what the link is for.
    pub(super) fn opened(&mut self, link: &Arc<Link>, caller: &Caller, dialed: Option<&Target>) {
        let node = caller.node.map(if caller.bulk { Target::Bulk } else { Target::Node });
        let dialed = dialed.filter(|dialed| Some(*dialed) != node.as_ref());
        for target in dialed.into_iter().chain(&node) {
            let slot = self.slots.entry(target.clone()).or_default();
            if slot.dialing.as_ref().is_some_and(|dialing| Arc::ptr_eq(dialing, link)) {
                slot.dialing = None;
            }
            slot.open.push(Arc::clone(link));
            slot.retry_at = Duration::ZERO;
            if std::mem::take(&mut slot.down) {
                tracing::info!(peer = %target, "peer is up again");
            }
        }
        if let (Some(node), Some(address)) = (caller.node, &caller.address)
            && let Some(known) = self.addresses.get_mut(&node)
            && **known != **address
        {
            *known = address.as_str().into();
        }
    }

    /// Takes back a link that could not be opened.
    pub(super) fn failed(
        &mut self,
        target: &Target,
        link: &Arc<Link>,
        ending: &Ending,
        now: Duration,
        chance: u64,
    ) {
        let Some(slot) = self.slots.get_mut(target) else { return };
        if slot.dialing.as_ref().is_some_and(|dialing| Arc::ptr_eq(dialing, link)) {
            slot.dialing = None;
            slot.pause(ending.clone(), now, chance);
            if slot.open.is_empty() {
                slot.went_down(target, ending);
            }
        }
    }

    /// Takes a link out that was open for `lived`.
    pub(super) fn lost(
        &mut self,
        link: &Arc<Link>,
        dialed: Option<&Target>,
        ending: &Ending,
        lived: Duration,
        now: Duration,
        chance: u64,
    ) {
        let closed = self.closed;
        for (target, slot) in &mut self.slots {
            let before = slot.open.len();
            slot.open.retain(|open| !Arc::ptr_eq(open, link));
            if slot.open.len() == before {
                continue;
            }
            if lived >= LONGEST_PAUSE {
                slot.failures = 0;
            } else if dialed == Some(target) {
                slot.pause(ending.clone(), now, chance);
            }
            if slot.open.is_empty() && !closed {
                slot.went_down(target, ending);
            }
        }
        let addresses = &self.addresses;
        self.slots.retain(|target, slot| match target {
            Target::Node(node) => addresses.contains_key(node) || !slot.idle(now),
            Target::Bulk(_) => !slot.idle(now),
            Target::Address(_) => true,
        });
    }

    /// The address of a node.
    pub(super) fn address(&self, node: NodeId) -> Option<&Arc<str>> {
        self.addresses.get(&node)
    }

    /// Writes an address into the book. If that changes it: what was tried at the old one counts no
    /// more, and the links that are being dialed there are returned, to be ended.
    pub(super) fn set_address(&mut self, node: NodeId, address: &str) -> Vec<Arc<Link>> {
        if self.addresses.get(&node).is_some_and(|known| **known == *address) {
            return Vec::new();
        }
        self.addresses.insert(node, address.into());
        let mut dropped = Vec::new();
        for target in [Target::Node(node), Target::Bulk(node)] {
            let Some(slot) = self.slots.get_mut(&target) else { continue };
            slot.failures = 0;
            slot.retry_at = Duration::ZERO;
            dropped.extend(slot.dialing.take());
        }
        dropped
    }

    /// The nodes with an open link, one that is not for snapshots only.
    pub(super) fn linked(&self) -> BTreeSet<NodeId> {
        let linked = self.slots.iter().filter(|(_, slot)| !slot.open.is_empty());
        linked
            .filter_map(|(target, _)| match target {
                Target::Node(node) => Some(*node),
                Target::Bulk(_) | Target::Address(_) => None,
            })
            .collect()
    }

    /// The open links to processes of another cluster, and to nodes that had none when they said who
    /// they are: by now they may have another, and they do not know of this one.
    pub(super) fn foreign(&self, cluster: ClusterId) -> Vec<Arc<Link>> {
        let open = self.slots.values().flat_map(|slot| &slot.open);
        open.filter(|link| {
            link.caller().is_some_and(|caller| match caller.cluster {
                Some(theirs) => theirs != cluster,
                None => caller.node.is_some(),
            })
        })
        .cloned()
        .collect()
    }

    /// Refuses all further calls; returns every link, to be ended.
    pub(super) fn close(&mut self) -> Vec<Arc<Link>> {
        self.closed = true;
        let slots = self.slots.values();
        slots.flat_map(|slot| slot.open.iter().chain(&slot.dialing)).cloned().collect()
    }

    /// Whether [`Slots::close`] was called.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn link() -> Arc<Link> {
        Link::new(1000)
    }

    fn ending() -> Ending {
        Ending::new(Kind::Unavailable, "refused")
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn dial(slots: &mut Slots, target: &Target, now: Duration) -> Arc<Link> {
        match slots.route(target, now, link).unwrap() {
            Route::Dial(link, _) => link,
            Route::Link(_) => panic!("there is a link already"),
        }
    }

    #[test]
    fn a_failed_dial_is_not_repeated_before_a_pause_that_doubles() {
        let mut slots = Slots::default();
        let target = Target::Address("a:1".into());
        let mut now = ms(0);
        for pause in [50, 100, 200, 400, 800, 1000, 1000] {
            let link = dial(&mut slots, &target, now);
            slots.failed(&target, &link, &ending(), now, 0);
            now += ms(pause - 1);
            assert!(slots.route(&target, now, link_never).is_err(), "{pause}");
            now += ms(1);
        }
        let link = dial(&mut slots, &target, now);
        slots.failed(&target, &link, &ending(), now, 1023);
        assert!(slots.route(&target, now + ms(700), link_never).is_err());
        dial(&mut slots, &target, now + ms(751));
    }

    fn link_never() -> Arc<Link> {
        panic!("nothing may be dialed")
    }

    #[test]
    fn the_link_in_use_stays_in_use() {
        let mut slots = Slots::default();
        slots.set_address(NODE, "a:1");
        let target = Target::Node(NODE);
        let dialed = dial(&mut slots, &target, ms(0));
        let caller = Caller { node: Some(NODE), ..Caller::default() };
        let accepted = link();
        slots.opened(&accepted, &caller, None);
        slots.opened(&dialed, &caller, Some(&target));
        assert!(Arc::ptr_eq(slots.current(&target).unwrap(), &accepted));
        slots.lost(&accepted, None, &ending(), ms(5000), ms(5000), 0);
        assert!(Arc::ptr_eq(slots.current(&target).unwrap(), &dialed));
        assert_eq!(slots.linked(), BTreeSet::from([NODE]));
        slots.lost(&dialed, Some(&target), &ending(), ms(5000), ms(5000), 0);
        assert!(slots.current(&target).is_none());
        assert!(slots.linked().is_empty());
    }

    #[test]
    fn a_link_for_snapshots_is_apart() {
        let mut slots = Slots::default();
        slots.set_address(NODE, "a:1");
        let bulk = dial(&mut slots, &Target::Bulk(NODE), ms(0));
        let caller = Caller { node: Some(NODE), bulk: true, ..Caller::default() };
        slots.opened(&bulk, &caller, Some(&Target::Bulk(NODE)));
        assert!(slots.current(&Target::Node(NODE)).is_none());
        assert!(slots.linked().is_empty(), "it is no sign of life");
        let plain = dial(&mut slots, &Target::Node(NODE), ms(0));
        slots.opened(&plain, &Caller { bulk: false, ..caller.clone() }, Some(&Target::Node(NODE)));
        // One that the other side dialed serves as well as one of our own.
        let accepted = link();
        slots.opened(&accepted, &caller, None);
        slots.lost(&bulk, Some(&Target::Bulk(NODE)), &ending(), ms(5000), ms(5000), 0);
        assert!(Arc::ptr_eq(slots.current(&Target::Bulk(NODE)).unwrap(), &accepted));
        assert!(Arc::ptr_eq(slots.current(&Target::Node(NODE)).unwrap(), &plain));
    }

    #[test]
    fn a_link_dialed_by_address_serves_its_node_too() {
        let mut slots = Slots::default();
        let target = Target::Address("a:1".into());
        let dialed = dial(&mut slots, &target, ms(0));
        let caller = Caller { node: Some(NODE), ..Caller::default() };
        slots.opened(&dialed, &caller, Some(&target));
        assert!(Arc::ptr_eq(slots.current(&Target::Node(NODE)).unwrap(), &dialed));
        assert!(Arc::ptr_eq(slots.current(&target).unwrap(), &dialed));
    }

    #[test]
    fn a_link_that_is_lost_at_once_counts_as_a_failed_dial() {
        let mut slots = Slots::default();
        let target = Target::Address("a:1".into());
        for (at, pause) in [(0, 50), (1000, 100)] {
            let link = dial(&mut slots, &target, ms(at));
            slots.opened(&link, &Caller::default(), Some(&target));
            slots.lost(&link, Some(&target), &ending(), ms(5), ms(at), 0);
            assert!(slots.route(&target, ms(at + pause - 1), link_never).is_err());
        }
        let link = dial(&mut slots, &target, ms(2000));
        slots.opened(&link, &Caller::default(), Some(&target));
        slots.lost(&link, Some(&target), &ending(), ms(1000), ms(3000), 0);
        dial(&mut slots, &target, ms(3000));
    }

    #[test]
    fn a_new_address_wipes_out_what_was_tried_at_the_old_one() {
        let mut slots = Slots::default();
        let target = Target::Node(NODE);
        assert_eq!(slots.route(&target, ms(0), link).err().unwrap().kind(), Kind::Unavailable);
        slots.set_address(NODE, "a:1");
        let first = dial(&mut slots, &target, ms(0));
        assert!(slots.set_address(NODE, "a:1").is_empty());
        assert!(Arc::ptr_eq(&slots.set_address(NODE, "a:2")[0], &first));
        let second = dial(&mut slots, &target, ms(0));
        slots.failed(&target, &first, &ending(), ms(0), 0);
        slots.failed(&target, &second, &ending(), ms(0), 0);
        assert!(slots.route(&target, ms(1), link_never).is_err());
        slots.set_address(NODE, "a:3");
        dial(&mut slots, &target, ms(1));
    }

    #[test]
    fn a_caller_updates_the_address_of_a_node_that_is_known() {
        let mut slots = Slots::default();
        slots.set_address(NODE, "a:1");
        for node in [NODE, NodeId(2)] {
            let caller =
                Caller { node: Some(node), address: Some("b:2".into()), ..Caller::default() };
            slots.opened(&link(), &caller, None);
        }
        assert_eq!(slots.address(NODE).unwrap().as_ref(), "b:2");
        assert_eq!(slots.address(NodeId(2)), None);
    }

    #[test]
    fn idle_addresses_are_forgotten() {
        let mut slots = Slots::default();
        for at in 0..REMEMBERED * 2 {
            let target = Target::Address(format!("a:{at}").into());
            let now = ms(at as u64 * 2000);
            let link = dial(&mut slots, &target, now);
            slots.failed(&target, &link, &ending(), now, 0);
        }
        assert!(slots.slots.len() <= REMEMBERED);
    }
}
