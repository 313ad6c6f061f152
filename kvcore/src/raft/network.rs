//! What a replica says to the others of its group.
//!
//! All groups share one link between two nodes. Appends are sent in order and their answers are
//! awaited in order, several at a time: the link keeps the order of calls, so pipelining needs nothing
//! but patience here.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::EntryPayload;
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{OptionalSend, RaftMetrics};

use super::fault::Fault;
use super::log_store::{LogStore, record};
use super::snapshot::{Chunks, Pins, SnapshotData, travelling};
use super::staging::{Outgoing, Staging, blocking};
use super::types::{
    Consensus, Home, Payload, Term, Vote, position_from_wire, position_to_wire, vote_from_wire,
    vote_to_wire,
};
use crate::engine::{Engine, Family, Run, View};
use crate::rpc::message::{self, reply, request};
use crate::rpc::{Peer, Pool};
use crate::types::{Error, GroupId, Kind};

/// Appends under way at once from one replica to another.
const WINDOW: usize = 16;
/// A replica that lacks so many entries is caught up at the pace of snapshots, if no write waits for it: all
/// others use the same disk and the same links.
const FAR_BEHIND: u64 = 1024;
/// How long an append may take. Longer than a slow disk takes to sync; a dead peer is noticed by its
/// link, not by this.
const APPEND: Duration = Duration::from_secs(5);
/// How long the node of a replica that needs a snapshot may take to answer.
const CONNECT: Duration = Duration::from_secs(2);
/// How long one chunk of a snapshot may take.
const CHUNK: Duration = Duration::from_secs(30);
/// How long installing a snapshot may take: the other side reads all of it once more.
const INSTALL: Duration = Duration::from_secs(600);

type Rpc<T> = Result<T, RPCError<Consensus>>;
type BoxFuture<'s, T> = Pin<Box<dyn Future<Output = T> + Send + 's>>;
type BoxStream<'s, T> = Pin<Box<dyn Stream<Item = T> + Send + 's>>;

/// Makes the network of one group.
pub(super) struct Network {
    pub(super) pool: Pool,
    pub(super) group: GroupId,
    pub(super) log: LogStore,
    pub(super) progress: Progress,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) staging: Staging,
    pub(super) pins: Pins,
    pub(super) fault: Fault,
}

impl RaftNetworkFactory<Consensus> for Network {
    type Network = Target;

    async fn new_client(&mut self, target: u64, home: &Home) -> Target {
        Target {
            peer: self.pool.node(home.node),
            group: self.group,
            log: self.log.clone(),
            progress: self.progress.clone(),
            to: target,
            engine: self.engine.clone(),
            staging: self.staging.clone(),
            pins: self.pins.clone(),
            fault: self.fault.clone(),
        }
    }
}

type Metrics = WatchReceiverOf<Consensus, RaftMetrics<Consensus>>;

/// How far the replicas of the group are, as its leader here knows, once it runs.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<OnceLock<Metrics>>);

impl Progress {
    pub(super) fn of(&self, metrics: Metrics) {
        self.0.get_or_init(|| metrics);
    }

    /// Whether a majority of each set of voters is near that index even without this replica: then no
    /// write waits for it.
    fn spares(&self, replica: u64, newest: u64) -> bool {
        let Some(metrics) = self.0.get() else { return false };
        let metrics = metrics.borrow_watched();
        let Some(replication) = &metrics.replication else { return false };
        let near = |voter: &u64| {
            let matched = replication.get(voter).and_then(|matched| matched.as_ref());
            *voter == metrics.id || matched.is_some_and(|at| at.index + FAR_BEHIND >= newest)
        };
        let sets = metrics.membership_config.membership().get_joint_config();
        sets.iter().all(|set| {
            let others = set.iter().filter(|voter| **voter != replica && near(voter));
            others.count() > set.len() / 2
        })
    }
}

/// One replica of the group, from another.
pub(super) struct Target {
    peer: Peer,
    group: GroupId,
    log: LogStore,
    progress: Progress,
    to: u64,
    engine: Arc<dyn Engine>,
    staging: Staging,
    pins: Pins,
    fault: Fault,
}

impl Target {
    /// Holds back what a replica far behind is sent, so that it keeps to the pace of snapshots.
    async fn pace(&self, request: &AppendEntriesRequest<Consensus>) {
        let Some(last) = request.entries.last() else { return };
        let newest = self.log.state().last.map_or(0, |newest| newest.index);
        if last.log_id.index + FAR_BEHIND < newest && self.progress.spares(self.to, newest) {
            let bytes = request.entries.iter().map(|entry| match &entry.payload {
                EntryPayload::Normal(Payload(payload)) => payload.len(),
                _ => 0,
            });
            self.staging.pace(bytes.sum()).await;
        }
    }

