//! Administration of a cluster of one, driven through the exports as C would.

use std::ffi::{CStr, CString};

use serde_json::Value;

use super::*;
use crate::client::{distkv_client_close, distkv_client_free};
use crate::error::{
    DISTKV_CLOSED, DISTKV_INVALID_ARGUMENT, DISTKV_NOT_FOUND, DISTKV_OK, distkv_error_code,
    distkv_error_free, distkv_error_message,
};
use crate::node::{
    distkv_node, distkv_node_client, distkv_node_close, distkv_node_free, distkv_node_id,
    distkv_node_leave, distkv_node_open_v, distkv_node_wait_departed,
};
use crate::options::{
    distkv_options_free, distkv_options_new, distkv_options_set_max_dead_fraction,
    distkv_options_set_moves_per_node, distkv_options_set_paused,
};
use crate::version::DISTKV_API_VERSION;

fn outcome(error: *mut distkv_error) -> (i32, String) {
    let code = distkv_error_code(error);
    // SAFETY: NUL-terminated, and copied before the error is freed.
    let message = unsafe { CStr::from_ptr(distkv_error_message(error)) };
    let message = message.to_str().unwrap().to_owned();
    distkv_error_free(error);
    (code, message)
}

fn ok(error: *mut distkv_error) {
    assert_eq!(outcome(error), (DISTKV_OK, String::new()));
}

fn node_and_client() -> (*mut distkv_node, *mut distkv_client) {
    let (mut node, mut client) = (ptr::null_mut(), ptr::null_mut());
    ok(distkv_node_open_v(DISTKV_API_VERSION, ptr::null(), &raw mut node));
    ok(distkv_node_client(node, &raw mut client));
    (node, client)
}

fn id(node: *const distkv_node) -> CString {
    let mut text = ptr::null();
    ok(distkv_node_id(node, &raw mut text));
    // SAFETY: it belongs to the node, and is copied before that is freed.
    unsafe { CStr::from_ptr(text) }.to_owned()
}

fn read(ask: impl FnOnce(*mut *mut distkv_bytes) -> *mut distkv_error) -> Value {
    let mut json = ptr::null_mut();
    ok(ask(&raw mut json));
    serde_json::from_slice(&handles::take_back(json).unwrap().0).unwrap()
}

#[test]
fn the_ring_and_the_plan_are_told_as_json() {
    let (node, client) = node_and_client();
    let ring = read(|json| distkv_client_ring_json(client, json));
    assert_eq!(ring["partitions"], 64);
    assert_eq!(ring["nodes"][0]["id"], id(node).to_str().unwrap());
    assert_eq!(ring["nodes"][0]["replicas"], 64);
    assert!(ring["moves"].is_array() && ring["epoch"].is_u64());

    let nobody = ptr::null();
    let plan = |with: *const c_char| {
        read(|json| distkv_client_plan_json(client, with, nobody, nobody.cast(), json))
    };
    assert!(plan(ptr::null())["moves"].as_array().unwrap().is_empty());
    assert!(plan(c"".as_ptr())["moves"].as_array().unwrap().is_empty());
    let moves = plan(c"1:rack-1,2".as_ptr());
    let to: Vec<_> =
        moves["moves"].as_array().unwrap().iter().map(|one| one["to"].as_str().unwrap()).collect();
    assert!(to.contains(&"new-1") && to.contains(&"new-2"), "{to:?}");
    distkv_client_free(client);
    distkv_node_free(node);
}

#[test]
fn tuning_changes_what_was_set_and_tells_the_rest() {
    let (node, client) = node_and_client();
    let tune = |options| read(|json| distkv_client_tune(client, options, json));
    let before = tune(ptr::null());
    assert_eq!(before["moves_per_node"], 4);
    assert_eq!(before["paused"], false);

    let options = distkv_options_new();
    ok(distkv_options_set_moves_per_node(options, 7));
    ok(distkv_options_set_paused(options, true));
    ok(distkv_client_tune(client, options, ptr::null_mut()));
    let after = tune(ptr::null());
    assert_eq!((&after["moves_per_node"], &after["paused"]), (&7.into(), &true.into()));
    assert_eq!(after["dead_node_timeout_ms"], before["dead_node_timeout_ms"]);

    ok(distkv_options_set_max_dead_fraction(options, 2.0));
    let mut json = ptr::null_mut();
    let (code, message) = outcome(distkv_client_tune(client, options, &raw mut json));
    assert_eq!(code, DISTKV_INVALID_ARGUMENT);
    assert!(message.contains("setting=`max_dead_milli`"), "{message}");
    assert!(json.is_null());
    distkv_options_free(options);
    distkv_client_free(client);
    distkv_node_free(node);
}

