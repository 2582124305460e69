//! The topic `roaming.scenarios`: the desired state of every run, and the identity of the log.
//!
//! A run's record is a stream of bytes here: its type belongs to the engine, which this crate does not
//! know.

use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::str::FromStr;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use serde::{Deserialize, Serialize};
use tracing::warn;
use uuid::Uuid;

use crate::kafka::{ClientError, KafkaSettings, LogContext, REACH_TIMEOUT};
use crate::reader::{Read, TopicReader, TopicRecord};
use crate::telemetry::chain;
use crate::topics;

/// Key of the record that holds the log's token; no run can have this name.
pub const LOG_KEY: &str = "log";

/// Identity of a log: written once when its topics are created, and stored beside every offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LogToken(Uuid);

impl LogToken {
    /// Makes a token that no other log has.
    pub fn generate() -> Self {
        // The first `RandomState` of a thread is keyed from the operating system's randomness, and each
        // further one differs from it. A token needs no more; it is no secret.
        let [high, low] = [(); 2].map(|()| RandomState::new().hash_one(std::process::id()));
        let bits = u128::from(high) << 64 | u128::from(low);
        Self(uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid())
    }
}

impl fmt::Display for LogToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<LogToken> for String {
    fn from(token: LogToken) -> Self {
        token.to_string()
    }
}

impl TryFrom<String> for LogToken {
    type Error = uuid::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for LogToken {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Value of the record under [`LOG_KEY`].
#[derive(Serialize, Deserialize)]
struct LogRecord {
    token: LogToken,
}

/// What stands on the topic, one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlEntry {
    /// The identity of the log; the last one counts.
    Token(LogToken),
    /// The desired state of a run, as the engine's `ControlRecord` in JSON; the last one of a name counts.
    Run {
        /// The run's name, which is the record's key.
        name: String,
        /// The record; `None` where the topic holds none any more.
        record: Option<Vec<u8>>,
    },
    /// All that stood there when the reader was opened has been told. Said once.
    UpToDate,
}

impl ControlEntry {
    fn key(&self) -> &str {
        match self {
            Self::Token(_) | Self::UpToDate => LOG_KEY,
            Self::Run { name, .. } => name,
        }
    }
}

/// Reads the topic from its start to its end, and follows it.
///
/// Of what stands there when it is opened, it tells the last record of each key alone, as compaction would:
/// what a run was meant to do before must not be done again for a moment.
pub struct ControlReader {
    reader: TopicReader,
    opening: Opening,
}

/// What stood on the topic when the reader was opened.
enum Opening {
    /// It is being read.
    Reading(BTreeMap<String, ControlEntry>),
    /// It is being told.
    Telling(btree_map::IntoValues<String, ControlEntry>),
    /// It was told.
    Told,
}

impl ControlReader {
    /// Opens the topic. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// As [`TopicReader::open`].
    pub async fn open(settings: &KafkaSettings) -> Result<Self, ClientError> {
        let reader = TopicReader::open(settings, topics::SCENARIOS).await?;
        Ok(Self { reader, opening: Opening::Reading(BTreeMap::new()) })
    }

    /// Returns the next entry; waits for as long as there is none. What cannot be read is logged and
    /// passed over.
    ///
    /// # Errors
    /// As [`TopicReader::next`].
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<ControlEntry, ClientError> {
        loop {
            if let Opening::Telling(entries) = &mut self.opening {
                if let Some(entry) = entries.next() {
                    return Ok(entry);
                }
                self.opening = Opening::Told;
                return Ok(ControlEntry::UpToDate);
            }
            let read = self.reader.next().await?;
            match (read, &mut self.opening) {
                (Read::End, Opening::Reading(entries)) => {
                    self.opening = Opening::Telling(mem::take(entries).into_values());
                }
                (Read::End, _) => {}
                (Read::Record(record), opening) => match (entry(record), opening) {
                    (Some(entry), Opening::Reading(entries)) => {
                        entries.insert(entry.key().to_owned(), entry);
                    }
                    (Some(entry), _) => return Ok(entry),
                    (None, _) => {}
                },
            }
        }
    }
}

fn entry(record: TopicRecord) -> Option<ControlEntry> {
    let TopicRecord { offset, key, payload, .. } = record;
    let Ok(name) = String::from_utf8(key) else {
        warn!(offset, "record of roaming.scenarios passed over: its key is no text");
        return None;
    };
    if name != LOG_KEY {
        return Some(ControlEntry::Run { name, record: payload });
    }
    match serde_json::from_slice::<LogRecord>(payload.as_deref().unwrap_or_default()) {
        Ok(record) => Some(ControlEntry::Token(record.token)),
        Err(error) => {
            warn!(offset, error = chain(&error), "token of the log passed over");
            None
        }
    }
}

/// All that stands on the topic at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlState {
    /// The identity of the log, where it has one.
    pub token: Option<LogToken>,
    /// The records of the runs, by name.
    pub runs: BTreeMap<String, Vec<u8>>,
}

