//! The one way to wait.

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
