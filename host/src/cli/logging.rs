//! The host's own log lines: to standard error, as the configuration says.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::error::{Exit, Explain, Failure, Result};
use crate::config::{Log, LogFormat};

/// What guests can make these say is errors of their own, as often as they like: it is in
/// their records. Whoever wants it names the target in `log.level`, which counts more.
const QUIET: &str = "wasmtime_wasi=error,wasmtime_wasi_http=error,wasmtime_wasi_io=error";

/// The filter for a `log.level`.
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
        assert!(has("info", "info") && has("info", "wasmtime_wasi_http=error"), "{}", filter("info"));
        let asked = "info,wasmtime_wasi_http=debug";
        assert!(
            has(asked, "wasmtime_wasi_http=debug") && !has(asked, "wasmtime_wasi_http=error"),
            "{}",
            filter(asked)
        );
        assert!(EnvFilter::builder().parse(directives("loud=loudest")).is_err());
    }
}