/// Reads the topic to its end.
///
/// # Errors
/// As [`TopicReader::open`] and [`TopicReader::next`].
pub async fn read(settings: &KafkaSettings) -> Result<ControlState, ClientError> {
    let mut reader = ControlReader::open(settings).await?;
    let mut state = ControlState::default();
    loop {
        match reader.next().await? {
            ControlEntry::Token(token) => state.token = Some(token),
            ControlEntry::Run { name, record: Some(record) } => {
                state.runs.insert(name, record);
            }
            ControlEntry::Run { name, record: None } => {
                state.runs.remove(&name);
            }
            ControlEntry::UpToDate => return Ok(state),
        }
    }
}

/// Writes one record, and returns when the broker has acknowledged it.
///
/// # Errors
/// Fails where no broker acknowledges it within [`REACH_TIMEOUT`]; it may be written all the same.
pub async fn write(settings: &KafkaSettings, key: &str, record: &[u8]) -> Result<(), ClientError> {
    const OPERATION: &str = "write to roaming.scenarios";
    let producer: FutureProducer<LogContext> = settings
        .producer()
        // Somebody waits for this one record: it fails in time, instead of being kept for ever.
        .set("message.timeout.ms", REACH_TIMEOUT.as_millis().to_string())
        .create_with_context(LogContext::default())
        .map_err(|source| settings.explain("create a client", source))?;
    let record = FutureRecord::to(topics::SCENARIOS).key(key).payload(record).partition(0);
    match producer.send(record, REACH_TIMEOUT).await {
        Ok(_) => Ok(()),
        Err((source, _)) => Err(match source.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
                ClientError::UnknownTopic { topic: topics::SCENARIOS.to_owned() }
            }
            _ => match producer.client().fatal_error() {
                // The record's own error says only that the client gave up.
                Some((code, _)) => settings.explain(OPERATION, KafkaError::MessageProduction(code)),
                None => settings.explain(OPERATION, source),
            },
        }),
    }
}

/// Returns the log's token; writes one where there is none.
///
/// # Errors
/// As [`read`] and [`write()`].
pub async fn ensure_token(settings: &KafkaSettings) -> Result<LogToken, ClientError> {
    if let Some(token) = read(settings).await?.token {
        return Ok(token);
    }
    let record = LogRecord { token: LogToken::generate() };
    let record = serde_json::to_vec(&record).expect("a token is plain JSON");
    write(settings, LOG_KEY, &record).await?;
    // Read back: where two wrote one at the same time, the last counts for both.
    read(settings).await?.token.ok_or(ClientError::NoToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, payload: &str) -> TopicRecord {
        TopicRecord { partition: 0, offset: 0, key: key.into(), payload: Some(payload.into()) }
    }

    #[test]
    fn the_token_has_its_own_key_and_reads_back() {
        let token = LogToken::generate();
        assert_ne!(token, LogToken::generate());
        let json = format!("{{\"token\":\"{token}\"}}");
        assert_eq!(entry(record("log", &json)), Some(ControlEntry::Token(token)));
        assert_eq!(entry(record("log", "{}")), None);
    }

    #[test]
    fn any_other_key_is_a_run() {
        let run = entry(record("demo", "{}"));
        assert_eq!(
            run,
            Some(ControlEntry::Run { name: "demo".into(), record: Some(b"{}".to_vec()) })
        );
    }
}
