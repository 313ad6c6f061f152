//! What waits to be sent over one link: two lanes, bounded together in bytes.

use std::collections::VecDeque;

use parking_lot::Mutex;
use prost::Message;
use tokio::sync::Notify;

use super::message::{Frame, Packet, reply, request};

/// Room beyond the limit for urgent frames, in bytes: a full queue must not silence elections.
const RESERVE: usize = 1024 * 1024;
/// About what a waiting frame takes in memory besides its encoded bytes.
const OVERHEAD: usize = 128;

/// How urgent a frame is. Frames of one lane stay in order; a lane goes before the ones after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    /// Elections, signs of life and failures: small, and of no use when late.
    Urgent,
    /// Appends (all of them, so that an empty one never overtakes a filled one) and what clients ask.
    /// Snapshots as well, which have a link of their own.
    Normal,
}

impl Lane {
    /// The lane of a request.
    pub(super) fn of_request(request: &request::Body) -> Lane {
        match request {
            request::Body::AskVote(_) | request::Body::HandOver(_) | request::Body::Ping(_) => {
                Lane::Urgent
            }
            _ => Lane::Normal,
        }
    }

    /// The lane of a reply.
    pub(super) fn of_reply(reply: &reply::Body) -> Lane {
        match reply {
            reply::Body::Voted(_) | reply::Body::HandedOver(_) | reply::Body::Pong(_) => {
                Lane::Urgent
            }
            _ => Lane::Normal,
        }
    }
}

/// Why a link takes no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// It holds too much already.
    Full,
    /// It has ended.
    Closed,
}

struct Waiting {
    frame: Frame,
    bytes: usize,
}

#[derive(Default)]
struct State {
    urgent: VecDeque<Waiting>,
    normal: VecDeque<Waiting>,
    bytes: usize,
    closed: bool,
}

/// The queue. Any task may push; one task, the writer, takes.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
    limit: usize,
}

impl Queue {
    /// An empty queue for up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Queue {
        Queue { state: Mutex::new(State::default()), changed: Notify::new(), limit }
    }

    /// The most bytes that may wait.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Puts a frame at the end of its lane. Urgent frames have some room beyond the limit; an empty
    /// queue takes any frame.
    pub(super) fn push(&self, lane: Lane, frame: Frame) -> Result<(), Refusal> {
        let bytes = frame.encoded_len() + OVERHEAD;
        let ceiling = match lane {
            Lane::Urgent => self.limit + RESERVE,
            Lane::Normal => self.limit,
        };
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refusal::Closed);
        }
        if state.bytes > 0 && state.bytes + bytes > ceiling {
            return Err(Refusal::Full);
        }
        state.bytes += bytes;
        state.lane(lane).push_back(Waiting { frame, bytes });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes what is there, up to `most` bytes or one frame, as soon as there is something. Frames
    /// that are no longer `wanted` are dropped. Nothing once the queue is closed.
    pub(super) async fn take(
        &self,
        most: usize,
        mut wanted: impl FnMut(&Frame) -> bool,
    ) -> Option<Packet> {
        loop {
            {
                let mut state = self.state.lock();
                if state.closed {
                    return None;
                }
                let packet = state.take(most, &mut wanted);
                if !packet.frames.is_empty() {
                    return Some(packet);
                }
            }
            self.changed.notified().await;
        }
    }

    /// Drops all that waits and refuses what comes.
    pub(super) fn close(&self) {
        let dropped = {
            let mut state = self.state.lock();
            std::mem::replace(&mut *state, State { closed: true, ..State::default() })
        };
        drop(dropped);
        self.changed.notify_one();
    }
}

impl State {
    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Waiting> {
        match lane {
            Lane::Urgent => &mut self.urgent,
            Lane::Normal => &mut self.normal,
        }
    }

