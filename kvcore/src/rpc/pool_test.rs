//! Two processes, played by two pools, over real loopback sockets.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex as SyncMutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use super::*;
use crate::rpc::message::{
    self, Append, Execute, Ping, Propose, Proposed, SnapshotChunk, execute, request,
};
use crate::rpc::{Answer, Handler};
use crate::types::{Clock, Entropy, limits};

const SOON: Duration = Duration::from_secs(10);

/// A clock that stands still until told otherwise.
#[derive(Debug, Default)]
struct ByHand(AtomicU64);

impl Clock for ByHand {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn wall_ms(&self) -> u64 {
        0
    }
}

impl Entropy for ByHand {
    fn next_u64(&self) -> u64 {
        0
    }
}

/// Notes what arrives; answers a `Propose` as its command says.
#[derive(Default)]
struct Script {
    arrived: SyncMutex<Vec<String>>,
    changed: Notify,
    /// What "wait" waits for.
    gate: SyncMutex<Option<Arc<Semaphore>>>,
}

impl Script {
    fn gated() -> (Arc<Script>, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        let script = Script { gate: SyncMutex::new(Some(Arc::clone(&gate))), ..Script::default() };
        (Arc::new(script), gate)
    }

    fn arrived(&self) -> Vec<String> {
        self.arrived.lock().clone()
    }

