//! What people and their tools ask of a cluster as a whole.

use std::time::Duration;

use super::client::Client;
use super::op::Op;
use super::options::CallOptions;
use crate::node::{self, MemberStatus, Newcomer, Plan, Report, RingStatus, Status};
use crate::rpc::message::{self, manage, reply, request};
use crate::types::config::{Retune, Tuning, weight_milli};
use crate::types::{Error, Kind, NodeId, PartitionId, Result};

impl Client {
    /// What the node that answers knows of itself and its cluster.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`, `Cancelled`.
    pub fn status(&self) -> Op<Status> {
        self.report(false, |report| Ok(report.status))
    }

    /// The members of the cluster.
    ///
    /// # Errors
    /// As [`status`](Client::status).
    pub fn members(&self) -> Op<Vec<MemberStatus>> {
        self.report(false, |report| Ok(report.members))
    }

    /// Who holds and leads how much, and the moves under way.
    ///
    /// # Errors
    /// As [`status`](Client::status); `Unsupported` from a node of an older version.
    pub fn ring(&self) -> Op<RingStatus> {
        self.report(true, |report| {
            report.ring.ok_or_else(|| {
                Error::new(Kind::Unsupported, "the node does not know how to tell of the ring")
            })
        })
    }

    /// Which moves are to come; or would be, if these newcomers came and those members left. Changes
    /// nothing.
    ///
    /// # Errors
    /// `NotFound` for a node that is no member, `InvalidArgument` for a weight out of range or if nobody
    /// would be left; as [`status`](Client::status).
    pub fn plan(
        &self,
        with: Vec<Newcomer>,
        without: Vec<NodeId>,
        options: CallOptions,
    ) -> Op<Plan> {
        let timeout = self.timeout(&options);
        let newcomer = |one: Newcomer| {
            let weight_milli = weight_milli(one.weight)?;
            Ok(message::Newcomer { weight_milli, zone: one.zone.unwrap_or_default() })
        };
        let with: Result<Vec<_>> = with.into_iter().map(newcomer).collect();
        let without = without.into_iter().map(|node| node.0).collect();
        self.start(move |client| async move {
            let question = message::Plan { with: with?, without };
            match client.ask(question.into(), timeout).await? {
                reply::Body::Planned(planned) => node::parse(&planned.json),
                _ => Err(unexpected()),
            }
        })
    }

    /// Has a member leave: its replicas go to others, then it is removed, and ends. This returns when that
    /// is decided; [`ring`](Client::ring) shows how far it is. Asking again changes nothing.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument` if nobody would be left to hold what it holds; `Unavailable`,
    /// `Timeout`, `Closed`, `Cancelled`.
    pub fn leave(&self, node: NodeId, options: CallOptions) -> Op<()> {
        self.manage(manage::Action::Leave(message::Leave { node: node.0 }), &options)
    }

    /// Removes a member that will not come back; others get its replicas. It never becomes a member again
    /// under that id.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` if the node is up, if it has the last copy of something, or if a
    /// majority of some partition's replicas would be lost with it, unless `force` is set; as
    /// [`leave`](Client::leave).
    pub fn remove(&self, node: NodeId, force: bool, options: CallOptions) -> Op<()> {
        self.manage(manage::Action::Remove(message::Remove { node: node.0, force }), &options)
    }

    /// Has a partition led by another one of the nodes that hold it, as long as leaders stay evenly spread.
    /// This returns when that is decided; the leader follows within a moment, once the node is up to date.
    ///
    /// # Errors
    /// `NotFound` if there is no such partition or the node does not hold it; as [`leave`](Client::leave).
    pub fn transfer(&self, partition: PartitionId, node: NodeId, options: CallOptions) -> Op<()> {
        let transfer = message::Transfer { partition: partition.0.into(), node: node.0 };
        self.manage(manage::Action::Transfer(transfer), &options)
    }

    /// Changes how eagerly the cluster moves replicas, and what it takes for dead; what it is then.
    ///
    /// # Errors
    /// `InvalidArgument` naming a setting out of range; as [`leave`](Client::leave).
    pub fn tune(&self, change: Retune, options: CallOptions) -> Op<Tuning> {
        let timeout = self.timeout(&options);
        let tune = message::Tune {
            moves_per_node: change.moves_per_node,
            move_rate: change.move_rate,
            paused: change.paused,
            dead_node_timeout_ms: change.dead_node_timeout_ms,
            max_dead_milli: change.max_dead_milli,
        };
        let action = manage::Action::Tune(tune);
        self.start(move |client| async move {
            let manage = message::Manage { action: Some(action) };
            match client.ask(manage.into(), timeout).await? {
                reply::Body::Managed(managed) => node::parse(&managed.tuning),
                _ => Err(unexpected()),
            }
        })
    }

    fn manage(&self, action: manage::Action, options: &CallOptions) -> Op<()> {
        let timeout = self.timeout(options);
        self.start(move |client| async move {
            let manage = message::Manage { action: Some(action) };
            match client.ask(manage.into(), timeout).await? {
                reply::Body::Managed(_) => Ok(()),
                _ => Err(unexpected()),
            }
        })
    }

    fn report<T: Send + 'static>(&self, ring: bool, choose: fn(Report) -> Result<T>) -> Op<T> {
        let timeout: Duration = self.timeout(&CallOptions::default());
        self.start(move |client| async move {
            let question = request::Body::from(message::Describe { ring });
            match client.ask(question, timeout).await? {
                reply::Body::Described(described) => choose(node::parse(&described.json)?),
                _ => Err(unexpected()),
            }
        })
    }
}

fn unexpected() -> Error {
    Error::internal("a question was answered with something else")
}
