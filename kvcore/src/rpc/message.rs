//! What goes over a link: the types made from `proto/distkv/v1`.
//!
//! A request is a variant of [`request::Body`], a reply one of [`reply::Body`]; each names its message
//! type, which says the rest. Every `bytes` field is a slice of the packet that it came in: copy it
//! before keeping it for long, or a small key keeps a large packet in memory.

pub use wire::*;

/// The names and the comments are those of the `.proto` files, which also hold the documentation.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::indexing_slicing)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/distkv.v1.rs"));
}
