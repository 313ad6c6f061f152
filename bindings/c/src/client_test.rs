//! A client and its node, driven through the exports as C would.

use std::ffi::CStr;

use super::*;
use crate::error::{
    DISTKV_CLOSED, DISTKV_INVALID_ARGUMENT, DISTKV_OK, DISTKV_TOO_LARGE, DISTKV_UNSUPPORTED,
    distkv_error_code, distkv_error_free, distkv_error_message,
};
use crate::node::{
    distkv_node, distkv_node_address, distkv_node_client, distkv_node_close, distkv_node_cluster,
    distkv_node_free, distkv_node_id, distkv_node_open_v,
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

fn code(error: *mut distkv_error) -> i32 {
    outcome(error).0
}

fn slice(bytes: &[u8]) -> distkv_slice {
    distkv_slice { data: bytes.as_ptr(), len: bytes.len() }
}

fn node_and_client() -> (*mut distkv_node, *mut distkv_client) {
    let (mut node, mut client) = (ptr::null_mut(), ptr::null_mut());
    let opened = distkv_node_open_v(DISTKV_API_VERSION, ptr::null(), &raw mut node);
    assert_eq!(outcome(opened), (DISTKV_OK, String::new()));
    assert_eq!(code(distkv_node_client(node, &raw mut client)), DISTKV_OK);
    (node, client)
}

fn get(client: *const distkv_client, key: &[u8]) -> (bool, Option<Vec<u8>>, u64) {
    let (mut found, mut value, mut revision) = (false, ptr::null_mut(), 0);
    let (found_at, value_at, revision_at) = (&raw mut found, &raw mut value, &raw mut revision);
    let done = distkv_client_get(client, slice(key), ptr::null(), found_at, value_at, revision_at);
    assert_eq!(outcome(done), (DISTKV_OK, String::new()));
    (found, handles::take_back(value).map(|value| value.0.to_vec()), revision)
}

#[test]
fn puts_gets_and_deletes() {
    let (node, client) = node_and_client();
    assert_eq!(get(client, b"city"), (false, None, 0));

    let mut revision = 0;
    let put =
        distkv_client_put(client, slice(b"city"), slice(b"Vienna"), ptr::null(), &raw mut revision);
    assert_eq!(code(put), DISTKV_OK);
    assert_ne!(revision, 0);
    assert_eq!(get(client, b"city"), (true, Some(b"Vienna".to_vec()), revision));

    let nothing = distkv_slice { data: ptr::null(), len: 0 };
    let put = distkv_client_put(client, slice(b"empty"), nothing, ptr::null(), ptr::null_mut());
    assert_eq!(code(put), DISTKV_OK);
    let (found, value, _) = get(client, b"empty");
    assert_eq!((found, value), (true, Some(Vec::new())));

    for expected in [true, false] {
        let mut existed = !expected;
        let done = distkv_client_delete(client, slice(b"city"), ptr::null(), &raw mut existed);
        assert_eq!(code(done), DISTKV_OK);
        assert_eq!(existed, expected);
    }
    distkv_client_free(client);
    distkv_node_free(node);
}

#[test]
fn a_refused_call_says_why_and_empties_its_outputs() {
    let (node, client) = node_and_client();
    let mut revision = 99;
    let put = distkv_client_put(client, slice(b""), slice(b""), ptr::null(), &raw mut revision);
    let (code, message) = outcome(put);
    assert_eq!(code, DISTKV_INVALID_ARGUMENT);
    assert!(message.starts_with("key is empty"), "{message}");
    assert_eq!(revision, 0);

    let long = vec![b'k'; KEY_BYTES + 1];
    let mut existed = true;
    let done = distkv_client_delete(client, slice(&long), ptr::null(), &raw mut existed);
    assert_eq!(
        outcome(done),
        (DISTKV_TOO_LARGE, "key is too large bytes=`16385` limit=`16384`".into())
    );
    assert!(!existed);
    distkv_client_free(client);
    distkv_node_free(node);
}

#[test]
fn null_arguments_are_named() {
    let (node, client) = node_and_client();
    let key = slice(b"k");
    let mut place: *mut distkv_client = ptr::null_mut();
    let mut value: *mut distkv_bytes = ptr::null_mut();
    let v = DISTKV_API_VERSION;
    for (name, error) in [
        ("node", distkv_node_open_v(v, ptr::null(), ptr::null_mut())),
        ("node", distkv_node_client(ptr::null(), &raw mut place)),
        ("client", distkv_node_client(node, ptr::null_mut())),
        ("id", distkv_node_id(node, ptr::null_mut())),
        ("node", distkv_node_close(ptr::null())),
        ("endpoints", distkv_client_open_v(v, ptr::null(), ptr::null(), &raw mut place)),
        ("client", distkv_client_open_v(v, c"a:1".as_ptr(), ptr::null(), ptr::null_mut())),
        ("client", distkv_client_put(ptr::null(), key, key, ptr::null(), ptr::null_mut())),
        ("client", distkv_client_delete(ptr::null(), key, ptr::null(), ptr::null_mut())),
        ("client", distkv_client_close(ptr::null())),
        (
            "client",
            distkv_client_get(
                ptr::null(),
                key,
                ptr::null(),
                ptr::null_mut(),
                &raw mut value,
                ptr::null_mut(),
            ),
        ),
        (
            "value",
            distkv_client_get(
                client,
                key,
                ptr::null(),
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
            ),
        ),
    ] {
        assert_eq!(
            outcome(error),
            (DISTKV_INVALID_ARGUMENT, format!("argument is null argument=`{name}`"))
        );
    }
    distkv_client_free(client);
    distkv_client_free(ptr::null_mut());
    distkv_node_free(node);
    distkv_node_free(ptr::null_mut());
}

#[test]
fn a_closed_handle_answers_closed() {
    let (node, client) = node_and_client();
    let key = slice(b"k");
    for _ in 0..2 {
        assert_eq!(code(distkv_client_close(client)), DISTKV_OK);
    }
    let mut value = ptr::null_mut();
    for error in [
        distkv_client_put(client, key, key, ptr::null(), ptr::null_mut()),
        distkv_client_delete(client, key, ptr::null(), ptr::null_mut()),
        distkv_client_get(
            client,
            key,
            ptr::null(),
            ptr::null_mut(),
            &raw mut value,
            ptr::null_mut(),
        ),
    ] {
        assert_eq!(code(error), DISTKV_CLOSED);
    }

    for _ in 0..2 {
        assert_eq!(code(distkv_node_close(node)), DISTKV_OK);
    }
    let mut text = ptr::null();
    let mut another = ptr::null_mut();
    for error in [
        distkv_node_id(node, &raw mut text),
        distkv_node_cluster(node, &raw mut text),
        distkv_node_address(node, &raw mut text),
        distkv_node_client(node, &raw mut another),
    ] {
        assert_eq!(code(error), DISTKV_CLOSED);
    }
    assert!(text.is_null() && another.is_null());
    distkv_client_free(client);
    distkv_node_free(node);
}

#[test]
fn a_node_tells_who_it_is() {
    let (node, client) = node_and_client();
    let text =
        |tell: extern "C" fn(*const distkv_node, *mut *const c_char) -> *mut distkv_error| {
            let mut text = ptr::null();
            assert_eq!(code(tell(node, &raw mut text)), DISTKV_OK);
            // SAFETY: it belongs to the node, which is freed below.
            unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
        };
    assert_eq!(text(distkv_node_id).len(), 16);
    assert_eq!(text(distkv_node_cluster).len(), 32);
    assert!(text(distkv_node_address).starts_with("127.0.0.1:"));
    distkv_client_free(client);
    distkv_node_free(node);
}

#[test]
fn a_program_from_the_future_is_refused() {
    let future = DISTKV_API_VERSION + 1;
    let mut node = ptr::null_mut();
    let mut client = ptr::null_mut();
    assert_eq!(code(distkv_node_open_v(future, ptr::null(), &raw mut node)), DISTKV_UNSUPPORTED);
    let endpoints = c"127.0.0.1:1".as_ptr();
    assert_eq!(
        code(distkv_client_open_v(future, endpoints, ptr::null(), &raw mut client)),
        DISTKV_UNSUPPORTED
    );
    assert!(node.is_null() && client.is_null());
}

#[test]
fn endpoints_must_parse() {
    let mut client = ptr::null_mut();
    let opened =
        distkv_client_open_v(DISTKV_API_VERSION, c"nowhere".as_ptr(), ptr::null(), &raw mut client);
    let (code, message) = outcome(opened);
    assert_eq!(code, DISTKV_INVALID_ARGUMENT);
    assert!(message.contains("address=`nowhere`"), "{message}");
}
