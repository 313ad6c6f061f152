//! The one place that knows the transport: gRPC over HTTP/2.
//!
//! A server takes links in, a client dials them; either way what comes out is a stream and a sink of
//! packets, and everything above works on those alone. So another transport, or a network made up for
//! a test, stands beside this folder and nothing else changes. What is chosen here: windows large
//! enough for a full value, keepalive pings that notice a silent peer, no delay before small packets.

use std::time::Duration;

use futures::channel::mpsc;
use futures::stream::BoxStream;

use super::message::Packet;
use crate::types::{Result, limits};

pub(super) mod client;
mod connection;
pub(super) mod server;

pub(super) use connection::Door;

/// Packets to the other side. It takes the next one when the last has been taken off it.
pub(super) type Outgoing = mpsc::Sender<Packet>;
/// Packets from the other side.
pub(super) type Incoming = BoxStream<'static, Result<Packet>>;

/// Between two pings on a connection that is silent.
const PING: Duration = Duration::from_millis(500);
/// How long a ping may go unanswered: with the above, a silent peer is noticed after 2 s.
const PING_ANSWER: Duration = Duration::from_millis(1500);
/// What may be under way, in bytes, before the other side has read it.
const WINDOW: u32 = 16 * 1024 * 1024;
/// The largest HTTP/2 frame. A ping waits for no more than one of them.
const HTTP_FRAME: u32 = 128 * 1024;
/// The largest packet: one message and what frames it.
const PACKET: usize = limits::MESSAGE_BYTES + 512 * 1024;
