//! The dialing side.

use futures::channel::mpsc;
use futures::{StreamExt, TryStreamExt};
use tonic::transport::Endpoint;

use super::{HTTP_FRAME, Incoming, Outgoing, PACKET, PING, PING_ANSWER, WINDOW};
use crate::rpc::message::peer_client::PeerClient;
use crate::types::config::check_address;
use crate::types::{Error, Kind, Result};

/// Dials an address and opens a stream. The connection lives as long as the stream.
///
/// # Errors
/// `InvalidArgument` for an address that makes no sense, otherwise `Unavailable`.
pub(in crate::rpc) async fn dial(address: &str) -> Result<(Outgoing, Incoming)> {
    check_address(address)?;
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| unavailable(&error))?
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING_ANSWER)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(HTTP_FRAME);
    let channel = endpoint.connect().await.map_err(|error| unavailable(&error))?;
    let mut client = PeerClient::new(channel)
        .max_decoding_message_size(PACKET)
        .max_encoding_message_size(PACKET);
    let (outgoing, packets) = mpsc::channel(0);
    let response = client.link(packets).await.map_err(|status| super::server::lost(&status))?;
    let incoming = response.into_inner().map_err(|status| super::server::lost(&status)).boxed();
    Ok((outgoing, incoming))
}

/// The transport's own errors only say "transport error": what happened stands beneath.
fn unavailable(error: &tonic::transport::Error) -> Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(beneath) = cause.source() {
        cause = beneath;
    }
    Error::new(Kind::Unavailable, format!("could not connect: {cause}"))
}
