//! Bytes and text on their way in, which are borrowed, and on their way out, which are owned.
#![allow(unsafe_code, reason = "the place where the caller's bytes are read")]

use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::{ptr, slice};

use kvcore::api::{Bytes, Error, Kind, Result};

use crate::{guard, handles};

/// Bytes that belong to the caller. The library reads them during the call and keeps no pointer to
/// them. A length of 0 is an empty value, whatever the pointer, which may be NULL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct distkv_slice {
    /// The first byte.
    pub data: *const u8,
    /// How many bytes there are.
    pub len: usize,
}

/// Bytes that the library gave to the caller, who frees them with distkv_bytes_free. They never
/// change and live on when the client or node they came from is closed or freed.
pub struct distkv_bytes(pub(crate) Bytes);

/// The bytes of a NUL-terminated text, without the NUL, borrowed from it. NULL makes an empty slice.
/// Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_slice_text(text: *const c_char) -> distkv_slice {
    guard::answer(distkv_slice { data: ptr::null(), len: 0 }, || distkv_slice {
        data: text.cast(),
        len: terminated(text).map_or(0, |text| text.to_bytes().len()),
    })
}

/// The first of the bytes; valid until they are freed. NULL if `bytes` is NULL; not to be read if
/// there are none. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_bytes_data(bytes: *const distkv_bytes) -> *const u8 {
    guard::answer(ptr::null(), || {
        handles::look_if_any(bytes, |bytes| bytes.map_or(ptr::null(), |bytes| bytes.0.as_ptr()))
    })
}

/// How many bytes there are; 0 if `bytes` is NULL. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_bytes_len(bytes: *const distkv_bytes) -> usize {
    guard::answer(0, || handles::look_if_any(bytes, |bytes| bytes.map_or(0, |bytes| bytes.0.len())))
}

/// Frees bytes. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_bytes_free(bytes: *mut distkv_bytes) {
    guard::answer((), || drop(handles::take_back(bytes)));
}

/// A copy of the caller's bytes, of which there may be `most`. The length is judged before the bytes
/// are touched: one that is out of all proportion is told, not followed.
///
/// # Errors
/// `InvalidArgument` naming a null pointer with a length; `TooLarge`.
pub(crate) fn copy(from: distkv_slice, name: &'static str, most: usize) -> Result<Bytes> {
    if from.len == 0 {
        return Ok(Bytes::new());
    }
    if from.len > most {
        return Err(Error::new(Kind::TooLarge, format!("{name} is too large"))
            .with("bytes", from.len)
            .with("limit", most));
    }
    if from.data.is_null() {
        return Err(handles::null(name).with("len", from.len));
    }
    // SAFETY: not null, and by contract that many readable bytes, which nobody changes during the
    // call; far fewer than isize::MAX of them.
    Ok(Bytes::copy_from_slice(unsafe { slice::from_raw_parts(from.data, from.len) }))
}

/// A copy of the caller's NUL-terminated text.
///
/// # Errors
/// `InvalidArgument` naming a null pointer or a text that is not UTF-8.
pub(crate) fn text(from: *const c_char, name: &'static str) -> Result<String> {
    let bytes = terminated(from).ok_or_else(|| handles::null(name))?;
    bytes.to_str().map(str::to_owned).map_err(|error| {
        Error::new(Kind::InvalidArgument, "text is not UTF-8").with("argument", name).because(error)
    })
}

/// A copy of the caller's NUL-terminated text, which may be left out by a null pointer.
///
/// # Errors
/// `InvalidArgument` naming a text that is not UTF-8.
pub(crate) fn text_if_any(from: *const c_char, name: &'static str) -> Result<Option<String>> {
    if from.is_null() { Ok(None) } else { text(from, name).map(Some) }
}

/// A copy of the caller's NUL-terminated path, which may be any bytes.
///
/// # Errors
/// `InvalidArgument` naming a null pointer.
pub(crate) fn path(from: *const c_char, name: &'static str) -> Result<PathBuf> {
    let bytes = terminated(from).ok_or_else(|| handles::null(name))?;
    Ok(PathBuf::from(OsStr::from_bytes(bytes.to_bytes())))
}

/// Text for C to read. It cannot hold a NUL, so a NUL in it is replaced.
pub(crate) fn for_c(text: String) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

fn terminated<'a>(from: *const c_char) -> Option<&'a CStr> {
    // SAFETY: not null, and by contract NUL-terminated and left alone during the call, which no one
    // here outlasts with what is borrowed.
    (!from.is_null()).then(|| unsafe { CStr::from_ptr(from) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_slice_may_be_null_and_no_other() {
        assert_eq!(
            copy(distkv_slice { data: ptr::null(), len: 0 }, "value", 8).unwrap(),
            Bytes::new()
        );
        let error = copy(distkv_slice { data: ptr::null(), len: 3 }, "value", 8).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert_eq!(error.message(), "argument is null argument=`value` len=`3`");
    }

    #[test]
    fn a_length_above_the_limit_is_not_followed() {
        let huge = distkv_slice { data: b"k".as_ptr(), len: usize::MAX };
        let error = copy(huge, "key", 8).unwrap_err();
        assert_eq!(error.kind(), Kind::TooLarge);
        assert_eq!(error.message(), "key is too large bytes=`18446744073709551615` limit=`8`");
    }

    #[test]
    fn text_goes_in_and_out() {
        let slice = distkv_slice_text(c"city".as_ptr());
        assert_eq!(copy(slice, "key", 8).unwrap(), "city");
        assert_eq!(distkv_slice_text(ptr::null()).len, 0);
        assert_eq!(text(c"city".as_ptr(), "zone").unwrap(), "city");
        assert_eq!(text(c"\xff".as_ptr(), "zone").unwrap_err().kind(), Kind::InvalidArgument);
        assert_eq!(text_if_any(c"city".as_ptr(), "with").unwrap().as_deref(), Some("city"));
        assert_eq!(text_if_any(ptr::null(), "with").unwrap(), None);
        assert!(text_if_any(c"\xff".as_ptr(), "with").is_err());
        assert_eq!(path(c"/\xff".as_ptr(), "data_dir").unwrap().as_os_str().as_bytes(), b"/\xff");
        assert_eq!(for_c("a\0b".into()).to_str().unwrap(), "a\u{fffd}b");
    }

    #[test]
    fn owned_bytes_are_read_and_freed() {
        let bytes = handles::give(distkv_bytes(Bytes::from_static(b"Vienna")));
        assert_eq!(distkv_bytes_len(bytes), 6);
        let again = distkv_slice { data: distkv_bytes_data(bytes), len: distkv_bytes_len(bytes) };
        assert_eq!(copy(again, "value", 8).unwrap(), "Vienna");
        distkv_bytes_free(bytes);
        distkv_bytes_free(ptr::null_mut());
        assert_eq!(distkv_bytes_len(ptr::null()), 0);
        assert!(distkv_bytes_data(ptr::null()).is_null());
    }
}
