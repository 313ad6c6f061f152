//! Trying again until an answer or the deadline comes.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::types::{Error, Kind, Result};

/// The longest one attempt waits. A node that hangs without losing its link is given up after that.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long a full disk is no answer yet: the node that has it hands over what it leads.
const FULL: Duration = Duration::from_secs(1);
/// The longest a call takes, whatever its caller asks for: as long as a node lets a request wait.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes attempts until one succeeds, fails for good, or the time is up. Each is told how long it may
/// take.
pub(super) async fn until<T, F>(
    timeout: Duration,
    seed: u64,
    mut attempt: impl FnMut(Duration) -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let timeout = timeout.min(LONGEST);
    let began = Instant::now();
    let deadline = began + timeout;
    let mut delays = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(5))
        .with_max_delay(Duration::from_millis(200))
        .with_jitter()
        .with_jitter_seed(seed)
        .without_max_times()
        .build();
    let mut maybe_applied = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let error = match attempt(left.min(ATTEMPT)).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        maybe_applied |= error.kind() == Kind::Timeout;
        let full = error.kind() == Kind::StorageFull && began.elapsed() < FULL;
        if !again(error.kind()) && !full {
            return Err(honest(error, maybe_applied));
        }
        let delay = delays.next().unwrap_or(ATTEMPT);
        if Instant::now() + delay >= deadline {
            return Err(honest(error.with("timeout_ms", timeout.as_millis()), maybe_applied));
        }
        tokio::time::sleep(delay).await;
    }
}

/// Attempts that are made at most while others come in between.
const CONFLICTS: usize = 1000;

/// The pauses between attempts that met a conflict: longer and longer, not alike for all callers, and
/// bounded in number and time.
pub(super) struct Pauses {
    deadline: Instant,
    delays: ExponentialBackoff,
}

impl Pauses {
    pub(super) fn new(timeout: Duration, seed: u64) -> Pauses {
        let delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(1))
            .with_max_delay(Duration::from_millis(100))
            .with_jitter()
            .with_jitter_seed(seed)
            .with_max_times(CONFLICTS)
            .build();
        Pauses { deadline: Instant::now() + timeout.min(LONGEST), delays }
    }

    /// How long the next attempt may take.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Pauses after an attempt.
    ///
    /// # Errors
    /// What the attempt met, if it was no conflict or there are to be no more.
    pub(super) async fn after(&mut self, error: Error) -> Result<()> {
        match self.delays.next() {
            Some(delay) if error.kind() == Kind::Conflict && delay < self.left() => {
                tokio::time::sleep(delay).await;
                Ok(())
            }
            _ => Err(error),
        }
    }
}

fn again(kind: Kind) -> bool {
    matches!(kind, Kind::Unavailable | Kind::Timeout | Kind::Overloaded)
}

/// An attempt that said "not applied" speaks only for itself: if an earlier one may have been applied,
/// the call may have been. A verdict of the partition itself does speak for all of them.
fn honest(error: Error, maybe_applied: bool) -> Error {
    let of_the_partition = matches!(error.kind(), Kind::Conflict | Kind::SessionExpired);
    match maybe_applied && !of_the_partition && !error.kind().maybe_applied() {
        true => error.into_kind(Kind::Timeout),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcomes(kinds: &[Option<Kind>]) -> Result<usize> {
        let mut made = 0;
        until(Duration::from_secs(5), 1, |_| {
            let kind = kinds.get(made).copied().flatten();
            made += 1;
            let made = made;
            async move { kind.map_or(Ok(made), |kind| Err(Error::new(kind, "no"))) }
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn conflicts_are_tried_again_within_bounds() {
        let met = async |kind: Kind, pauses: &mut Pauses| {
            let mut attempts = 1;
            while pauses.after(Error::new(kind, "no")).await.is_ok() {
                attempts += 1;
            }
            attempts
        };
        let mut long = Pauses::new(Duration::from_secs(3600), 1);
        assert_eq!(met(Kind::Conflict, &mut long).await, CONFLICTS + 1);
        let mut short = Pauses::new(Duration::from_millis(500), 1);
        assert!((5..20).contains(&met(Kind::Conflict, &mut short).await));
        assert_eq!(met(Kind::Timeout, &mut Pauses::new(Duration::from_secs(3600), 1)).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn tries_again_what_may_be_better_later() {
        let kinds = [Some(Kind::Unavailable), Some(Kind::Overloaded), Some(Kind::Timeout), None];
        assert_eq!(outcomes(&kinds).await.unwrap(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_at_once_on_what_will_not_change() {
        let error = outcomes(&[Some(Kind::TooLarge), None]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::TooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_is_an_answer_once_others_could_have_taken_over() {
        assert_eq!(outcomes(&[Some(Kind::StorageFull), None]).await.unwrap(), 2);
        let began = Instant::now();
        let error = outcomes(&[Some(Kind::StorageFull); 10_000]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::StorageFull);
        assert!(began.elapsed() >= FULL && began.elapsed() < FULL * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_holds() {
        let before = Instant::now();
        let error = outcomes(&[Some(Kind::Unavailable); 10_000]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(before.elapsed() <= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_outcome_stays_unknown() {
        let mut kinds = [Some(Kind::Unavailable); 10_000];
        kinds[0] = Some(Kind::Timeout);
        assert_eq!(outcomes(&kinds).await.unwrap_err().kind(), Kind::Timeout);
        for kind in Kind::ALL.iter().copied().filter(|kind| !again(*kind)) {
            let mut kinds = [Some(kind); 10_000];
            kinds[0] = Some(Kind::Timeout);
            let told = outcomes(&kinds).await.unwrap_err().kind();
            let verdict = matches!(kind, Kind::Conflict | Kind::SessionExpired);
            assert!(told == kind && verdict || told.maybe_applied(), "{kind} told as {told}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_timeout_is_a_long_one() {
        let attempt = |left| async move { Ok(left) };
        assert_eq!(until(Duration::MAX, 1, attempt).await.unwrap(), ATTEMPT);
        let attempt = |_| async { Err::<(), _>(Error::new(Kind::Unavailable, "no")) };
        let before = Instant::now();
        until(Duration::MAX, 1, attempt).await.unwrap_err();
        assert!(before.elapsed() > LONGEST - ATTEMPT && before.elapsed() <= LONGEST);
    }
}