    async fn wait_for(&self, count: usize) {
        let enough = async {
            while self.arrived.lock().len() < count {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(SOON, enough).await.expect("requests arrive");
    }
}

impl Handler for Script {
    fn handle(&self, caller: &Arc<Caller>, request: request::Body, _: Duration) -> Answer {
        let gate = self.gate.lock().clone();
        let (note, command) = match request {
            request::Body::Propose(Propose { command }) => {
                (String::from_utf8_lossy(&command).chars().take(20).collect(), command)
            }
            request::Body::Ping(_) => ("ping".into(), "ping".into()),
            request::Body::SnapshotChunk(chunk) => {
                (format!("chunk {}", chunk.chunk), Bytes::from("chunk"))
            }
            request::Body::Append(append) => (format!("append {}", append.to), "append".into()),
            request::Body::Execute(execute) => match execute.operation {
                Some(execute::Operation::Put(put)) => ("put".into(), put.value),
                _ => ("execute".into(), Bytes::new()),
            },
            _ => ("else".into(), Bytes::new()),
        };
        self.arrived.lock().push(note);
        self.changed.notify_one();
        if &command[..] == b"panic at once" {
            panic!("as told");
        }
        let who = caller.node;
        async move {
            match &command[..] {
                b"ping" => Ok(message::Pong::default().into()),
                b"chunk" => Ok(message::SnapshotTaken::default().into()),
                b"append" => Ok(message::Appended::default().into()),
                b"wait" => {
                    if let Some(gate) = gate {
                        gate.acquire().await.expect("open").forget();
                    }
                    Ok(Proposed { outcome: "waited".into() }.into())
                }
                b"panic" => panic!("as told"),
                b"refuse" => Err(Error::new(Kind::Conflict, "refused").at_revision(7)),
                b"who" => {
                    let outcome = who.map_or(0, |node| node.0).to_be_bytes();
                    Ok(Proposed { outcome: Bytes::copy_from_slice(&outcome) }.into())
                }
                _ => Ok(Proposed { outcome: command }.into()),
            }
        }
        .boxed()
    }
}

struct Process {
    pool: Pool,
    address: String,
    clock: Arc<ByHand>,
}

fn identity(node: u64, cluster: u128, address: &str) -> Identity {
    Identity {
        node: (node != 0).then_some(NodeId(node)),
        cluster: (cluster != 0).then_some(ClusterId(cluster)),
        address: address.into(),
    }
}

/// A process with that identity (0: none); it listens if it has a handler.
async fn process(node: u64, cluster: u128, handler: Option<Arc<Script>>) -> Process {
    limited(node, cluster, handler, &Limits::default()).await
}

async fn limited(
    node: u64,
    cluster: u128,
    handler: Option<Arc<Script>>,
    limits: &Limits,
) -> Process {
    let clock = Arc::new(ByHand::default());
    let clock_seam: Arc<dyn Clock> = clock.clone();
    let seam = Seam { clock: clock_seam, entropy: clock.clone() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serves = handler.is_some();
    let handler = handler.map(|handler| -> Arc<dyn Handler> { handler });
    let says = if serves { address.as_str() } else { "" };
    let pool = Pool::new(identity(node, cluster, says), handler, limits, seam);
    if serves {
        pool.serve(listener).unwrap();
    }
    Process { pool, address, clock }
}

/// Passes bytes on between one who dials it and the address behind it.
struct Proxy {
    address: String,
    accepted: Arc<AtomicUsize>,
    flowing: watch::Sender<bool>,
    open: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    async fn to(behind: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (flowing, open) = (watch::Sender::new(true), watch::Sender::new(true));
        let mut tasks = JoinSet::new();
        let (count, flows, opens) = (accepted.clone(), flowing.subscribe(), open.subscribe());
        let behind = behind.to_string();
        tasks.spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((front, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let back = TcpStream::connect(&behind).await.unwrap();
                let (front_in, front_out) = front.into_split();
                let (back_in, back_out) = back.into_split();
                pairs.spawn(pass(front_in, back_out, flows.clone(), opens.clone()));
                pairs.spawn(pass(back_in, front_out, flows.clone(), opens.clone()));
            }
        });
        Proxy { address, accepted, flowing, open, _tasks: tasks }
    }

    /// Closes what is open, and what is opened after it.
    fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets nothing through any more, without a sign.
    fn silence(&self) {
        self.flowing.send_replace(false);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut flowing: watch::Receiver<bool>,
    mut open: watch::Receiver<bool>,
) {
    let copy = async {
        let mut buffer = vec![0; 65536];
        loop {
            let read = from.read(&mut buffer).await.unwrap_or(0);
            let alive = flowing.wait_for(|flowing| *flowing).await.is_ok();
            if read == 0 || !alive || to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = copy => {}
        _ = async { drop(open.wait_for(|open| !*open).await) } => {}
    }
}

async fn propose(peer: &Peer, command: impl Into<Bytes>, timeout: Duration) -> Result<Bytes> {
    let reply = peer.call(Propose { command: command.into() }.into(), timeout).await?;
    Ok(Proposed::try_from(reply)?.outcome)
}

async fn kind(peer: &Peer, command: &'static str, timeout: Duration) -> Kind {
    propose(peer, command, timeout).await.unwrap_err().kind()
}

async fn until_linked(pool: &Pool, nodes: &[u64]) {
    let nodes: BTreeSet<_> = nodes.iter().map(|node| NodeId(*node)).collect();
    let mut linked = pool.linked();
    let reached = linked.wait_for(|linked| *linked == nodes);
    tokio::time::timeout(SOON, reached).await.expect("links settle").unwrap();
}

#[tokio::test]
async fn both_sides_call_over_one_connection() {
    let (a, b) = (Arc::new(Script::default()), Arc::new(Script::default()));
    let a = process(1, 9, Some(a)).await;
    let b = process(2, 9, Some(b)).await;
    let (to_a, to_b) = (Proxy::to(&a.address).await, Proxy::to(&b.address).await);
    a.pool.set_address(NodeId(2), &to_b.address);
    b.pool.set_address(NodeId(1), &to_a.address);

    let there = a.pool.node(NodeId(2));
    assert_eq!(propose(&there, "hello", SOON).await.unwrap(), "hello");
    assert_eq!(propose(&there, "who", SOON).await.unwrap(), &1_u64.to_be_bytes()[..]);
    until_linked(&b.pool, &[1]).await;
    let back = b.pool.node(NodeId(1));
    assert_eq!(propose(&back, "who", SOON).await.unwrap(), &2_u64.to_be_bytes()[..]);
    let error = propose(&back, "refuse", SOON).await.unwrap_err();
    assert_eq!((error.kind(), error.revision()), (Kind::Conflict, Some(7)));

    assert_eq!(to_b.accepted.load(Ordering::SeqCst), 1);
    assert_eq!(to_a.accepted.load(Ordering::SeqCst), 0);
    // The hello of each node corrected the address that the other had for it.
    assert_eq!(a.pool.address(NodeId(2)), Some(b.address.clone()));
    assert_eq!(b.pool.address(NodeId(1)), Some(a.address.clone()));
    assert_eq!(there.caller().unwrap().cluster, Some(ClusterId(9)));
}

#[tokio::test]
async fn nodes_that_dial_each_other_at_once_both_get_through() {
    let (a, b) = (Arc::new(Script::default()), Arc::new(Script::default()));
    let a = process(1, 9, Some(a)).await;
    let b = process(2, 9, Some(b)).await;
    a.pool.set_address(NodeId(2), &b.address);
    b.pool.set_address(NodeId(1), &a.address);
    let (to_b, to_a) = (a.pool.node(NodeId(2)), b.pool.node(NodeId(1)));
    let (one, two) = tokio::join!(propose(&to_b, "x", SOON), propose(&to_a, "y", SOON));
    assert_eq!((one.unwrap(), two.unwrap()), ("x".into(), "y".into()));
}

#[tokio::test]
async fn calls_arrive_in_the_order_they_were_made() {
    let script = Arc::new(Script::default());
    let b = process(2, 9, Some(script.clone())).await;
    let a = process(0, 0, None).await;
    let peer = a.pool.address_peer(&b.address);
    let append = |to| peer.call(Append { to, ..Append::default() }.into(), SOON);
    // The first ones are made before there is a link.
    let answers: Vec<_> = (0..1000).map(append).collect();
    peer.connect(SOON).await.unwrap();
    let more: Vec<_> = (1000..2000).map(append).collect();
    for answer in answers.into_iter().chain(more) {
        answer.await.unwrap();
    }
    let expected: Vec<_> = (0..2000).map(|to| format!("append {to}")).collect();
    assert_eq!(script.arrived(), expected);
}

#[tokio::test]
async fn a_snapshot_has_a_link_of_its_own() {
    let script = Arc::new(Script::default());
    let b = process(2, 9, Some(script.clone())).await;
    let a = process(1, 9, None).await;
    a.pool.set_address(NodeId(2), &b.address);
    let peer = a.pool.node(NodeId(2));
    peer.connect(SOON).await.unwrap();
    let data = Bytes::from(vec![1; 1024 * 1024]);
    let chunk = |chunk| SnapshotChunk { chunk, data: data.clone(), ..SnapshotChunk::default() };
    let chunks: Vec<_> = (0..40).map(|at| peer.call(chunk(at).into(), SOON)).collect();
    peer.call(Ping::default().into(), SOON).await.unwrap();
    for chunk in chunks {
        chunk.await.unwrap();
    }
    // It does not stand behind them, and they keep their order.
    let arrived = script.arrived();
    let ping = arrived.iter().position(|note| note == "ping").unwrap();
    assert!(ping < 40, "the ping waited for the snapshot");
    let chunks: Vec<_> = arrived.iter().filter(|note| *note != "ping").cloned().collect();
    assert_eq!(chunks, (0..40).map(|at| format!("chunk {at}")).collect::<Vec<_>>());
    // Only the other link is a sign of life; and this one serves both directions.
    assert_eq!(*a.pool.linked().borrow(), BTreeSet::from([NodeId(2)]));
    assert!(a.pool.0.current(&Target::Bulk(NodeId(2))).is_some());
    assert!(b.pool.0.current(&Target::Bulk(NodeId(1))).is_some());
}

#[tokio::test]
async fn a_call_without_an_answer_times_out_and_the_link_goes_on() {
    let (script, _gate) = Script::gated();
    let b = process(2, 9, Some(script.clone())).await;
    let a = process(1, 9, None).await;
    let peer = a.pool.address_peer(&b.address);
    peer.connect(SOON).await.unwrap();
    let began = Instant::now();
    assert_eq!(kind(&peer, "wait", Duration::from_millis(100)).await, Kind::Timeout);
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert_eq!(propose(&peer, "after", SOON).await.unwrap(), "after");
    assert_eq!(script.arrived(), ["wait", "after"]);
}

#[tokio::test]
async fn the_answering_side_gives_up_in_time_too() {
    let (script, gate) = Script::gated();
    let b = process(2, 9, Some(script.clone())).await;
    let a = process(1, 9, None).await;
    let peer = a.pool.address_peer(&b.address);
    peer.connect(SOON).await.unwrap();
    let sent_by_hand =
        peer.call(Propose { command: "wait".into() }.into(), Duration::from_millis(50));
    assert_eq!(sent_by_hand.await.unwrap_err().kind(), Kind::Timeout);
    // Its future holds the gate; once it is dropped, nobody but the test is left.
    let gone = async {
        *script.gate.lock() = None;
        while Arc::strong_count(&gate) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("the handler's future is dropped");
}

#[tokio::test]
async fn a_lost_link_leaves_sent_calls_open_and_unsent_ones_undone() {
    let (script, _gate) = Script::gated();
    let b = process(2, 9, Some(script.clone())).await;
    let proxy = Proxy::to(&b.address).await;
    let a = process(1, 9, None).await;
    a.pool.set_address(NodeId(2), &proxy.address);
    let peer = a.pool.node(NodeId(2));
    peer.connect(SOON).await.unwrap();
    let sent = peer.call(Propose { command: "wait".into() }.into(), SOON);
    script.wait_for(1).await;
    let began = Instant::now();
    proxy.cut();
    assert_eq!(sent.await.unwrap_err().kind(), Kind::Timeout);
    assert!(began.elapsed() < SOON / 2, "a lost link is noticed before the call's own time is up");
    until_linked(&a.pool, &[]).await;
    assert!(!peer.connected());
    // The address book has learned the node's own address: break that too.
    b.pool.close().await;
    a.clock.0.store(100_000, Ordering::SeqCst);
    assert_eq!(kind(&peer, "x", SOON).await, Kind::Unavailable);
}

#[tokio::test]
async fn a_silent_link_is_noticed() {
    let (script, _gate) = Script::gated();
    let b = process(2, 9, Some(script.clone())).await;
    let proxy = Proxy::to(&b.address).await;
    let a = process(1, 9, None).await;
    let peer = a.pool.address_peer(&proxy.address);
    peer.connect(SOON).await.unwrap();
    until_linked(&b.pool, &[1]).await;
    proxy.silence();
    let began = Instant::now();
    assert_eq!(kind(&peer, "x", SOON * 6).await, Kind::Timeout);
    // Both sides notice.
    until_linked(&b.pool, &[]).await;
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_dead_peer_fails_fast_until_the_pause_is_over() {
    let a = process(1, 9, None).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let peer = a.pool.address_peer(&address);
    assert_eq!(kind(&peer, "x", SOON).await, Kind::Unavailable);
    // Somebody is there now, but the clock stands still: nothing is dialed.
    let listener = TcpListener::bind(&address).await.unwrap();
    let error = propose(&peer, "x", SOON).now_or_never().expect("at once").unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.message().contains(&address), "{error}");
    a.clock.0.store(50, Ordering::SeqCst);
    let b = process(2, 9, None).await;
    b.pool.serve(listener).unwrap();
    assert_eq!(peer.connect(SOON).await.unwrap().node, Some(NodeId(2)));
    // And a process without a handler says so.
    assert_eq!(kind(&peer, "x", SOON).await, Kind::Unsupported);
}

#[tokio::test]
async fn calls_that_wait_for_a_dial_never_left() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let a = process(1, 9, None).await;
    let peer = a.pool.address_peer(&address);
    let began = Instant::now();
    let (short, long, connect) = tokio::join!(
        kind(&peer, "x", Duration::from_millis(50)),
        kind(&peer, "x", SOON * 6),
        peer.connect(SOON * 6),
    );
    assert_eq!((short, long), (Kind::Unavailable, Kind::Unavailable));
    assert_eq!(connect.unwrap_err().kind(), Kind::Unavailable);
    assert!(began.elapsed() < SOON, "a dial has an end: {:?}", began.elapsed());
    assert_eq!(peer.connect(Duration::ZERO).await.unwrap_err().kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_node_without_an_address_is_unavailable() {
    let a = process(1, 9, None).await;
    assert_eq!(kind(&a.pool.node(NodeId(5)), "x", SOON).await, Kind::Unavailable);
    assert_eq!(kind(&a.pool.address_peer("nowhere"), "x", SOON).await, Kind::InvalidArgument);
}

#[tokio::test]
async fn clusters_do_not_mix() {
    let script = Arc::new(Script::default());
    let b = process(2, 9, Some(script.clone())).await;
    let other = process(3, 8, Some(Arc::new(Script::default()))).await;
    let a = process(1, 8, None).await;
    assert_eq!(kind(&a.pool.address_peer(&b.address), "x", SOON).await, Kind::WrongCluster);
    assert!(script.arrived().is_empty());

    // A client takes the first cluster for its own, and then keeps to it.
    let client = process(0, 0, None).await;
    let first = client.pool.address_peer(&b.address);
    assert_eq!(propose(&first, "x", SOON).await.unwrap(), "x");
    assert_eq!(client.pool.cluster(), Some(ClusterId(9)));
    let second = client.pool.address_peer(&other.address);
    assert_eq!(kind(&second, "x", SOON).await, Kind::WrongCluster);

    // A node without a cluster may talk to any, until it says which is its own.
    let joining = process(4, 0, None).await;
    let (to_b, to_other) =
        (joining.pool.address_peer(&b.address), joining.pool.address_peer(&other.address));
    propose(&to_b, "x", SOON).await.unwrap();
    propose(&to_other, "x", SOON).await.unwrap();
    joining.pool.set_cluster(ClusterId(9));
    until_linked(&joining.pool, &[2]).await;
    joining.clock.0.store(100_000, Ordering::SeqCst);
    assert_eq!(kind(&to_other, "x", SOON).await, Kind::WrongCluster);
    propose(&to_b, "x", SOON).await.unwrap();
}

#[tokio::test]
async fn another_node_at_the_address_is_not_talked_to() {
    let script = Arc::new(Script::default());
    let b = process(2, 9, Some(script.clone())).await;
    let a = process(1, 9, None).await;
    a.pool.set_address(NodeId(7), &b.address);
    let error = propose(&a.pool.node(NodeId(7)), "x", SOON).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.message().contains("found=`0000000000000002`"), "{error}");
    assert!(script.arrived().is_empty());
    until_linked(&a.pool, &[]).await;
}

#[tokio::test]
async fn a_client_is_called_over_no_link_of_its_own() {
    let b = process(2, 9, Some(Arc::new(Script::default()))).await;
    let client = process(0, 9, None).await;
    client.pool.address_peer(&b.address).connect(SOON).await.unwrap();
    until_linked(&client.pool, &[2]).await;
    assert!(b.pool.linked().borrow().is_empty());
    // The link that was dialed by address is found by the node's id as well.
    assert_eq!(propose(&client.pool.node(NodeId(2)), "x", SOON).await.unwrap(), "x");
}

#[tokio::test]
async fn a_full_queue_is_overloaded() {
    let b = process(2, 9, Some(Arc::new(Script::default()))).await;
    let limits = Limits { inflight_bytes: 1024 * 1024, ..Limits::default() };
    let a = limited(1, 9, None, &limits).await;
    let peer = a.pool.address_peer(&b.address);
    peer.connect(SOON).await.unwrap();
    // Nothing is written before this test awaits something.
    let command = Bytes::from(vec![1; 600 * 1024]);
    let first = peer.call(Propose { command: command.clone() }.into(), SOON);
    let second = peer.call(Propose { command }.into(), SOON);
    assert_eq!(second.await.unwrap_err().kind(), Kind::Overloaded);
    first.await.unwrap();
}

#[tokio::test]
async fn requests_being_handled_are_bounded_and_replicas_have_room_of_their_own() {
    let (script, gate) = Script::gated();
    let limits = Limits { inflight_bytes: 1024 * 1024, ..Limits::default() };
    let b = limited(2, 9, Some(script.clone()), &limits).await;
    let a = process(1, 9, None).await;
    let peer = a.pool.address_peer(&b.address);
    peer.connect(SOON).await.unwrap();
    let wait = || peer.call(Propose { command: "wait".into() }.into(), SOON);
    let waiting: Vec<_> = (0..4096).map(|_| wait()).collect();
    let too_many = wait();
    assert_eq!(too_many.await.unwrap_err().kind(), Kind::Overloaded);
    // What replicas say is let in all the same.
    peer.call(Append::default().into(), SOON).await.unwrap();
    gate.add_permits(4096);
    for call in waiting {
        call.await.unwrap();
    }
    // The bound on bytes: one request may be as large as it likes, two may not.
    let wait = || {
        let operation = execute::Operation::Put(message::Put {
            key: vec![0; 700_000].into(),
            value: "wait".into(),
            if_revision: None,
        });
        peer.call(Execute { operation: Some(operation), ..Execute::default() }.into(), SOON)
    };
    let (first, second) = (wait(), wait());
    assert_eq!(second.await.unwrap_err().kind(), Kind::Overloaded);
    gate.add_permits(1);
    first.await.unwrap();
}

#[tokio::test]
async fn a_large_value_passes_and_too_large_a_request_stays_at_home() {
    let b = process(2, 9, Some(Arc::new(Script::default()))).await;
    let a = process(1, 9, None).await;
    let peer = a.pool.address_peer(&b.address);
    let value = Bytes::from(vec![7; limits::VALUE_BYTES]);
    assert_eq!(propose(&peer, value.clone(), SOON).await.unwrap(), value);
    let most = Bytes::from(vec![7; limits::MESSAGE_BYTES - 64]);
    assert_eq!(propose(&peer, most.clone(), SOON).await.unwrap(), most);
    let over = Bytes::from(vec![7; limits::MESSAGE_BYTES]);
    assert_eq!(propose(&peer, over, SOON).await.unwrap_err().kind(), Kind::TooLarge);
    assert!(peer.connected());
    assert_eq!(propose(&peer, "after", SOON).await.unwrap(), "after");
}

#[tokio::test]
async fn a_panic_of_the_handler_is_an_answer() {
    let b = process(2, 9, Some(Arc::new(Script::default()))).await;
    let a = process(1, 9, None).await;
    let peer = a.pool.address_peer(&b.address);
    assert_eq!(kind(&peer, "panic", SOON).await, Kind::Internal);
    assert_eq!(kind(&peer, "panic at once", SOON).await, Kind::Internal);
    assert_eq!(propose(&peer, "after", SOON).await.unwrap(), "after");
}

#[tokio::test]
async fn garbage_on_the_port_harms_nobody() {
    let b = process(2, 9, Some(Arc::new(Script::default()))).await;
    let a = process(1, 9, None).await;
    let peer = a.pool.address_peer(&b.address);
    peer.connect(SOON).await.unwrap();

    let mut random = vec![0; 100_000];
    let mut state = 7_u32;
    for byte in &mut random {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let kinds: [Vec<u8>; 5] = [
        random.clone(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        [preface.as_slice(), &random].concat(),
        preface.to_vec(),
        Vec::new(),
    ];
    let mut open = Vec::new();
    for bytes in &kinds {
        for close_at_once in [true, false] {
            let mut tcp = TcpStream::connect(&b.address).await.unwrap();
            // It may be closed from the other side before all is written.
            drop(tcp.write_all(bytes).await);
            if !close_at_once {
                open.push(tcp);
            }
        }
    }
    assert_eq!(propose(&peer, "after", SOON).await.unwrap(), "after");
    // Nobody who says no hello stays connected, not even in silence.
    for mut tcp in open {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(SOON, tcp.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "a connection without a hello is closed");
    }
    assert!(peer.connected());
}

#[tokio::test]
async fn close_ends_every_call_and_every_task() {
    let metrics = Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    let (script, gate) = Script::gated();
    let b = process(2, 9, Some(script.clone())).await;
    let a = process(1, 9, Some(Arc::new(Script::default()))).await;
    let peer = a.pool.address_peer(&b.address);
    peer.connect(SOON).await.unwrap();
    until_linked(&b.pool, &[1]).await;
    let sent = peer.call(Propose { command: "wait".into() }.into(), SOON);
    script.wait_for(1).await;
    let idle = TcpStream::connect(&b.address).await.unwrap();
    // Never written: no turn of the writer before the pool is closed.
    let unsent = peer.call(Propose { command: "wait".into() }.into(), SOON);

    let began = Instant::now();
    a.pool.close().await;
    b.pool.close().await;
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!(sent.await.unwrap_err().kind(), Kind::Timeout);
    assert_eq!(unsent.await.unwrap_err().kind(), Kind::Closed);
    assert_eq!(kind(&peer, "x", SOON).await, Kind::Closed);
    assert_eq!(peer.connect(SOON).await.unwrap_err().kind(), Kind::Closed);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(a.pool.serve(listener).unwrap_err().kind(), Kind::Closed);
    assert!(TcpStream::connect(&b.address).await.is_err(), "nobody listens any more");
    assert!(a.pool.linked().borrow().is_empty());
    a.pool.close().await;

    drop(idle);
    let ended = async {
        while metrics.num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, ended).await.expect("all tasks end");
    *script.gate.lock() = None;
    assert_eq!(Arc::strong_count(&gate), 1, "no handler runs on");
}

#[tokio::test]
async fn a_dropped_pool_stops_its_tasks() {
    let metrics = Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    let b = process(2, 9, Some(Arc::new(Script::default()))).await;
    let a = process(1, 9, None).await;
    a.pool.address_peer(&b.address).connect(SOON).await.unwrap();
    drop((a, b));
    let ended = async {
        while metrics.num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, ended).await.expect("all tasks end");
}

#[tokio::test]
async fn a_peer_in_this_process_behaves_like_one_far_away() {
    let (script, _gate) = Script::gated();
    let caller = Arc::new(Caller { node: Some(NodeId(1)), ..Caller::default() });
    let peer = Peer::local(script.clone(), Arc::clone(&caller));
    assert!(peer.connected());
    assert_eq!(peer.connect(SOON).await.unwrap(), caller);
    assert_eq!(propose(&peer, "x", SOON).await.unwrap(), "x");
    assert_eq!(kind(&peer, "wait", Duration::from_millis(20)).await, Kind::Timeout);
    assert_eq!(kind(&peer, "panic", SOON).await, Kind::Internal);
    assert_eq!(kind(&peer, "panic at once", SOON).await, Kind::Internal);
    // As over a link, the request is on its way before anybody awaits the answer.
    let answer = peer.call(Propose { command: "eager".into() }.into(), SOON);
    assert_eq!(script.arrived().last().unwrap(), "eager");
    answer.await.unwrap();
}