    fn take(&mut self, most: usize, wanted: &mut impl FnMut(&Frame) -> bool) -> Packet {
        let mut packet = Packet::default();
        let mut size = 0;
        loop {
            let lane = if self.urgent.is_empty() { Lane::Normal } else { Lane::Urgent };
            let Some(front) = self.lane(lane).front() else { break };
            if !packet.frames.is_empty() && size + front.bytes > most {
                break;
            }
            let Some(waiting) = self.lane(lane).pop_front() else { break };
            self.bytes -= waiting.bytes;
            if wanted(&waiting.frame) {
                size += waiting.bytes;
                packet.frames.push(waiting.frame);
            }
        }
        packet
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::rpc::message::{Frame, Ping, Request, SnapshotChunk, frame};

    fn frame(call: u64, body: impl Into<request::Body>) -> Frame {
        let request = Request { timeout_ms: 1, body: Some(body.into()) };
        Frame { call, body: Some(frame::Body::Request(request)) }
    }

    fn part(call: u64, bytes: usize) -> Frame {
        let data = Bytes::from(vec![7; bytes]);
        frame(call, SnapshotChunk { data, ..SnapshotChunk::default() })
    }

    async fn calls(queue: &Queue, most: usize) -> Vec<u64> {
        let packet = queue.take(most, |_| true).await.unwrap();
        packet.frames.iter().map(|frame| frame.call).collect()
    }

    #[tokio::test]
    async fn lanes_go_in_their_order_and_frames_of_a_lane_in_theirs() {
        let queue = Queue::new(1 << 20);
        for (call, lane) in [(1, Lane::Normal), (2, Lane::Urgent)] {
            queue.push(lane, frame(call, Ping::default())).unwrap();
            queue.push(lane, frame(call + 10, Ping::default())).unwrap();
        }
        assert_eq!(calls(&queue, 1 << 20).await, [2, 12, 1, 11]);
    }

    #[tokio::test]
    async fn a_packet_ends_at_its_size_and_a_larger_frame_goes_alone() {
        let queue = Queue::new(1 << 20);
        queue.push(Lane::Normal, part(1, 1000)).unwrap();
        queue.push(Lane::Normal, part(2, 1000)).unwrap();
        queue.push(Lane::Normal, part(3, 9000)).unwrap();
        queue.push(Lane::Normal, part(4, 10)).unwrap();
        assert_eq!(calls(&queue, 3000).await, [1, 2]);
        assert_eq!(calls(&queue, 3000).await, [3]);
        assert_eq!(calls(&queue, 3000).await, [4]);
    }

    #[tokio::test]
    async fn each_lane_has_its_ceiling() {
        let queue = Queue::new(10_000);
        queue.push(Lane::Normal, part(1, 8000)).unwrap();
        assert_eq!(queue.push(Lane::Normal, part(2, 4000)), Err(Refusal::Full));
        queue.push(Lane::Urgent, part(3, 4000)).unwrap();
        assert_eq!(queue.push(Lane::Urgent, part(4, RESERVE)), Err(Refusal::Full));
        assert_eq!(calls(&queue, 1 << 20).await, [3, 1]);
        // All room is back, and an empty queue takes one frame of any size.
        queue.push(Lane::Normal, part(5, 50_000)).unwrap();
    }

    #[tokio::test]
    async fn unwanted_frames_are_dropped_and_a_closed_queue_gives_nothing() {
        let queue = Queue::new(1 << 20);
        queue.push(Lane::Normal, part(1, 10)).unwrap();
        queue.push(Lane::Normal, part(2, 10)).unwrap();
        let packet = queue.take(1000, |frame| frame.call != 1).await.unwrap();
        assert_eq!(packet.frames.len(), 1);
        queue.push(Lane::Normal, part(3, 10)).unwrap();
        queue.close();
        assert_eq!(queue.take(1000, |_| true).await, None);
        assert_eq!(queue.push(Lane::Normal, part(4, 10)), Err(Refusal::Closed));
    }
}
