//! The port to the log: a client that sends, and what opens the next one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use roaming_events::Sequence;
use roaming_service::kafka::{
    ClientError, KafkaSettings, KnownBrokers, forgotten_error, log_library_error, log_library_line,
};

/// How long the report that says why a client is lost may come after those that only say that it is.
const CAUSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Number of an owned lane in this process, so that a delivery report finds it without a search.
pub type Slot = u16;

/// How many lanes one process owns at most; further ones are refused and logged.
pub const SLOTS_MAX: usize = 0xffff;

/// A client that sends to the log. What is handed to it for one partition arrives in that order and without
/// a hole, or not at all from the first failure on: whoever uses it then gives it up for another.
///
/// Dropping it forgets what waits in it. What it has handed to the network may arrive all the same.
pub trait Client {
    /// Takes a record to be sent, or refuses it. What it took it owes a report for.
    ///
    /// Called from the sender's thread alone, for each event; returns at once where the client is not lost.
    ///
    /// # Errors
    /// Fails where it does not take the record: the client is lost.
    fn send(&mut self, record: &Outgoing<'_>) -> Result<(), Undelivered>;

    /// Appends to `deliveries` what the broker has acknowledged since the last call, in order within a
    /// partition. Waits for nothing.
    ///
    /// # Errors
    /// Fails where a record was not delivered: the client is lost. What was acknowledged before is
    /// appended all the same.
    fn poll(&mut self, deliveries: &mut Vec<Delivery>) -> Result<(), Undelivered>;
}

/// Opens clients: the first one, and another for each that is given up.
pub trait Connect {
    /// What it opens.
    type Client: Client;

    /// Makes a client; nothing is connected yet.
    ///
    /// # Errors
    /// Fails where the client library refuses the settings.
    fn connect(&mut self) -> Result<Self::Client, ClientError>;
}

/// A record to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Its topic.
    pub topic: &'static str,
    /// Its partition there.
    pub partition: u16,
    /// Its message key.
    pub key: &'a [u8],
    /// Its payload; `None` makes it a tombstone.
    pub payload: Option<&'a [u8]>,
    /// What its delivery report is to say.
    pub tag: Tag,
    /// The time that it bears, in milliseconds since the Unix epoch; the client's where there is none.
    pub created_unix_ms: Option<u64>,
}

impl Outgoing<'_> {
    /// Returns the octets of key and payload.
    pub fn bytes(&self) -> u64 {
        (self.key.len() + self.payload.map_or(0, <[u8]>::len)) as u64
    }
}

/// What a record was, as its delivery report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// An event or an end marker.
    Numbered(Slot, Sequence),
    /// A marker.
    Marker,
    /// A progress record, or a piece of a snapshot, of the lane in this slot.
    Progress(Slot),
    /// A tombstone, which takes either back.
    Tombstone,
}

// A tag travels through the client as a pointer: 16 bits of slot and 48 of sequence. The highest slot
// is never given out and leaves room for the other kinds; progress has its slot in the lowest bits there.
const _: () = assert!(usize::BITS == 64);
const SEQUENCE_BITS: u32 = 48;
const PROGRESS: usize = SLOTS_MAX << SEQUENCE_BITS;
const PROGRESS_LAST: usize = PROGRESS + SLOTS_MAX;
const TOMBSTONE: usize = usize::MAX - 1;
const MARKER: usize = usize::MAX;

impl Tag {
    fn to_bits(self) -> usize {
        match self {
            Self::Numbered(slot, sequence) => {
                usize::from(slot) << SEQUENCE_BITS | sequence.get() as usize
            }
            Self::Marker => MARKER,
            Self::Progress(slot) => PROGRESS + usize::from(slot),
            Self::Tombstone => TOMBSTONE,
        }
    }

    fn from_bits(bits: usize) -> Self {
        const SEQUENCE: usize = (1 << SEQUENCE_BITS) - 1;
        match bits {
            MARKER => Self::Marker,
            TOMBSTONE => Self::Tombstone,
            PROGRESS..=PROGRESS_LAST => Self::Progress(bits as Slot),
            _ => Self::Numbered(
                (bits >> SEQUENCE_BITS) as Slot,
                Sequence::try_new((bits & SEQUENCE) as u64).unwrap_or(Sequence::NONE),
            ),
        }
    }
}

/// A record that the broker acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What it was.
    pub tag: Tag,
    /// The partition it stands in.
    pub partition: u16,
    /// Its offset there.
    pub offset: u64,
    /// Octets of key and payload.
    pub bytes: u64,
}

/// A record was not delivered, or not taken.
#[derive(Debug, thiserror::Error)]
#[error(
    "records were not delivered{}; {}",
    reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default(),
    remedy(source)
)]
pub struct Undelivered {
    /// Why the client is lost, in its own words.
    pub reason: Option<String>,
    /// What the record's report says.
    pub source: KafkaError,
}

