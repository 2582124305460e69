//! The Kafka client that sends: bounded, in order, and given up at the first failure.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use roaming_events::Sequence;
use roaming_service::kafka::{ClientError, KafkaSettings, log_library_error, log_library_line};
use roaming_service::topics;

/// Records on their way at most; below the client's own bound, so that it never refuses one. More would
/// only wait in the client, and be out of the processor's cache when their turn comes; these are enough for
/// a million a second where the broker takes 16 ms to answer.
const RECORDS_MAX: usize = 16_000;
/// Progress records on their way at most. They have room of their own, between [`RECORDS_MAX`] and the
/// client's bound: at full speed events take all of theirs, and a lane whose progress waits for a gap
/// between them repeats everything after a crash.
const PROGRESS_RECORDS_MAX: usize = 15_000;
/// Bytes on their way at most; below the client's own bound of 64 MiB.
const BYTES_MAX: u64 = 48 << 20;

/// How long the report that says why a client is lost may come after those that only say that it is.
const CAUSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Number of an owned lane in this process, so that a delivery report finds it without a search.
pub type Slot = u16;

/// How many lanes one process owns at most; further ones are refused and logged.
pub const SLOTS_MAX: usize = 0xffff;

/// What a record was, as its delivery report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// An event or an end marker.
    Numbered(Slot, Sequence),
    /// A marker.
    Marker,
    /// A progress record.
    Progress,
}

// A tag travels through the client as a pointer: 16 bits of slot and 48 of sequence. The highest slot
// is never given out and leaves room for the two other kinds.
const _: () = assert!(usize::BITS == 64);
const MARKER: usize = usize::MAX - 1;
const PROGRESS: usize = usize::MAX;

impl Tag {
    fn to_bits(self) -> usize {
        match self {
            Self::Numbered(slot, sequence) => usize::from(slot) << 48 | sequence.get() as usize,
            Self::Marker => MARKER,
            Self::Progress => PROGRESS,
        }
    }

