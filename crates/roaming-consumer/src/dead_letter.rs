//! Records that cannot be counted, as they stand on `roaming.events.dlq`.

use std::fmt::Write;

use futures::future::try_join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use roaming_analytics::RejectReason;
use roaming_service::kafka::{ClientError, KafkaSettings, LogContext};
use roaming_service::topics;
use serde::Serialize;

/// A record that was not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    pub(crate) partition: u16,
    pub(crate) offset: u64,
    pub(crate) reason: RejectReason,
    /// Where the decoder stopped, for people; empty where it did not.
    pub(crate) detail: String,
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
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
}

impl DeadLetter {
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
            key_hex: hex(&self.key),
            payload_hex: hex(&self.payload),
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

/// Writes dead letters.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    producer: FutureProducer<LogContext>,
    settings: KafkaSettings,
}

impl DeadLetters {
    pub(crate) fn open(settings: &KafkaSettings) -> Result<Self, ClientError> {
        let producer = settings
            .producer()
            .create_with_context(LogContext::default())
            .map_err(|source| settings.explain("create a client", source))?;
        Ok(Self { producer, settings: settings.clone() })
    }

    /// Writes letters and returns when all are acknowledged; waits for a broker that is away.
    pub(crate) async fn write(&self, letters: &[DeadLetter]) -> Result<(), ClientError> {
        try_join_all(letters.iter().map(|letter| self.write_one(letter))).await.map(|_| ())
    }

    async fn write_one(&self, letter: &DeadLetter) -> Result<(), ClientError> {
        let (key, value) = (letter.origin(), letter.value());
        let reason = Header { key: "reason", value: Some(letter.reason.as_str()) };
        let record = FutureRecord::to(topics::DEAD_LETTERS)
            .key(&key)
            .payload(&value)
            .headers(OwnedHeaders::new().insert(reason));
        self.producer
            .send(record, Timeout::Never)
            .await
            .map(|_| ())
            .map_err(|(source, _)| self.settings.explain("write a dead letter", source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_says_where_it_comes_from_and_keeps_every_octet() {
        let letter = DeadLetter {
            partition: 3,
            offset: 17,
            reason: RejectReason::UnreadablePayload,
            detail: "expected value at line 1 column 1".to_owned(),
            key: vec![0, 0xff],
            payload: b"no".to_vec(),
        };
        assert_eq!(letter.origin(), "roaming.events/3/17");
        assert_eq!(
            String::from_utf8(letter.value()).expect("JSON"),
            r#"{"reason":"unreadable_payload","detail":"expected value at line 1 column 1","topic":"roaming.events","partition":3,"offset":17,"key_hex":"00ff","payload_hex":"6e6f"}"#
        );
    }
}