/// Returns what to do about a record that was not delivered.
fn remedy(source: &KafkaError) -> &'static str {
    use RDKafkaErrorCode as Code;
    match source.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
            "grant this client the right to write there; scripts/kafka-acls has all rights that it needs"
        }
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            "`roaming-producer topics check` says which topics or partitions are missing"
        }
        Some(Code::AllBrokersDown) => {
            "another client asks for the brokers again; start one at the addresses of --bootstrap-servers or BOOTSTRAP_SERVERS where there is none"
        }
        _ => "`roaming-producer topics check` says which settings of a topic refuse them",
    }
}

impl Connect for KafkaSettings {
    type Client = KafkaClient;

    fn connect(&mut self) -> Result<KafkaClient, ClientError> {
        let producer = self
            .producer()
            .create_with_context(Reports::default())
            .map_err(|source| self.explain("create a client", source))?;
        Ok(KafkaClient { producer })
    }
}

/// A client of Kafka.
pub struct KafkaClient {
    producer: BaseProducer<Reports>,
}

impl Client for KafkaClient {
    fn send(&mut self, outgoing: &Outgoing<'_>) -> Result<(), Undelivered> {
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(outgoing.topic, outgoing.tag.to_bits())
                .partition(i32::from(outgoing.partition))
                .key(outgoing.key);
        record.payload = outgoing.payload;
        record.timestamp = outgoing.created_unix_ms.and_then(|time| i64::try_from(time).ok());
        self.producer.send(record).map_err(|(error, _)| self.undelivered(error))
    }

    fn poll(&mut self, deliveries: &mut Vec<Delivery>) -> Result<(), Undelivered> {
        self.take_reports();
        let mut reports = self.producer.context().lock();
        deliveries.append(&mut reports.delivered);
        let failure = reports.failure.take();
        drop(reports);
        let is_forgotten = self.producer.context().brokers.are_forgotten();
        match failure.or_else(|| is_forgotten.then(forgotten_error)) {
            None => Ok(()),
            Some(source) => Err(self.undelivered(source)),
        }
    }
}

impl KafkaClient {
    /// Has the library hand over what reports it has.
    fn take_reports(&self) {
        let mut count = 0;
        loop {
            // One batch of a partition at a time.
            self.producer.poll(Duration::ZERO);
            let before = std::mem::replace(&mut count, self.producer.context().lock().count());
            if count == before {
                return;
            }
        }
    }

    /// Finds out why a record was not delivered: the reports of most say only that the client is lost.
    fn undelivered(&self, mut source: KafkaError) -> Undelivered {
        let reason = self.producer.client().fatal_error().map(|(_, reason)| reason);
        let start = Instant::now();
        while is_consequence(&source) && start.elapsed() < CAUSE_TIMEOUT {
            self.producer.poll(CAUSE_TIMEOUT / 10);
            source = self.producer.context().lock().failure.take().unwrap_or(source);
        }
        Undelivered { reason, source }
    }
}

/// Whether an error says that the client is lost, and not why.
fn is_consequence(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(error.rdkafka_error_code(), Some(Code::Fatal | Code::PurgeQueue | Code::PurgeInflight))
}

/// Collects the delivery reports of one client.
#[derive(Default)]
struct Reports {
    collected: Mutex<Collected>,
    brokers: KnownBrokers,
}

#[derive(Default)]
struct Collected {
    delivered: Vec<Delivery>,
    /// The first failure, or a later one that is its cause. What is acknowledged after it does not count: the
    /// client is given up.
    failure: Option<KafkaError>,
}

impl Collected {
    fn count(&self) -> usize {
        self.delivered.len() + usize::from(self.failure.is_some())
    }
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_library_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_library_error(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.brokers.read(statistics);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        let mut collected = self.lock();
        match (result, &collected.failure) {
            (Ok(message), None) => collected.delivered.push(Delivery {
                tag: Tag::from_bits(tag),
                partition: message.partition().unsigned_abs() as u16,
                offset: message.offset().unsigned_abs(),
                bytes: (message.key_len() + message.payload_len()) as u64,
            }),
            (Ok(_), Some(_)) => {}
            (Err(_), Some(failure)) if !is_consequence(failure) => {}
            (Err((error, _)), _) => collected.failure = Some(error.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_survive_the_way_through_a_pointer() {
        let last = Sequence::try_new(Sequence::NONE.get() - 1).expect("a sequence");
        for tag in [
            Tag::Numbered(0, Sequence::ZERO),
            Tag::Numbered(0xfffe, last),
            Tag::Marker,
            Tag::Progress(0),
            Tag::Progress(0xfffe),
            Tag::Tombstone,
        ] {
            assert_eq!(Tag::from_bits(tag.to_bits()), tag);
        }
    }
}
