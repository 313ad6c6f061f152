//! Links over channels: whatever carries packets will do.

use futures::FutureExt;
use futures::channel::mpsc;

use super::*;
use crate::rpc::handler::{Answer, Handler};
use crate::rpc::message::{self, Describe, Described, Hello, Ping, Pong};
use crate::rpc::serving::Room;

const SOON: Duration = Duration::from_secs(10);

/// Answers a `Ping`, and never a `Describe`.
struct Echo;

impl Handler for Echo {
    fn handle(&self, _: &Arc<Caller>, request: request::Body, _: Duration) -> Answer {
        async move {
            match request {
                request::Body::Ping(_) => Ok(Pong::default().into()),
                request::Body::Describe(_) => futures::future::pending().await,
                // Answers far more than it was asked.
                _ => Ok(Described { json: vec![7; 100_000].into() }.into()),
            }
        }
        .boxed()
    }
}

type Sender = mpsc::Sender<Packet>;
type Receiver = mpsc::Receiver<Packet>;

/// An open link with that queue, carried by a task; what it sends and what it is sent.
fn carried(queue_bytes: usize) -> (Arc<Link>, Receiver, Sender, tokio::task::JoinHandle<Ending>) {
    let link = Link::new(queue_bytes);
    let caller = Arc::new(Caller::default());
    let room = Room::new(1 << 20);
    let serving = Serving::new(link.clone(), Some(Arc::new(Echo)), caller.clone(), room);
    link.open(&caller);
    let (outgoing, sent) = mpsc::channel(0);
    let (sender, incoming) = mpsc::channel(0);
    let carried = link.clone();
    let task =
        tokio::spawn(async move { run(&carried, serving, incoming.map(Ok), outgoing).await });
    (link, sent, sender, task)
}

fn packet(call: u64, body: frame::Body) -> Packet {
    Packet { frames: vec![Frame { call, body: Some(body) }] }
}

fn ask(call: u64, body: impl Into<request::Body>) -> Packet {
    packet(call, frame::Body::Request(Request { timeout_ms: 60_000, body: Some(body.into()) }))
}

#[tokio::test]
async fn calls_go_both_ways_at_once() {
    let (a, from_a, to_a, _task) = carried(1 << 20);
    let (b, from_b, to_b, _other) = carried(1 << 20);
    tokio::spawn(from_a.map(Ok).forward(to_b));
    tokio::spawn(from_b.map(Ok).forward(to_a));
    let (one, two) = (
        a.start(Ping::default().into(), SOON).unwrap(),
        b.start(Ping::default().into(), SOON).unwrap(),
    );
    assert_eq!(one.finish().await.unwrap(), Pong::default().into());
    assert_eq!(two.finish().await.unwrap(), Pong::default().into());
}

#[tokio::test]
async fn a_call_that_was_given_up_before_it_left_never_leaves() {
    let (link, mut sent, _sender, _task) = carried(1 << 20);
    let dropped = link.start(Ping::default().into(), SOON).unwrap();
    let kept = link.start(Describe::default().into(), SOON).unwrap();
    drop(dropped);
    let packet = sent.next().await.unwrap();
    assert_eq!(packet.frames.len(), 1);
    assert_eq!(packet.frames[0].call, kept.call);
}

#[tokio::test]
async fn a_reply_that_does_not_fit_leaves_the_outcome_open() {
    let (_link, mut sent, mut sender, _task) = carried(150_000);
    // The first reply is taken off at once, the second waits in the queue, the third finds no room.
    let mut kinds = Vec::new();
    for call in 1..=8 {
        sender.send(ask(call, message::Route {})).await.unwrap();
    }
    while kinds.len() < 8 {
        for frame in sent.next().await.unwrap().frames {
            kinds.push(match frame.body {
                Some(frame::Body::Failure(failure)) => Kind::from_code(failure.code),
                _ => None,
            });
        }
    }
    assert!(kinds.contains(&Some(Kind::Timeout)), "{kinds:?}");
    assert!(kinds.contains(&None), "{kinds:?}");
}

#[tokio::test]
async fn one_who_asks_and_never_reads_is_dropped() {
    let (link, _sent, mut sender, task) = carried(1000);
    let flood = async {
        for call in 0.. {
            // Of no known kind, so each is refused.
            let body = frame::Body::Request(Request { timeout_ms: 1, body: None });
            if sender.send(packet(call, body)).await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, flood).await.expect("the link ends");
    assert!(task.await.unwrap().error().message().contains("does not read"));
    assert!(link.caller().is_none());
}

#[tokio::test]
async fn a_second_hello_ends_the_link_and_all_that_it_does() {
    let (link, _sent, mut sender, task) = carried(1 << 20);
    let call = link.start(Describe::default().into(), SOON).unwrap();
    sender.send(ask(1, Describe::default())).await.unwrap();
    sender.send(packet(0, frame::Body::Hello(Hello::default()))).await.unwrap();
    assert_eq!(task.await.unwrap().error().kind(), Kind::Unavailable);
    assert!(call.finish().await.is_err());
    let late = link.start(Ping::default().into(), SOON).err().unwrap();
    assert_eq!(late.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn what_a_newer_version_says_is_passed_over() {
    let (_link, mut sent, mut sender, _task) = carried(1 << 20);
    sender.send(Packet { frames: vec![Frame { call: 1, body: None }] }).await.unwrap();
    sender.send(ask(2, Ping::default())).await.unwrap();
    assert_eq!(sent.next().await.unwrap().frames[0].call, 2);
}
