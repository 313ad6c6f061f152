//! Whatever strangers send to a node's port, its clients do not notice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use cluster::{Cluster, Load, Plan, Stage, connect, eventually};
use kvcore::api::{Client, ClientOptions};

const PATIENCE: Duration = Duration::from_secs(20);
/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[test]
fn strangers_on_the_port_disturb_nobody() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &["--partitions=16"]);
    let client = Client::connect(&cluster.endpoints(), ClientOptions::default()).wait().unwrap();
    let load = Load::start(client, Plan::endless("garbage"));
    load.wait_for_more(100, PATIENCE);

    let addresses: Vec<_> = cluster.seats.iter().map(|seat| seat.address.clone()).collect();
    for address in &addresses {
        for seed in 1..=10 {
            send(address, &noise(seed, 4096));
            send(address, &[HTTP2, &noise(seed, 4096)].concat());
        }
        send(address, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n");
        send(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
        // A frame of the greatest length a header can name, of which nothing follows.
        send(address, &[HTTP2, b"\xff\xff\xff\x00\x00\x00\x00\x00\x01"].concat());
    }
    load.wait_for_more(100, PATIENCE);

    let half_open: Vec<_> = addresses.iter().map(|address| half_open(address)).collect();
    load.wait_for_more(100, PATIENCE);

    let crowd: Vec<_> =
        (0..200).map(|_| TcpStream::connect(&addresses[0]).expect("a connection")).collect();
    load.wait_for_more(100, PATIENCE);
    eventually(PATIENCE, "a new client to be served beside 200 idle connections", || {
        connect(&addresses[0]).and_then(|client| client.status().wait())
    });
    drop((crowd, half_open));

    load.wait_for_more(100, PATIENCE);
    let ledger = load.stop();
    assert!(ledger.failed.is_empty(), "the load had errors: {:?}", ledger.failed);
    assert!(cluster.seats.iter_mut().all(|seat| seat.is_running()), "a node is gone");
    ledger.check(&connect(&cluster.endpoints()).unwrap()).unwrap();
    cluster.wait_settled();
}

/// Sends bytes, and reads until the node hangs up or has nothing to say for a moment. What it answers
/// to nonsense is its own affair.
fn send(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("the node listens");
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    // The node may well have hung up in the middle of it.
    drop(stream.write_all(bytes));
    drop(stream.read(&mut [0; 1024]));
}

/// A connection whose other end will say no more, but does not go away either.
fn half_open(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the node listens");
    stream.write_all(HTTP2.split_at(10).0).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stream
}

/// Noise that is the same in every run (xorshift64; Marsaglia, 2003).
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}
