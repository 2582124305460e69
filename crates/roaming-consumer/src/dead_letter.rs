//! Records that cannot be counted, as they stand on `roaming.events.dlq`.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use roaming_analytics::RejectReason;
use roaming_service::kafka::{
    ClientError, KafkaSettings, KnownBrokers, LogContext, forgotten_error,
};
use roaming_service::topics;
use serde::Serialize;

use crate::group::Arrival;

/// How much of a key, a payload and a decoder's words a letter repeats, in octets. No event has as much; of
/// what has more, the whole stands where the letter comes from. It bounds what letters take in memory, and
/// keeps the largest well below what the topic takes, although hexadecimal doubles it.
const KEY_OCTETS_MAX: usize = 1024;
const PAYLOAD_OCTETS_MAX: usize = 65_536;
const DETAIL_OCTETS_MAX: usize = 1024;
/// How often a letter that is on its way looks whether its client knows a broker.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const OPERATION: &str = "write to roaming.events.dlq";

/// A record that was not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The partition where it stands.
    pub partition: u16,
    /// Its offset there.
    pub offset: u64,
    pub(crate) reason: RejectReason,
    /// Where the decoder stopped, for people; empty where it did not.
    detail: String,
    key: Beginning,
    payload: Beginning,
}

/// The first octets of something, and how many it has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Beginning {
    octets: Vec<u8>,
    whole: usize,
}

impl Beginning {
    fn of(octets: &[u8], max: usize) -> Self {
        Self { octets: octets[..octets.len().min(max)].to_vec(), whole: octets.len() }
    }
}

/// The value on the topic. Fields may be added, at the end.
#[derive(Serialize)]
struct Value<'a> {
    reason: &'static str,
    detail: &'a str,
    topic: &'static str,
    partition: u16,
    offset: u64,
    /// Hexadecimal: what could not be read may be any octets.
    key_hex: String,
    payload_hex: String,
    /// How many octets the record has, where the above repeats only the first.
    key_octets: usize,
    payload_octets: usize,
}

impl DeadLetter {
    /// Makes the letter of a record that was read at an offset.
    pub(crate) fn new(
        partition: u16,
        arrival: &Arrival<'_>,
        reason: RejectReason,
        mut detail: String,
    ) -> Self {
        detail.truncate(detail.floor_char_boundary(DETAIL_OCTETS_MAX));
        Self {
            partition,
            offset: arrival.offset,
            reason,
            detail,
            key: Beginning::of(arrival.key, KEY_OCTETS_MAX),
            payload: Beginning::of(arrival.payload, PAYLOAD_OCTETS_MAX),
        }
    }

    /// The message key: where the record stood. Written twice, it is the same dead letter.
    pub(crate) fn origin(&self) -> String {
        format!("{}/{}/{}", topics::EVENTS, self.partition, self.offset)
    }

    fn value(&self) -> Vec<u8> {
        let value = Value {
            reason: self.reason.as_str(),
            detail: &self.detail,
            topic: topics::EVENTS,
            partition: self.partition,
            offset: self.offset,
            key_hex: hex(&self.key.octets),
            payload_hex: hex(&self.payload.octets),
            key_octets: self.key.whole,
            payload_octets: self.payload.whole,
        };
        serde_json::to_vec(&value).expect("a flat object of texts and numbers always encodes")
    }
}

fn hex(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() * 2);
    for octet in octets {
        write!(text, "{octet:02x}").expect("a String takes every text");
    }
    text
}

/// Writes dead letters; clones share the client.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    /// There is none before the first letter: it has a thread that looks for work all the time.
    client: Arc<Mutex<Option<Client>>>,
    settings: KafkaSettings,
}

#[derive(Clone)]
struct Client {
    producer: FutureProducer<LogContext>,
    brokers: Arc<KnownBrokers>,
}

impl DeadLetters {
    pub(crate) fn new(settings: KafkaSettings) -> Self {
        Self { client: Arc::default(), settings }
    }

    /// Writes letters and returns when all are acknowledged; waits for a broker that is away. After an error
    /// it may be called again.
    pub(crate) async fn write(&self, letters: &[DeadLetter]) -> Result<(), ClientError> {
        if letters.is_empty() {
            return Ok(());
        }
        let Client { producer, brokers } = self.client()?;
        let written = try_join_all(letters.iter().map(|letter| self.write_one(&producer, letter)));
        tokio::select! {
            written = written => written.map(drop),
            () = until_forgotten(&brokers) => {
                // The next letter takes another client; who shares this one finds the same out.
                self.lock().take_if(|client| Arc::ptr_eq(&client.brokers, &brokers));
                Err(self.settings.explain(OPERATION, forgotten_error()))
            }
        }
    }

    /// Returns the client, or makes it.
    fn client(&self) -> Result<Client, ClientError> {
        let mut shared = self.lock();
        match &*shared {
            Some(client) => Ok(client.clone()),
            None => Ok(shared.insert(self.connect()?).clone()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> Result<Client, ClientError> {
        let context = LogContext::default();
        let brokers = Arc::clone(context.brokers());
        let producer = self
            .settings
            .producer()
            // What a broker refuses ends a client that leaves no holes for good. Letters have no order and
            // may be written twice: this client refuses one and takes the next.
            .set("enable.gapless.guarantee", "false")
            .set("enable.idempotence", "false")
            .create_with_context(context)
            .map_err(|source| self.settings.explain("create a client", source))?;
        Ok(Client { producer, brokers })
    }

    async fn write_one(
        &self,
        producer: &FutureProducer<LogContext>,
        letter: &DeadLetter,
    ) -> Result<(), ClientError> {
        let (key, value) = (letter.origin(), letter.value());
        let reason = Header { key: "reason", value: Some(letter.reason.as_str()) };
        let record = FutureRecord::to(topics::DEAD_LETTERS)
            .key(&key)
            .payload(&value)
            .headers(OwnedHeaders::new().insert(reason));
        producer
            .send(record, Timeout::Never)
            .await
            .map(|_| ())
            .map_err(|(source, _)| self.settings.explain(OPERATION, source))
    }
}

/// Returns where the client is to be given up for another.
async fn until_forgotten(brokers: &KnownBrokers) {
    while !brokers.are_forgotten() {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_says_where_it_comes_from_and_keeps_every_octet() {
        let arrival = Arrival {
            partition: 3,
            offset: 17,
            log_time_ms: None,
            key: &[0, 0xff],
            payload: b"no",
        };
        let detail = "expected value at line 1 column 1".to_owned();
        let letter = DeadLetter::new(3, &arrival, RejectReason::UnreadablePayload, detail);
        assert_eq!(letter.origin(), "roaming.events/3/17");
        assert_eq!(
            String::from_utf8(letter.value()).expect("JSON"),
            r#"{"reason":"unreadable_payload","detail":"expected value at line 1 column 1","topic":"roaming.events","partition":3,"offset":17,"key_hex":"00ff","payload_hex":"6e6f","key_octets":2,"payload_octets":2}"#
        );
    }

    #[test]
    fn the_largest_letter_is_far_below_what_a_topic_takes() {
        let whole = vec![0xff; 1_000_000];
        let arrival = Arrival {
            partition: 3,
            offset: u64::MAX,
            log_time_ms: None,
            key: &whole,
            payload: &whole,
        };
        // Each of these takes six octets in JSON.
        let detail = "\u{1}".repeat(1_000_000);
        let letter = DeadLetter::new(u16::MAX, &arrival, RejectReason::UnreadablePayload, detail);
        assert!(letter.value().len() < 200_000, "{}", letter.value().len());
    }
}
