//! Tasks of this repository that want a program rather than a script: `cargo run -p xtask -- TASK`.
//!
//! There is one: `header [--check]` writes `include/distkv.h` from the Rust code of the C binding,
//! or says whether the committed one is what it would write.

mod header;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo run -p xtask -- header [--check]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let done = match arguments.as_slice() {
        ["header"] => header::write(&root),
        ["header", "--check"] => header::check(&root),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Where not even this can be written, the exit code still tells.
            drop(writeln!(std::io::stderr(), "{message}"));
            ExitCode::FAILURE
        }
    }
}
