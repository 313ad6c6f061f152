use std::ffi::CStr;
use std::ptr;

use kvcore::api::Kind;

use super::*;

#[test]
fn every_kind_reads_back_as_it_is() {
    for kind in Kind::ALL {
        let error = handles::give(distkv_error::new(Error::new(*kind, "on purpose")));
        assert_eq!(distkv_error_code(error) as u32, kind.code());
        assert_eq!(distkv_error_retryable(error), kind.retryable());
        assert_eq!(distkv_error_maybe_applied(error), kind.maybe_applied());
        assert_eq!(distkv_error_revision(error), 0);
        distkv_error_free(error);
    }
}

#[test]
fn a_conflict_carries_its_revision_and_a_message_its_cause() {
    let error = Error::new(Kind::Conflict, "the revision differs")
        .with("key", "a\0b")
        .at_revision(41)
        .because("underneath");
    let error = handles::give(distkv_error::new(error));
    assert_eq!(distkv_error_revision(error), 41);
    assert_eq!(message(error), "the revision differs key=`a\u{fffd}b`: underneath");
    distkv_error_free(error);
}

#[test]
fn no_error_reads_as_success() {
    let none = ptr::null_mut();
    assert_eq!(distkv_error_code(none), DISTKV_OK);
    assert!(!distkv_error_retryable(none));
    assert!(!distkv_error_maybe_applied(none));
    assert_eq!(distkv_error_revision(none), 0);
    assert_eq!(message(none), "");
    distkv_error_free(none);
}

fn message(error: *const distkv_error) -> String {
    // SAFETY: NUL-terminated, and copied before the error is freed.
    unsafe { CStr::from_ptr(distkv_error_message(error)) }.to_str().unwrap().to_owned()
}
