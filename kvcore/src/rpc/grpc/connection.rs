//! One accepted TCP connection, and the patience with it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::transport::server::Connected;

/// How long whoever connects may take until the hello is said.
const HELLO: Duration = Duration::from_secs(5);
/// How long the last words may take after the end.
const LAST_WORDS: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nothing but bytes came yet, of whatever kind.
    Connected,
    /// A link was asked for. A connection carries one in its life.
    Entered,
    /// The hello was said and found good.
    Greeted,
    /// The link is gone.
    Over,
}

/// Lets a link tell the connection beneath it how far it got. The connection ends with the last
/// `Door` to it, or when nothing came through it in time.
#[derive(Debug)]
pub(in crate::rpc) struct Door(Arc<watch::Sender<Stage>>);

impl Door {
    /// Notes that the hello was said and found good.
    pub(in crate::rpc) fn greeted(&self) {
        self.0.send_replace(Stage::Greeted);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.send_replace(Stage::Over);
    }
}

/// What a connection tells those who serve requests over it.
#[derive(Clone)]
pub(super) struct Doorbell(Arc<watch::Sender<Stage>>);

impl Doorbell {
    /// Opens the door; nothing if that was done before.
    pub(super) fn enter(&self) -> Option<Door> {
        let first = self.0.send_if_modified(|stage| {
            let first = *stage == Stage::Connected;
            if first {
                *stage = Stage::Entered;
            }
            first
        });
        first.then(|| Door(Arc::clone(&self.0)))
    }
}

/// A TCP connection that fails when its time is up: no hello, its link gone, or the server stopped.
/// So neither silence nor garbage nor a half-open connection can stay.
pub(super) struct Connection {
    tcp: TcpStream,
    stage: Arc<watch::Sender<Stage>>,
    patience: BoxFuture<'static, ()>,
    over: bool,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(
        tcp: TcpStream,
        place: OwnedSemaphorePermit,
        stop: watch::Receiver<bool>,
    ) -> Connection {
        let stage = Arc::new(watch::Sender::new(Stage::Connected));
        let patience = Box::pin(patience(stage.subscribe(), stop));
        Connection { tcp, stage, patience, over: false, _place: place }
    }

    /// Fails once the time is up. Only reads ask: a connection always waits for its next byte, so
    /// that is where the end is noticed.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        self.over = self.over || self.patience.as_mut().poll(context).is_ready();
        if self.over {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the connection's time is up"));
        }
        Ok(())
    }
}

/// Returns when the connection's time is up.
async fn patience(mut stage: watch::Receiver<Stage>, mut stop: watch::Receiver<bool>) {
    // The waits themselves fail only when what they wait for is gone, which is an end as well.
    let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
    let left = async {
        let greeted = stage.wait_for(|stage| matches!(stage, Stage::Greeted | Stage::Over));
        if tokio::time::timeout(HELLO, greeted).await.is_ok() {
            drop(stage.wait_for(|stage| *stage == Stage::Over).await);
        }
    };
    tokio::select! {
        () = stopped => {}
        () = left => {}
    }
    tokio::time::sleep(LAST_WORDS).await;
}

impl Connected for Connection {
    type ConnectInfo = Doorbell;

    fn connect_info(&self) -> Doorbell {
        Doorbell(Arc::clone(&self.stage))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
