//! Logs: one JSON object a line for machines, or coloured lines for people, on standard error.

use std::error::Error;
use std::fmt::Write as _;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::Settings;
use crate::config::table::{LOG, LOG_FORMAT};

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogFormat {
    /// One JSON object a line, for log collectors.
    Json,
    /// A line for people.
    Human,
}

/// Who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Whoever looks after a daemon: all that the level lets pass.
    Operator,
    /// Who has typed a command, and gets one line that says why it failed. What the Kafka library says on
    /// the way would bury it, and is shown at level `debug` only.
    Caller,
}

/// Starts logging for the whole process, as a program is configured; call it once, first thing in `main`.
///
/// # Errors
/// Fails where the filter cannot be read, or logging was started before.
pub fn start(settings: &Settings, reader: Reader) -> Result<(), TelemetryError> {
    let format = match settings.text(&LOG_FORMAT) {
        "human" => LogFormat::Human,
        _ => LogFormat::Json,
    };
    init(format, filter(settings.text(&LOG), reader)?)
}

fn filter(text: &str, reader: Reader) -> Result<EnvFilter, TelemetryError> {
    let filter = EnvFilter::try_new(text)
        .map_err(|source| TelemetryError::Filter { filter: text.to_owned(), source })?;
    let is_debug = filter.max_level_hint().is_none_or(|level| level >= LevelFilter::DEBUG);
    Ok(match reader {
        Reader::Caller if !is_debug => {
            filter.add_directive("librdkafka=off".parse().expect("a directive"))
        }
        _ => filter,
    })
}

fn init(format: LogFormat, filter: EnvFilter) -> Result<(), TelemetryError> {
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
    fn who_types_a_command_sees_the_library_at_debug_only() {
        let shows_library = |text, reader| {
            let filter = filter(text, reader).expect("a filter").to_string();
            !filter.split(',').any(|directive| directive == "librdkafka=off")
        };
        assert!(shows_library("info", Reader::Operator));
        assert!(!shows_library("info", Reader::Caller));
        assert!(!shows_library("off", Reader::Caller));
        assert!(shows_library("debug", Reader::Caller));
        assert!(shows_library("warn,librdkafka=debug", Reader::Caller));
    }

    #[test]
    fn a_wrong_filter_says_what_a_right_one_is() {
        let error = filter("info=verbose=more", Reader::Operator).expect_err("no filter");
        assert!(error.to_string().contains("use a level such as `info`"), "{error}");
    }
}