    fn from_bits(bits: usize) -> Self {
        const SEQUENCE: usize = (1 << 48) - 1;
        match bits {
            MARKER => Self::Marker,
            PROGRESS => Self::Progress,
            _ => Self::Numbered(
                (bits >> 48) as Slot,
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
    reason: Option<String>,
    /// What the record's report says.
    source: KafkaError,
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
        _ => "`roaming-producer topics check` says which settings of a topic refuse them",
    }
}

/// A client with what is on its way through it.
pub struct Outbox {
    client: BaseProducer<Reports>,
    records: usize,
    bytes: u64,
    progress_records: usize,
    /// Partitions of `roaming.events` whose first record through this client is on its way, or
    /// acknowledged. A broker takes whatever batch of a new client comes first, so that a second one
    /// on its way could overtake a first that is tried again, and leave a hole.
    first_sent: BTreeSet<u16>,
    first_acknowledged: BTreeSet<u16>,
}

impl Outbox {
    /// Makes a client; nothing is connected yet.
    ///
    /// # Errors
    /// Fails where the client library refuses the settings.
    pub fn open(settings: &KafkaSettings) -> Result<Self, ClientError> {
        let client = settings
            .producer()
            .create_with_context(Reports::default())
            .map_err(|source| settings.explain("create a client", source))?;
        Ok(Self {
            client,
            records: 0,
            bytes: 0,
            progress_records: 0,
            first_sent: BTreeSet::new(),
            first_acknowledged: BTreeSet::new(),
        })
    }

    /// Whether one more event or marker has room.
    fn has_room(&self) -> bool {
        self.records < RECORDS_MAX + self.progress_records && self.bytes < BYTES_MAX
    }

    /// Whether one more progress record has room.
    pub fn has_room_for_progress(&self) -> bool {
        self.progress_records < PROGRESS_RECORDS_MAX
    }

    /// Whether a partition of `roaming.events` takes a record now.
    pub fn accepts(&self, partition: u16) -> bool {
        self.has_room()
            && (self.first_acknowledged.contains(&partition)
                || !self.first_sent.contains(&partition))
    }

    /// Hands an event, marker or end marker to the client, made at `created_unix_ms` of the wall clock.
    ///
    /// # Errors
    /// Fails where the client refuses it: give the client up.
    pub fn send_event(
        &mut self,
        partition: u16,
        (key, payload): (&[u8], &[u8]),
        tag: Tag,
        created_unix_ms: u64,
    ) -> Result<(), Undelivered> {
        let mut record = record(topics::EVENTS, partition, key, tag).payload(payload);
        // The client would read the clock for each record.
        record.timestamp = i64::try_from(created_unix_ms).ok();
        self.send(record)?;
        if !self.first_acknowledged.contains(&partition) {
            self.first_sent.insert(partition);
        }
        Ok(())
    }

    /// Hands a progress record to the client.
    ///
    /// # Errors
    /// As [`send_event`](Self::send_event).
    pub fn send_progress(
        &mut self,
        partition: u16,
        key: &[u8],
        payload: &[u8],
    ) -> Result<(), Undelivered> {
        self.send(record(topics::LANES, partition, key, Tag::Progress).payload(payload))?;
        self.progress_records += 1;
        Ok(())
    }

    /// Hands a tombstone for `roaming.lanes` to the client: the key's records are to be forgotten.
    ///
    /// # Errors
    /// As [`send_event`](Self::send_event).
    pub fn send_tombstone(&mut self, partition: u16, key: &[u8]) -> Result<(), Undelivered> {
        self.send(record(topics::LANES, partition, key, Tag::Progress))?;
        self.progress_records += 1;
        Ok(())
    }

    fn send(&mut self, record: OutgoingRecord<'_>) -> Result<(), Undelivered> {
        let len = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len) as u64;
        let bytes = len(record.key) + len(record.payload);
        self.client.send(record).map_err(|(error, _)| self.undelivered(error))?;
        self.records += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Appends what was acknowledged to `deliveries`, in order within a partition; where nothing was, waits
    /// for it for as long as `wait` says.
    ///
    /// # Errors
    /// Fails where any record was not delivered: give the client up.
    pub fn poll(
        &mut self,
        wait: Duration,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), Undelivered> {
        if !self.take_reports() && !wait.is_zero() {
            // The client's own wait spins for its last millisecond: half of a processor at two of them.
            thread::sleep(wait);
            self.take_reports();
        }
        let mut reports = self.client.context().lock();
        let start = deliveries.len();
        deliveries.append(&mut reports.delivered);
        let failure = reports.failure.take();
        drop(reports);
        for delivery in &deliveries[start..] {
            self.records -= 1;
            self.bytes -= delivery.bytes;
            match delivery.tag {
                Tag::Progress => self.progress_records -= 1,
                Tag::Marker | Tag::Numbered(..) => {
                    self.first_acknowledged.insert(delivery.partition);
                }
            }
        }
        failure.map_or(Ok(()), |source| Err(self.undelivered(source)))
    }

    /// Has the client hand over what reports it has, and returns whether there were any.
    fn take_reports(&self) -> bool {
        let mut count = 0;
        loop {
            // One batch of a partition at a time.
            self.client.poll(Duration::ZERO);
            let before = std::mem::replace(&mut count, self.client.context().lock().count());
            if count == before {
                return count > 0;
            }
        }
    }

    /// Finds out why a record was not delivered: the reports of most say only that the client is lost.
    fn undelivered(&self, mut source: KafkaError) -> Undelivered {
        let reason = self.client.client().fatal_error().map(|(_, reason)| reason);
        let start = Instant::now();
        while is_consequence(&source) && start.elapsed() < CAUSE_TIMEOUT {
            self.client.poll(CAUSE_TIMEOUT / 10);
            source = self.client.context().lock().failure.take().unwrap_or(source);
        }
        Undelivered { reason, source }
    }

    /// Returns how many records are on their way.
    pub fn in_flight(&self) -> usize {
        self.records
    }

    /// Returns how many progress records are on their way.
    pub fn progress_in_flight(&self) -> usize {
        self.progress_records
    }
}

type OutgoingRecord<'a> = BaseRecord<'a, [u8], [u8], usize>;

fn record<'a>(topic: &'a str, partition: u16, key: &'a [u8], tag: Tag) -> OutgoingRecord<'a> {
    BaseRecord::with_opaque_to(topic, tag.to_bits()).partition(i32::from(partition)).key(key)
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
            Tag::Progress,
        ] {
            assert_eq!(Tag::from_bits(tag.to_bits()), tag);
        }
    }
}