    fn append(
        &self,
        request: AppendEntriesRequest<Consensus>,
    ) -> Call<StreamAppendResult<Consensus>> {
        let previous = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(previous);
        let entries: Result<Vec<_>, Error> = request
            .entries
            .into_iter()
            .map(|entry| {
                let record = record(entry)?;
                Ok(message::LogEntry {
                    position: Some(message::Position {
                        term: record.position.term,
                        index: record.position.index,
                    }),
                    kind: u32::from(record.kind),
                    payload: record.payload,
                })
            })
            .collect();
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => return Box::pin(std::future::ready(Err(failed(&error)))),
        };
        // The call is queued here, in order; only its answer is awaited later.
        let answer = self.peer.call(
            request::Body::Append(message::Append {
                group: self.group.number(),
                to: self.to,
                vote: Some(vote_to_wire(&request.vote)),
                previous: previous.as_ref().map(position_to_wire),
                committed: request.leader_commit.as_ref().map(position_to_wire),
                entries,
            }),
            APPEND,
        );
        Box::pin(async move {
            let appended = match answer.await {
                Ok(reply::Body::Appended(appended)) => appended,
                Ok(_) => return Err(failed(&unexpected())),
                Err(error) => return Err(failed(&error)),
            };
            if let Some(vote) = &appended.higher_vote {
                let vote = vote_from_wire(Some(vote)).map_err(|error| failed(&error))?;
                return Ok(Err(StreamAppendError::HigherVote(vote)));
            }
            if let Some(conflict) = &appended.conflict {
                return Ok(Err(StreamAppendError::Conflict(position_from_wire(conflict))));
            }
            let matched = appended.matched.as_ref().map(position_from_wire);
            Ok(Ok(matched.or(last)))
        })
    }

    async fn ask_vote(
        &self,
        request: VoteRequest<Consensus>,
        pre: bool,
        option: &RPCOption,
    ) -> Rpc<VoteResponse<Consensus>> {
        let answer = self.peer.call(
            request::Body::AskVote(message::AskVote {
                group: self.group.number(),
                to: self.to,
                vote: Some(vote_to_wire(&request.vote)),
                last: request.last_log_id.as_ref().map(position_to_wire),
                pre,
                transfer: request.leadership_transfer,
            }),
            option.hard_ttl(),
        );
        match answer.await {
            Ok(reply::Body::Voted(voted)) => Ok(VoteResponse {
                vote: vote_from_wire(voted.vote.as_ref()).map_err(|error| failed(&error))?,
                vote_granted: voted.granted,
                last_log_id: voted.last.as_ref().map(position_from_wire),
            }),
            Ok(_) => Err(failed(&unexpected())),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot<Term, u64, Home, SnapshotData>,
    ) -> Result<SnapshotResponse<Consensus>, Error> {
        let SnapshotData::View(view) = snapshot.snapshot else {
            return Err(Error::internal("a snapshot that arrived cannot be sent on"));
        };
        // It costs too much to be made for one that is not there.
        self.peer.connect(CONNECT).await?;
        // The log from here on is what the replica needs next.
        let _pin = snapshot.meta.last_log_id.map(|id| self.pins.hold(id.index));
        let outgoing = self.staging.send(self.group)?;
        let transfer = outgoing.transfer();
        let chunks = self.send_runs(&outgoing, view).await?;
        let membership = super::membership::encode(snapshot.meta.last_membership.membership())?;
        let membership_position = snapshot.meta.last_membership.log_id();
        let install = message::SnapshotInstall {
            group: self.group.number(),
            to: self.to,
            vote: Some(vote_to_wire(&vote)),
            transfer,
            chunks,
            position: snapshot.meta.last_log_id.as_ref().map(position_to_wire),
            membership,
            membership_position: membership_position.as_ref().map(position_to_wire),
        };
        match self.peer.call(install.into(), INSTALL).await? {
            reply::Body::SnapshotInstalled(installed) => {
                Ok(SnapshotResponse::new(vote_from_wire(installed.vote.as_ref())?))
            }
            _ => Err(unexpected()),
        }
    }

    /// Has the engine make run after run, and sends each before the next is made. How many chunks that
    /// was.
    async fn send_runs(&self, outgoing: &Outgoing, view: Arc<dyn View>) -> Result<u32, Error> {
        let transfer = outgoing.transfer();
        let mut runs = self.engine.export(view, travelling(self.group), &outgoing.dir());
        let (mut chunk, mut run) = (0, 0);
        loop {
            let (left, made) = blocking(move || {
                let made = runs.next().transpose()?;
                Ok((runs, made))
            })
            .await
            .inspect_err(|error| self.fault.note(error))?;
            runs = left;
            let Some(Run { family, content }) = made else { return Ok(chunk) };
            let mut chunks = blocking(move || Chunks::of(Run { family, content })).await?;
            loop {
                let (left, data) = blocking(move || {
                    let data = chunks.next()?;
                    Ok((chunks, data))
                })
                .await?;
                chunks = left;
                let Some(data) = data else { break };
                let bytes = data.len();
                self.staging.pace(bytes).await;
                let sent = message::SnapshotChunk {
                    group: self.group.number(),
                    to: self.to,
                    transfer,
                    chunk,
                    run,
                    data_family: family == Family::Data,
                    checksum: crc32c::crc32c(&data),
                    data,
                };
                match self.peer.call(sent.into(), CHUNK).await? {
                    reply::Body::SnapshotTaken(_) => {
                        outgoing.count(bytes);
                        chunk += 1;
                    }
                    _ => return Err(unexpected()),
                }
            }
            run += 1;
        }
    }
}

