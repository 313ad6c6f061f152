//! A write whose answer is lost is applied once.

// All of this is test code: whatever goes wrong here is a failed test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod cluster;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use kvcore::api::{CallOptions, Client, ClientOptions, Node};
use kvcore::types::config::NodeConfig;

use cluster::{eventually, get, put};

/// What a value looks like that is not to be answered.
const MARK: &[u8] = b"the answer to this is lost";

/// Stands between a client and a node. Once a marked request has gone through, nothing comes back over
/// that connection, until it is cut.
#[derive(Default)]
struct Proxy {
    armed: AtomicBool,
    cut: AtomicBool,
    cuts: AtomicUsize,
}

impl Proxy {
    fn run(self: &Arc<Proxy>, listener: TcpListener, target: String) {
        let proxy = self.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let muted = Arc::new(AtomicBool::new(false));
                let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (there, back, mute) = (proxy.clone(), proxy.clone(), muted.clone());
                thread::spawn(move || there.carry(client, server, &mute, true));
                thread::spawn(move || back.carry(server2, client2, &muted, false));
            }
        });
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, muted: &AtomicBool, there: bool) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read) = from.read(&mut buffer)
            && read > 0
        {
            let bytes = &buffer[..read];
            let marked = there && bytes.windows(MARK.len()).any(|window| window == MARK);
            if marked && self.armed.swap(false, Ordering::SeqCst) {
                muted.store(true, Ordering::SeqCst);
                to.write_all(bytes).unwrap();
                eventually("the connection may be cut", || self.cut.swap(false, Ordering::SeqCst));
                self.cuts.fetch_add(1, Ordering::SeqCst);
                break;
            }
            if !there && muted.load(Ordering::SeqCst) {
                continue;
            }
            if to.write_all(bytes).is_err() {
                break;
            }
        }
        drop(from.shutdown(Shutdown::Both));
        drop(to.shutdown(Shutdown::Both));
    }
}

#[test]
fn a_write_whose_answer_is_lost_is_applied_once() {
    let proxy = Arc::new(Proxy::default());
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let advertise = Some(outside.local_addr().unwrap().to_string());
    let inside = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut config = NodeConfig { advertise, listen: inside.clone(), ..NodeConfig::default() };
    config.founding.partitions = Some(1);
    let node = Node::start(config).wait().unwrap();
    proxy.run(outside, inside);

    let here = node.client().unwrap();
    let far = Client::connect(&node.address(), ClientOptions::default()).wait().unwrap();
    let mut revision = put(&far, "key", "before").unwrap();
    for round in 1..=5 {
        let value = format!("{} {round}", String::from_utf8(MARK.to_vec()).unwrap());
        proxy.armed.store(true, Ordering::SeqCst);
        let key = Bytes::from_static(b"key");
        let lost = far.put(key.clone(), Bytes::from(value.clone()), CallOptions::default());
        eventually("the write is applied", || get(&here, "key").unwrap().as_ref() == Some(&value));
        assert!(!lost.is_ready());
        proxy.cut.store(true, Ordering::SeqCst);
        assert_eq!(lost.wait().unwrap(), revision + 1);
        assert_eq!(proxy.cuts.load(Ordering::SeqCst), round);
        let entry = here.get(key, CallOptions::default()).wait().unwrap().unwrap();
        assert_eq!((entry.revision, entry.value), (revision + 1, Bytes::from(value)));
        revision = put(&here, "other", "x").unwrap();
        assert_eq!(revision, entry.revision + 1);
    }
    far.close();
    node.close().unwrap();
}
