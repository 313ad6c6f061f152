//! The client commands, as a person types them.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::binary::binary;
use crate::patience::eventually;

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

/// Runs `distkv` with these arguments.
///
/// # Panics
/// If it cannot be run, or does not end.
#[track_caller]
pub fn distkv(arguments: &[&str]) -> Ran {
    distkv_with(arguments, Vec::new())
}

/// Runs `distkv` with these arguments and this on its stdin.
///
/// # Panics
/// If it cannot be run, or does not end.
#[track_caller]
pub fn distkv_with(arguments: &[&str], stdin: Vec<u8>) -> Ran {
    let child = Command::new(binary())
        .args(arguments)
        .env_remove("DISTKV_ENDPOINTS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut running = Running(child.expect("the program under test runs"));
    let mut pipe = running.0.stdin.take().unwrap();
    // A program that does not read to the end closes its side, and that is its right.
    let feed = thread::spawn(move || drop(pipe.write_all(&stdin)));
    let stdout = read(running.0.stdout.take().unwrap());
    let stderr = read(running.0.stderr.take().unwrap());
    // Every client command has a timeout of its own, so this one is for defects.
    let status = eventually(Duration::from_secs(60), &format!("{arguments:?} to end"), || {
        running.0.try_wait().unwrap().ok_or("it is still running")
    });
    feed.join().unwrap();
    Ran { code: status.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// A command that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn read(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
