//! What the linker must know of the shared library.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // The name that programs remember: it changes only when the ABI breaks.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libdistkv.so.0");
        // The library's threads may still be on their way out when a host calls dlclose: never unmap
        // the code under them.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
