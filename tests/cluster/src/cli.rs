//! The client commands, as a person types them.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use crate::binary::binary;

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Ran {
    /// What it wrote to stdout, if it succeeded.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Checks that it was refused: exit code 1, nothing on stdout, the kind, and a message with each
    /// of these words.
    ///
    /// # Panics
    /// If it was not.
    #[track_caller]
    pub fn assert_refused(&self, kind: &str, words: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{self:?}");
        assert!(self.stderr.starts_with(&format!("error: {kind}: ")), "expected {kind}: {self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "expected {word} in: {}", self.stderr);
        }
    }
}

/// Runs `distkv` with these arguments. Every command ends by its own `--timeout`, 5 s by default.
///
/// # Panics
/// If it cannot be run.
pub fn distkv(arguments: &[&str]) -> Ran {
    distkv_with(arguments, Vec::new())
}

/// Runs `distkv` with these arguments and this on its stdin.
///
/// # Panics
/// If it cannot be run.
pub fn distkv_with(arguments: &[&str], stdin: Vec<u8>) -> Ran {
    let mut child = Command::new(binary())
        .args(arguments)
        .env_remove("DISTKV_ENDPOINTS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program under test runs");
    let mut pipe = child.stdin.take().unwrap();
    // A program that does not read to the end closes its side, and that is its right.
    let feed = thread::spawn(move || drop(pipe.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
