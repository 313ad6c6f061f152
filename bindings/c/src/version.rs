//! Which library this is, and which ABI it speaks.
#![allow(unsafe_code, reason = "exports are `no_mangle`")]

use std::ffi::c_char;

use kvcore::api::{Error, Kind, Result};

/// The version of the ABI this header describes: +1 whenever something is added. The macros
/// distkv_node_open and distkv_client_open pass it on, so that a library older than the header
/// answers DISTKV_UNSUPPORTED instead of doing something else than was meant.
pub const DISTKV_API_VERSION: u32 = 1;

/// The version of the library, such as "0.1.0". Static text: valid for ever, not to be freed. This
/// function will never change. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Refuses a program compiled against an ABI that this library does not have.
pub(crate) fn check(asked: u32) -> Result<()> {
    if (1..=DISTKV_API_VERSION).contains(&asked) {
        return Ok(());
    }
    Err(Error::new(Kind::Unsupported, "the program needs another version of the library")
        .with("asked", asked)
        .with("supported", DISTKV_API_VERSION)
        .with("library", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_that_exist_are_accepted() {
        assert!(check(DISTKV_API_VERSION).is_ok());
        for wrong in [0, DISTKV_API_VERSION + 1, u32::MAX] {
            assert_eq!(check(wrong).unwrap_err().kind(), Kind::Unsupported);
        }
    }

    #[test]
    fn the_library_has_the_version_of_its_core() {
        assert_eq!(env!("CARGO_PKG_VERSION"), kvcore::api::VERSION);
    }
}
