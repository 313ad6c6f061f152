//! The first frame each way: who is there, and may we talk?

use futures::{Sink, SinkExt, Stream, StreamExt};

use super::convert;
use super::handler::Caller;
use super::message::{Frame, Hello, Packet, frame};
use crate::types::config::check_address;
use crate::types::{ClusterId, Error, Kind, NodeId, Result};

/// The version of the conversation. A process that speaks another one is refused.
const PROTOCOL: u32 = 1;

/// Who this process is, as it tells the others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// Its id, or nothing for a client.
    pub node: Option<NodeId>,
    /// Its cluster, or nothing as long as it has none. A client that starts with none keeps to the
    /// first cluster that it meets.
    pub cluster: Option<ClusterId>,
    /// Where others may dial it, `host:port`; empty for a client.
    pub address: String,
}

impl Identity {
    /// What to send over a link, one for snapshots only if `bulk`.
    pub(super) fn hello(&self, bulk: bool) -> Hello {
        Hello {
            protocol: PROTOCOL,
            cluster: convert::cluster_bytes(self.cluster),
            node: self.node.map_or(0, |node| node.0),
            address: self.address.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            bulk,
        }
    }

    /// Judges what the other side sent.
    ///
    /// # Errors
    /// `Unsupported` for another protocol, `WrongCluster` for another cluster, `InvalidArgument` for
    /// an address or an id that makes no sense.
    pub(super) fn admit(&self, theirs: Hello) -> Result<Caller> {
        if theirs.protocol != PROTOCOL {
            return Err(Error::new(Kind::Unsupported, "the other side speaks another protocol")
                .with("theirs", theirs.protocol)
                .with("ours", PROTOCOL));
        }
        let cluster = convert::cluster_id(&theirs.cluster)?;
        match (cluster, self.cluster) {
            (Some(theirs), Some(ours)) if theirs != ours => {
                return Err(Error::new(Kind::WrongCluster, "the cluster is another one")
                    .with("theirs", theirs)
                    .with("ours", ours));
            }
            _ => {}
        }
        let node = convert::node_id(theirs.node);
        let address = (!theirs.address.is_empty()).then_some(theirs.address);
        if let Some(address) = &address {
            check_address(address)?;
        }
        Ok(Caller { node, address, cluster, bulk: theirs.bulk })
    }
}

/// Sends one frame, in a packet of its own.
pub(super) async fn send<O>(outgoing: &mut O, body: frame::Body) -> Result<()>
where
    O: Sink<Packet> + Unpin,
{
    let packet = Packet { frames: vec![Frame { call: 0, body: Some(body) }] };
    outgoing.send(packet).await.map_err(|_| unavailable("the link was closed before a hello"))
}

/// Waits for the other side's hello, which comes in a packet of its own.
///
/// # Errors
/// What the other side refused us with; `Unavailable` if the stream ends or holds something else.
pub(super) async fn receive<I>(incoming: &mut I) -> Result<Hello>
where
    I: Stream<Item = Result<Packet>> + Unpin,
{
    let packet = incoming.next().await;
    let packet = packet.ok_or_else(|| unavailable("the link was closed before a hello"))??;
    let mut frames = packet.frames.into_iter();
    match (frames.next().and_then(|frame| frame.body), frames.next()) {
        (Some(frame::Body::Hello(hello)), None) => Ok(hello),
        (Some(frame::Body::Failure(failure)), None) => Err(convert::error(failure)),
        _ => Err(unavailable("the link did not begin with a hello")),
    }
}

fn unavailable(message: &'static str) -> Error {
    Error::new(Kind::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(cluster: Option<u128>) -> Identity {
        Identity { cluster: cluster.map(ClusterId), ..Identity::default() }
    }

    fn refusal(ours: &Identity, theirs: Hello) -> Kind {
        ours.admit(theirs).unwrap_err().kind()
    }

    #[test]
    fn a_hello_tells_who_is_there() {
        let node = Identity {
            node: Some(NodeId(7)),
            cluster: Some(ClusterId(1)),
            address: "localhost:7400".into(),
        };
        let caller = ours(Some(1)).admit(node.hello(false)).unwrap();
        assert_eq!(caller.node, Some(NodeId(7)));
        assert_eq!(caller.address.as_deref(), Some("localhost:7400"));
        assert_eq!(caller.cluster, Some(ClusterId(1)));
        assert_eq!(ours(None).admit(Identity::default().hello(false)).unwrap(), Caller::default());
    }

    #[test]
    fn only_two_different_clusters_are_a_mismatch() {
        ours(Some(1)).admit(ours(None).hello(false)).unwrap();
        ours(None).admit(ours(Some(1)).hello(false)).unwrap();
        assert_eq!(refusal(&ours(Some(1)), ours(Some(2)).hello(false)), Kind::WrongCluster);
    }

    #[test]
    fn nonsense_is_refused() {
        let hello = ours(None).hello(false);
        let protocol = Hello { protocol: 2, ..hello.clone() };
        assert_eq!(refusal(&ours(None), protocol), Kind::Unsupported);
        let cluster = Hello { cluster: "x".into(), ..hello.clone() };
        assert_eq!(refusal(&ours(None), cluster), Kind::InvalidArgument);
        let address = Hello { address: "nowhere".into(), ..hello };
        assert_eq!(refusal(&ours(None), address), Kind::InvalidArgument);
    }
}
