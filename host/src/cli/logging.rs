//! The host's own log lines: to standard error, as the configuration says.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::error::{Exit, Explain, Failure, Result};
use crate::config::{Log, LogFormat};

/// Starts logging for this process.
///
/// # Errors
/// `log.level` is no level and no filter.
pub(crate) fn start(log: &Log) -> Result<()> {
    let filter = EnvFilter::builder().parse(&log.level).exit(Exit::Configuration);
    let filter = filter.context(format!("log.level is {:?}", log.level));
    let filter = filter
        .hint("use error, warn, info, debug or trace, or a filter such as info,tidegate::engine=debug")?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            let colours =
                !matches!(anstream::AutoStream::choice(&std::io::stderr()), anstream::ColorChoice::Never);
            lines.with_ansi(colours && std::io::stderr().is_terminal()).try_init()
        }
    };
    started.map_err(|error| Failure::new(format!("logging cannot be started: {error}")))
}