#[test]
fn a_node_that_is_no_member_is_not_found() {
    let (node, client) = node_and_client();
    let (nobody, none) = (c"00000000000000ff".as_ptr(), ptr::null());
    let mut json = ptr::null_mut();
    for error in [
        distkv_client_leave(client, nobody, none),
        distkv_client_remove(client, nobody, true, none),
        distkv_client_transfer(client, 0, nobody, none),
        distkv_client_transfer(client, 70_000, nobody, none),
        distkv_client_plan_json(client, ptr::null(), nobody, none, &raw mut json),
    ] {
        assert_eq!(outcome(error).0, DISTKV_NOT_FOUND);
    }
    assert!(json.is_null());
    distkv_client_free(client);
    distkv_node_free(node);
}

#[test]
fn the_last_node_can_neither_leave_nor_be_removed() {
    let (node, client) = node_and_client();
    let itself = id(node);
    for error in [
        distkv_client_leave(client, itself.as_ptr(), ptr::null()),
        distkv_client_remove(client, itself.as_ptr(), true, ptr::null()),
        distkv_node_leave(node, 30_000),
    ] {
        assert_eq!(outcome(error).0, DISTKV_INVALID_ARGUMENT);
    }
    let mut departed = true;
    ok(distkv_node_wait_departed(node, 1, &raw mut departed));
    assert!(!departed);
    distkv_client_free(client);
    distkv_node_free(node);
}

#[test]
fn arguments_that_make_no_sense_are_named() {
    let (node, client) = node_and_client();
    let (text, none) = (c"00000000000000ff".as_ptr(), ptr::null::<distkv_options>());
    let (mut json, mut departed) = (ptr::null_mut(), false);
    let place = &raw mut json;
    let null = |name| format!("argument is null argument=`{name}`");
    for (name, error) in [
        ("client", distkv_client_ring_json(ptr::null(), place)),
        ("json", distkv_client_ring_json(client, ptr::null_mut())),
        ("client", distkv_client_plan_json(ptr::null(), text, text, none, place)),
        ("json", distkv_client_plan_json(client, text, text, none, ptr::null_mut())),
        ("client", distkv_client_leave(ptr::null(), text, none)),
        ("node", distkv_client_leave(client, ptr::null(), none)),
        ("client", distkv_client_remove(ptr::null(), text, false, none)),
        ("node", distkv_client_remove(client, ptr::null(), false, none)),
        ("client", distkv_client_transfer(ptr::null(), 0, text, none)),
        ("node", distkv_client_transfer(client, 0, ptr::null(), none)),
        ("client", distkv_client_tune(ptr::null(), none, place)),
        ("node", distkv_node_leave(ptr::null(), 1)),
        ("node", distkv_node_wait_departed(ptr::null(), 1, &raw mut departed)),
        ("departed", distkv_node_wait_departed(node, 1, ptr::null_mut())),
    ] {
        assert_eq!(outcome(error), (DISTKV_INVALID_ARGUMENT, null(name)));
    }
    let ask = |with, without| {
        let mut json = ptr::null_mut();
        outcome(distkv_client_plan_json(client, with, without, none, &raw mut json))
    };
    for with in [c"heavy", c"1,", c",", c"1:", c":rack", c"1:a,,2"] {
        let (code, message) = ask(with.as_ptr(), ptr::null());
        assert_eq!(code, DISTKV_INVALID_ARGUMENT, "{with:?}");
        assert!(message.contains("newcomer=`"), "{message}");
    }
    for (with, without) in [(c"0", c""), (c"nan", c""), (c"", c"no id"), (c"\xff", c"")] {
        let (code, _) = ask(with.as_ptr(), without.as_ptr());
        assert_eq!(code, DISTKV_INVALID_ARGUMENT, "{with:?} {without:?}");
    }
    distkv_client_free(client);
    distkv_node_free(node);
}

#[test]
fn closed_handles_answer_closed() {
    let (node, client) = node_and_client();
    ok(distkv_client_close(client));
    ok(distkv_node_close(node));
    let (text, none) = (c"00000000000000ff".as_ptr(), ptr::null::<distkv_options>());
    let (mut json, mut departed) = (ptr::null_mut(), true);
    for error in [
        distkv_client_ring_json(client, &raw mut json),
        distkv_client_plan_json(client, ptr::null(), ptr::null(), none, &raw mut json),
        distkv_client_leave(client, text, none),
        distkv_client_remove(client, text, false, none),
        distkv_client_transfer(client, 0, text, none),
        distkv_client_tune(client, none, &raw mut json),
        distkv_node_leave(node, 0),
        distkv_node_wait_departed(node, 0, &raw mut departed),
    ] {
        assert_eq!(outcome(error).0, DISTKV_CLOSED);
    }
    assert!(json.is_null() && !departed);
    distkv_client_free(client);
    distkv_node_free(node);
}
