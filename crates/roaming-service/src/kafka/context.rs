//! What the client library says: into the log, without saying it twice a minute.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, error, info, warn};

use super::KnownBrokers;

/// How OpenSSL begins to tell of an alert that the other side has sent (RFC 8446, clause 6.2).
const TLS_ALERT: &str = "SSL alert number";
/// How long a line that was logged is not logged again. While no broker answers, the library says so about
/// twenty times a second.
const REPEAT_INTERVAL: Duration = Duration::from_mins(1);
/// Lines that are remembered. Where so many different ones came within the interval, further ones are
/// logged however often they come.
const LINES_MAX: usize = 100;

/// A client context that sends what the library says to `tracing`; for clients without callbacks.
///
/// It keeps why a broker and the client do not accept each other: an operation fails with a time-out then,
/// and only the library's own error tells more.
#[derive(Debug, Default)]
pub struct LogContext {
    refusal: Mutex<Option<String>>,
    brokers: Arc<KnownBrokers>,
}

impl LogContext {
    /// Returns why a broker and the client do not accept each other, where they do not.
    pub fn refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns which brokers the client knows; it goes on to be told.
    pub const fn brokers(&self) -> &Arc<KnownBrokers> {
        &self.brokers
    }
}

impl ClientContext for LogContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_library_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        // With TLS 1.3 a broker refuses a certificate after the handshake: for the library that is a lost
        // connection like any other, and only its text has the alert.
        let is_alert = code == Some(Code::BrokerTransportFailure) && reason.contains(TLS_ALERT);
        let is_refusal =
            matches!(code, Some(Code::SSL | Code::Authentication | Code::SaslAuthenticationFailed));
        if is_alert || is_refusal {
            let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
            *refusal = Some(reason.to_owned());
        }
        log_library_error(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.brokers.read(statistics);
    }
}

impl ConsumerContext for LogContext {}

/// Logs one line of the client library; contexts with callbacks of their own call it.
///
/// Errors of the library are warnings here: it reconnects by itself, and what it cannot mend comes back
/// as an error of an operation.
pub fn log_library_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    // Remarks about settings (CONFWARN) repeat with every client; each of ours is meant. A lost
    // connection (FAIL) comes as an error too, see `log_library_error`.
    let is_told_enough = matches!(facility, "CONFWARN" | "FAIL");
    if is_told_enough || matches!(level, RDKafkaLogLevel::Debug) {
        debug!(target: "librdkafka", facility, "{message}");
        return;
    }
    let Some(repeated) = admit(message) else { return };
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            error!(target: "librdkafka", facility, repeated, "{message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            warn!(target: "librdkafka", facility, repeated, "{message}");
        }
        _ => info!(target: "librdkafka", facility, repeated, "{message}"),
    }
}

/// Logs an error that concerns a whole client; contexts with callbacks of their own call it.
///
/// The end of a partition comes this way too; it is no error, but what a reader asked for.
pub fn log_library_error(error: &KafkaError, reason: &str) {
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
        return;
    }
    let Some(repeated) = admit(reason) else { return };
    warn!(target: "librdkafka", error = crate::telemetry::chain(error), repeated, "{reason}");
}

/// Asks [`Repeats`] for the whole process: each question for metadata has a client of its own.
fn admit(line: &str) -> Option<u64> {
    static REPEATS: Mutex<Repeats> = Mutex::new(Repeats(BTreeMap::new()));
    REPEATS.lock().unwrap_or_else(PoisonError::into_inner).admit(line, Instant::now())
}

/// The lines of the last while: when each was logged, and how often it came since.
struct Repeats(BTreeMap<String, (Instant, u64)>);

impl Repeats {
    /// Returns how often a line was left out since it was logged last, or `None` where it is to be left out.
    fn admit(&mut self, line: &str, now: Instant) -> Option<u64> {
        // Behind the bracket stands how long it took, and the like.
        let line = line.split(" (").next().unwrap_or(line);
        if let Some((logged, left_out)) = self.0.get_mut(line) {
            if now.duration_since(*logged) < REPEAT_INTERVAL {
                *left_out += 1;
                return None;
            }
            *logged = now;
            return Some(std::mem::take(left_out));
        }
        if self.0.len() >= LINES_MAX {
            self.0.retain(|_, (logged, _)| now.duration_since(*logged) < REPEAT_INTERVAL);
        }
        if self.0.len() < LINES_MAX {
            self.0.insert(line.to_owned(), (now, 0));
        }
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_repeats_comes_once_a_minute_with_its_count() {
        let (mut repeats, start) = (Repeats(BTreeMap::new()), Instant::now());
        let mut admit =
            |line: &str, seconds| repeats.admit(line, start + Duration::from_secs(seconds));
        assert_eq!(admit("no connection (after 0ms)", 0), Some(0));
        assert_eq!(admit("no connection (after 3ms)", 1), None);
        assert_eq!(admit("all are down", 1), Some(0), "another line is another matter");
        assert_eq!(admit("no connection (after 0ms)", 59), None);
        assert_eq!(admit("no connection (after 0ms)", 60), Some(2));
        assert_eq!(admit("no connection (after 0ms)", 120), Some(0));
    }

    #[test]
    fn lines_that_do_not_repeat_take_a_bounded_room() {
        let (mut repeats, now) = (Repeats(BTreeMap::new()), Instant::now());
        for number in 0..3 * LINES_MAX {
            assert_eq!(repeats.admit(&number.to_string(), now), Some(0));
        }
        assert_eq!(repeats.0.len(), LINES_MAX);
        assert_eq!(repeats.admit("later", now + REPEAT_INTERVAL), Some(0));
        assert_eq!(repeats.0.len(), 1);
    }
}
