//! Turns `proto/` into Rust, without a system `protoc`.
#![allow(clippy::print_stdout)] // it is how a build script talks to cargo

use std::error::Error;
use std::path::Path;

const FILES: [&str; 3] = ["distkv/v1/kv.proto", "distkv/v1/cluster.proto", "distkv/v1/peer.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("..").join("proto");
    println!("cargo:rerun-if-changed=build.rs");
    for file in FILES {
        println!("cargo:rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(FILES, [&root])?;
    // `Bytes` are slices of the buffer that was received: a value is not copied on its way in.
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
