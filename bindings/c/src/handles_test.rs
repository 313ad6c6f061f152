use std::ptr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;

#[test]
fn a_handle_comes_back_once_and_null_is_nothing() {
    let handle = give(7_u32);
    assert_eq!(look(handle, "seven", |seven| Ok(*seven)).unwrap(), 7);
    change(handle, "seven", |seven| {
        *seven = 8;
        Ok(())
    })
    .unwrap();
    assert_eq!(take_back(handle).as_deref(), Some(&8));
    assert!(take_back(ptr::null_mut::<u32>()).is_none());
}

#[test]
fn null_is_named() {
    let error = look(ptr::null::<u32>(), "client", |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert_eq!(error.message(), "argument is null argument=`client`");
    let error = change(ptr::null_mut::<u32>(), "options", |_| Ok(())).unwrap_err();
    assert!(error.message().contains("`options`"));
    assert!(Out::required(ptr::null_mut::<u32>(), "value", 0).is_err());
}

#[test]
fn an_output_is_emptied_before_it_is_set() {
    let mut place = 5;
    let out = Out::required(&raw mut place, "place", 0).unwrap();
    assert_eq!(place, 0);
    out.set(9);
    assert_eq!(place, 9);
    Out::optional(ptr::null_mut(), 0).set(1);
}

#[test]
fn a_closed_slot_answers_closed_and_closes_once() {
    let slot = Slot::new("client", 1).unwrap();
    assert_eq!(slot.get().unwrap(), 1);
    slot.close(|_| Err(Error::internal("on purpose"))).unwrap_err();
    let error = slot.get().unwrap_err();
    assert_eq!(error.kind(), Kind::Closed);
    assert_eq!(error.message(), "the handle was closed handle=`client`");
    slot.close(|_| Err(Error::internal("closed twice"))).unwrap();
    slot.end(|_| panic!("closed twice"));
}

#[test]
fn ending_closes_what_is_open() {
    let (say, heard) = mpsc::channel();
    let slot = Slot::new("node", say).unwrap();
    slot.end(|say| say.send(()).map_err(|_| Error::internal("nobody listens")));
    heard.try_recv().unwrap();
}

#[test]
fn a_slot_of_another_process_answers_forked_and_is_leaked() {
    let inside = Arc::new(());
    let mut slot = Slot::new("node", inside.clone()).unwrap();
    slot.made_in = Process::other();
    // Held for ever, as a thread that stayed in the parent would.
    std::mem::forget(slot.open.write());
    assert_eq!(slot.get().unwrap_err().kind(), Kind::Forked);
    assert_eq!(slot.close(|_| Ok(())).unwrap_err().kind(), Kind::Forked);
    slot.end(|_| panic!("a child must not close"));
    assert_eq!(Arc::strong_count(&inside), 2);
}

#[test]
fn calls_are_answered_while_closing_and_a_second_close_waits() {
    let slot = Arc::new(Slot::new("node", ()).unwrap());
    let (begun, has_begun) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let closer = slot.clone();
    let first = thread::spawn(move || {
        closer.close(|()| {
            begun.send(()).unwrap();
            gate.recv().map_err(|_| Error::internal("gate"))
        })
    });
    has_begun.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(slot.get().unwrap_err().kind(), Kind::Closed);

    let closer = slot.clone();
    let (done, is_done) = mpsc::channel();
    let second = thread::spawn(move || {
        closer.close(|()| Ok(())).unwrap();
        done.send(()).unwrap();
    });
    assert!(is_done.recv_timeout(Duration::from_millis(50)).is_err());
    go.send(()).unwrap();
    first.join().unwrap().unwrap();
    is_done.recv_timeout(Duration::from_secs(30)).unwrap();
    second.join().unwrap();
}