type Call<T> = BoxFuture<'static, Rpc<T>>;

impl RaftNetworkV2<Consensus> for Target {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Consensus>,
        _option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<Consensus>> {
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        Ok(match self.append(request).await? {
            Ok(matched) if matched < last => AppendEntriesResponse::PartialSuccess(matched),
            Ok(_) => AppendEntriesResponse::Success,
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<Consensus>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Consensus>> + OptionalSend + Unpin + 'static,
    {
        let target = &*self;
        // Each call takes one request from the input before it can fail. Failing without taking one
        // makes openraft try again at once, for ever.
        let paced = input.then(async move |request| {
            target.pace(&request).await;
            request
        });
        let answers = paced.map(move |request| target.append(request)).buffered(WINDOW);
        let until_failure = answers.scan(false, |failed, answer| {
            if *failed {
                return std::future::ready(None);
            }
            *failed = !matches!(answer, Ok(Ok(_)));
            std::future::ready(Some(answer))
        });
        let stream: BoxStream<'s, _> = Box::pin(until_failure);
        Box::pin(std::future::ready(Ok(stream)))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Consensus>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<Consensus>> {
        self.ask_vote(request, false, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Consensus>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<Consensus>> {
        self.ask_vote(request, true, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Term, u64, Home, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Consensus>, StreamingError<Consensus>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot) => sent.map_err(|error| failed(&error).into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Consensus>,
        option: RPCOption,
    ) -> Rpc<openraft::raft::TransferLeaderResponse<Consensus>> {
        let answer = self.peer.call(
            request::Body::HandOver(message::HandOver {
                group: self.group.number(),
                to: self.to,
                from: Some(vote_to_wire(request.from_leader())),
                leader: *request.to_node_id(),
                last: request.last_log_id().map(position_to_wire),
            }),
            option.hard_ttl(),
        );
        match answer.await {
            // A refusal needs no reason: the leader goes on leading, and whoever wanted the transfer
            // tries again.
            Ok(reply::Body::HandedOver(handed)) if handed.accepted => Ok(Ok(())),
            Ok(reply::Body::HandedOver(_)) => {
                Err(failed(&Error::new(Kind::Unavailable, "the replica cannot lead yet")))
            }
            Ok(_) => Err(failed(&unexpected())),
            Err(error) => Err(failed(&error)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(Duration::from_millis(100))))
    }
}

fn unexpected() -> Error {
    Error::internal("a replica answered something else than what was asked")
}

/// A peer that cannot be reached, or has no room, is left alone for a while; anything else may work the
/// next time.
fn failed(error: &Error) -> RPCError<Consensus> {
    match error.kind() {
        Kind::Unavailable | Kind::Closed | Kind::Overloaded | Kind::StorageFull => {
            RPCError::Unreachable(Unreachable::new(error))
        }
        _ => RPCError::Network(NetworkError::new(error)),
    }
}

#[cfg(test)]
#[path = "network_test.rs"]
mod tests;
