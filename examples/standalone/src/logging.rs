//! Where the library's events go: to stderr, as lines, as far as `DISTKV_LOG` lets them.

use kvcore::api::{Error, Kind, Result};
use tracing_subscriber::EnvFilter;

/// The variable that says which events are shown, as in `DISTKV_LOG=debug` or
/// `DISTKV_LOG=warn,kvcore::node=trace`.
const VARIABLE: &str = "DISTKV_LOG";

/// Shows events on stderr from now on: those that `DISTKV_LOG` names, or else those of `default`.
///
/// # Errors
/// `InvalidArgument` if `DISTKV_LOG` does not parse.
pub fn begin(default: &str) -> Result<()> {
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    let wanted = if wanted.is_empty() { default } else { &wanted };
    let filter = EnvFilter::try_new(wanted).map_err(|error| {
        Error::new(Kind::InvalidArgument, "log filter does not parse")
            .with("variable", VARIABLE)
            .with("value", wanted)
            .because(error)
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init()
        .map_err(|error| Error::internal("the log cannot be set up").because(error))
}
