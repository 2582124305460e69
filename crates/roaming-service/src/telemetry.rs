//! Logs: one JSON object a line for machines, or coloured lines for people, on standard error.

use std::error::Error;
use std::fmt::Write as _;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::Settings;
use crate::config::table::{LOG, LOG_FORMAT};

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for log collectors.
    Json,
    /// A line for people.
    Human,
}

/// Starts logging as a program is configured.
///
/// # Errors
/// See [`init`].
pub fn start(settings: &Settings) -> Result<(), TelemetryError> {
    let format = match settings.text(&LOG_FORMAT) {
        "human" => LogFormat::Human,
        _ => LogFormat::Json,
    };
    init(format, settings.text(&LOG))
}

/// Starts logging for the whole process; call it once, first thing in `main`.
///
/// # Errors
/// Fails where `filter` cannot be read, or logging was started before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
    }
    .map_err(TelemetryError::Started)
}

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error(
        "log filter `{filter}` cannot be read; use a level such as `info`, or `target=level,…` (--log, ROAMING_LOG)"
    )]
    Filter {
        /// The filter as given.
        filter: String,
        /// Where it breaks.
        source: ParseError,
    },
    /// Something else started logging first.
    #[error("logging was started twice in one process")]
    Started(#[source] TryInitError),
}

/// Returns an error with all its sources on one line, for a log field or a last message.
///
/// A source whose text the line ends with already is left out: some libraries repeat it.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !line.ends_with(&text) {
            let _ = write!(line, ": {text}");
        }
        source = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the store refused the checkpoint")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("disk full")]
    struct Inner;

    #[test]
    fn a_chain_names_every_source_once() {
        assert_eq!(chain(&Outer(Inner)), "the store refused the checkpoint: disk full");
        assert_eq!(chain(&Inner), "disk full");
    }

    #[test]
    fn a_wrong_filter_says_what_a_right_one_is() {
        let error = init(LogFormat::Json, "info=verbose=more").expect_err("no filter");
        assert!(error.to_string().contains("use a level such as `info`"), "{error}");
    }
}
