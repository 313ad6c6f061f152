//! The cluster that a client command speaks to.

use std::time::{Duration, Instant};

use clap::Args;
use kvcore::api::{CallOptions, Client, ClientOptions, Result};

use crate::config::Seconds;
use crate::logging;

/// Which cluster, and how patiently.
#[derive(Args)]
pub struct Target {
    /// Members of the cluster, any of which is enough
    #[arg(
        long,
        env = "DISTKV_ENDPOINTS",
        value_name = "HOST:PORT,..",
        default_value = "127.0.0.1:7400"
    )]
    endpoints: String,
    /// How long the command may take; a command that waits or watches, each of its calls
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    timeout: Seconds,
}

impl Target {
    /// A client, and what is left of the time for the call.
    ///
    /// # Errors
    /// Those of [`Client::connect`]; `InvalidArgument` for a log filter that does not parse.
    pub fn connect(&self) -> Result<(Client, CallOptions)> {
        logging::begin("off")?;
        let timeout = Duration::from(self.timeout);
        let until = Instant::now() + timeout;
        let options =
            ClientOptions { timeout, connect_timeout: timeout, ..ClientOptions::default() };
        let client = Client::connect(&self.endpoints, options).wait()?;
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        Ok((client, CallOptions { timeout: Some(left), ..CallOptions::default() }))
    }
}

/// How long a command that waits or watches goes on asking while nobody answers.
const SILENCE: Duration = Duration::from_secs(60);

/// How often such a command asks.
pub const PERIOD: Duration = Duration::from_millis(500);

/// What a command hears that asks the same again and again. While nodes come, go and die one call or
/// another fails, which says nothing about what the command waits for.
pub struct Hearing {
    last: Instant,
}

impl Hearing {
    /// Begins now.
    pub fn begin() -> Hearing {
        Hearing { last: Instant::now() }
    }

    /// The answer; None for a failure after which it is worth asking again.
    ///
    /// # Errors
    /// A failure of another kind, or one when nobody has answered for a minute.
    pub fn of<T>(&mut self, answer: Result<T>) -> Result<Option<T>> {
        match answer {
            Ok(answer) => {
                self.last = Instant::now();
                Ok(Some(answer))
            }
            Err(error) if error.kind().retryable() && self.last.elapsed() < SILENCE => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use kvcore::api::{Error, Kind};

    use super::*;

    #[test]
    fn only_what_may_pass_is_not_heard() {
        let mut hearing = Hearing::begin();
        assert_eq!(hearing.of(Ok(7)).unwrap(), Some(7));
        let nobody = || Err::<u32, _>(Error::new(Kind::Unavailable, "nobody answers"));
        assert_eq!(hearing.of(nobody()).unwrap(), None);
        let unknown = Err::<u32, _>(Error::new(Kind::NotFound, "no such node"));
        assert_eq!(hearing.of(unknown).unwrap_err().kind(), Kind::NotFound);
        let Some(long_ago) = Instant::now().checked_sub(SILENCE) else { return };
        hearing.last = long_ago;
        assert_eq!(hearing.of(nobody()).unwrap_err().kind(), Kind::Unavailable);
    }
}
