//! The accepting side.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::connection::{Connection, Door, Doorbell};
use super::{HTTP_FRAME, Incoming, Outgoing, PACKET, PING, PING_ANSWER, WINDOW};
use crate::rpc::message::Packet;
use crate::rpc::message::peer_server::{Peer, PeerServer};
use crate::types::{Error, Kind, Result};

/// Connections one listener holds at once.
const CONNECTIONS: usize = 4096;
/// Headers of the one request that a connection sends, in bytes.
const HEADERS: u32 = 16 * 1024;
/// The pause after the system refused to accept, for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Takes each link that comes in.
pub(in crate::rpc) type Accept =
    Arc<dyn Fn(Outgoing, Incoming, Door) -> Result<()> + Send + Sync + 'static>;

/// Accepts links until `stop` says so or its sender is gone.
pub(in crate::rpc) async fn serve(
    listener: TcpListener,
    accept: Accept,
    mut stop: watch::Receiver<bool>,
) {
    let service = PeerServer::new(Service { accept })
        .max_decoding_message_size(PACKET)
        .max_encoding_message_size(PACKET);
    let incoming = connections(listener, stop.clone());
    let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
    let served = Server::builder()
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PING_ANSWER))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(HTTP_FRAME)
        .max_concurrent_streams(1)
        .http2_max_header_list_size(HEADERS)
        .serve_with_incoming_shutdown(service, incoming, stopped)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "no more links can be accepted");
    }
}

fn connections(
    listener: TcpListener,
    stop: watch::Receiver<bool>,
) -> impl Stream<Item = Result<Connection, Infallible>> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut failing = false;
    stream::unfold((listener, stop, places), move |(listener, stop, places)| async move {
        loop {
            match listener.accept().await {
                Ok((tcp, _)) => {
                    // A connection too many is closed: its owner is told sooner than in the backlog.
                    let place = Arc::clone(&places).try_acquire_owned();
                    if let (Ok(place), Ok(())) = (place, tcp.set_nodelay(true)) {
                        let connection = Connection::new(tcp, place, stop.clone());
                        return Some((Ok(connection), (listener, stop, places)));
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "cannot accept connections");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

struct Service {
    accept: Accept,
}

#[tonic::async_trait]
impl Peer for Service {
    type LinkStream = stream::Map<mpsc::Receiver<Packet>, fn(Packet) -> Result<Packet, Status>>;

    async fn link(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let bell = request.extensions().get::<Doorbell>();
        let door = bell.and_then(Doorbell::enter);
        let door = door.ok_or_else(|| {
            Status::failed_precondition("a connection carries one link in its life")
        })?;
        let incoming = request.into_inner().map_err(|status| lost(&status)).boxed();
        let (outgoing, packets) = mpsc::channel(0);
        (self.accept)(outgoing, incoming, door)
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(packets.map(Ok as fn(Packet) -> Result<Packet, Status>)))
    }
}

/// What a broken stream means: nothing arrives any more.
pub(super) fn lost(status: &Status) -> Error {
    Error::new(Kind::Unavailable, format!("the link was lost: {}", status.message()))
}
