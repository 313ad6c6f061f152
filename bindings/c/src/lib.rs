//! The C ABI: `libdistkv.so`, `libdistkv.a` and, generated from here, `include/distkv.h`.
//!
//! Every export does the same four things. It steps through the [`guard`], which turns a panic into
//! an error; it has [`handles`] and [`bytes`] turn the caller's raw pointers into Rust values, or into
//! an error that names the null one; it calls `kvcore::api`; and it gives the result back through an
//! output argument, with null for success. Exports hold no logic of their own: what a verb means is
//! decided in the core, once for all languages.
//!
//! A handle is a slot ([`handles::Slot`]) that knows the process it was made in and is emptied by
//! `close`. So a call on a closed handle finds nothing and answers `Closed`, a call in a forked child
//! answers `Forked` before it touches a lock that a lost thread may hold, and a call under way while
//! another thread closes keeps what it works on alive until it ends.
//!
//! Raw pointers are followed in `guard`, `handles` and `bytes`, nowhere else; the other files only
//! pass them there. They are allowed `unsafe_code` for the attribute `no_mangle`, which Rust counts as
//! unsafe; `tests/fence.rs` sees to it that this is all they use it for.
//!
//! The doc comments of the exports are the header's: they speak to somebody who writes C.
//! `macros.h` is copied into it: what a header needs and Rust cannot say.
#![allow(non_camel_case_types, reason = "types that C sees have the names C knows them by")]

mod guard;
mod handles;

// In the order in which the header is to be read; the blank lines keep it.
pub mod version;

pub mod error;

pub mod bytes;

pub mod options;

pub mod node;

pub mod client;

pub mod administration;
