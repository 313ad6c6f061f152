//! The one way to wait, and the one way to see that nothing happens.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// Asks until the answer is `Ok`, and returns what is in it.
///
/// # Panics
/// When `patience` is over; the message says what was waited for and the last answer.
#[track_caller]
pub fn eventually<T, E: Display>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<T, E>,
) -> T {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(last) if begun.elapsed() >= patience => {
                panic!("waited {:.1?} for {what}; last seen: {last}", begun.elapsed())
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Asks again and again for that long: every answer must be `Ok`. For what must not happen, and could at any
/// moment: the time is part of the claim.
///
/// # Panics
/// At the first answer that is not; the message says when, what was claimed and the answer.
#[track_caller]
pub fn throughout<E: Display>(span: Duration, what: &str, mut ask: impl FnMut() -> Result<(), E>) {
    let begun = Instant::now();
    while begun.elapsed() < span {
        if let Err(seen) = ask() {
            panic!("{what} no longer after {:.1?} of {span:?}; seen: {seen}", begun.elapsed())
        }
        thread::sleep(Duration::from_millis(20));
    }
}
