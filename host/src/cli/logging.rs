//! The host's own log lines: to standard error, as the configuration says.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::error::{Exit, Explain, Failure, Result};
use crate::config::{Log, LogFormat};
use crate::engine::QUIET;

/// The filter for a `log.level`. Whoever wants what guests make libraries say names the
/// target, which counts more.
fn directives(level: &str) -> String {
    format!("{QUIET},{level}")
}

/// Starts logging for this process.
///
/// # Errors
/// `log.level` is no level and no filter.
pub(crate) fn start(log: &Log) -> Result<()> {
    let filter = EnvFilter::builder().parse(directives(&log.level)).exit(Exit::Configuration);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_cannot_fill_the_hosts_log_and_who_asks_for_it_sees_it() {
        let filter = |level: &str| EnvFilter::builder().parse(directives(level)).unwrap().to_string();
        let has = |level: &str, directive: &str| filter(level).split(',').any(|one| one == directive);
        for quiet in QUIET.split(',') {
            assert!(has("info", "info") && has("info", quiet), "{}", filter("info"));
            let target = quiet.strip_suffix("=error").unwrap();
            let loud = format!("{target}=debug");
            let asked = format!("info,{loud}");
            assert!(has(&asked, &loud) && !has(&asked, quiet), "{}", filter(&asked));
        }
        assert!(EnvFilter::builder().parse(directives("loud=loudest")).is_err());
    }
}
