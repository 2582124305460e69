//! What stands on the topic `roaming.events`: events, markers and end markers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Event, EventId, EventIdError, LaneId, RunId, Sequence, SimTime, json};

/// One record of the topic `roaming.events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Something happened; numbered.
    Event(Event),
    /// Nothing happened up to a time; not numbered.
    Marker(Marker),
    /// The lane is at its end; numbered.
    End(End),
}

/// States that a lane will say nothing before a time. True whoever sends it; it counts only where
/// `next` is the sequence that the reader expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The run.
    pub run: RunId,
    /// The lane.
    pub lane: LaneId,
    /// The sequence of the lane's next event.
    pub next: Sequence,
    /// No event of the lane from `next` on is emitted before this time.
    pub emission_time: SimTime,
}

/// States that a lane has no further event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Identity; its sequence is the number of the lane's events.
    pub id: EventId,
    /// When the lane ended, simulated.
    pub emission_time: SimTime,
}

impl Marker {
    /// Returns the id that stands in the key: the lane's, without a sequence.
    fn id(&self) -> EventId {
        EventId { run: self.run, lane: self.lane, sequence: Sequence::NONE }
    }

    /// Returns the message key.
    pub fn key(&self) -> [u8; EventId::TEXT_LEN] {
        self.id().text()
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let json = Control::Marker {
            id: self.id(),
            emission_time: self.emission_time,
            next_sequence: self.next,
        };
        json.encode(out);
    }
}

impl End {
    /// Returns the message key.
    pub fn key(&self) -> [u8; EventId::TEXT_LEN] {
        self.id.text()
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Control::End { id: self.id, emission_time: self.emission_time }.encode(out);
    }
}

/// The wire form of markers and end markers.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Control {
    Marker { id: EventId, emission_time: SimTime, next_sequence: Sequence },
    End { id: EventId, emission_time: SimTime },
}

impl Control {
    fn encode(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, self)
            .expect("a flat object of texts and numbers always encodes");
    }
}

impl Record {
    /// Reads a record from its key and payload.
    ///
    /// # Errors
    /// Fails where either cannot be read or they disagree; the error carries the id where the key gives
    /// one, so that the reader knows which lane is meant.
    pub fn decode(key: &[u8], payload: &[u8]) -> Result<Self, RecordError> {
        let id = EventId::from_key(key)
            .map_err(|error| RecordError { id: None, reason: RecordErrorReason::Key(error) })?;
        let fail = |reason| RecordError { id: Some(id), reason };
        let record = if id.sequence == Sequence::NONE || is_control(payload) {
            match serde_json::from_slice(payload).map_err(|error| fail(error.into()))? {
                Control::Marker { id: EventId { run, lane, .. }, emission_time, next_sequence } => {
                    Self::Marker(Marker { run, lane, next: next_sequence, emission_time })
                }
                Control::End { id, emission_time } => Self::End(End { id, emission_time }),
            }
        } else {
            Self::Event(json::decode_keyed(key, id, payload).map_err(|error| fail(error.into()))?)
        };
        if record.id() == id { Ok(record) } else { Err(fail(RecordErrorReason::KeyMismatch)) }
    }

    /// Returns the id that belongs in the key.
    pub fn id(&self) -> EventId {
        match self {
            Self::Event(event) => event.id,
            Self::Marker(marker) => marker.id(),
            Self::End(end) => end.id,
        }
    }
}

/// Whether a payload is an end marker; `type` is the first field of everything that we write.
fn is_control(payload: &[u8]) -> bool {
    payload.starts_with(b"{\"type\":\"end\"")
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct RecordError {
    /// The id in the key, where the key is readable.
    pub id: Option<EventId>,
    /// What is wrong.
    pub reason: RecordErrorReason,
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordErrorReason {
    /// The key is no event id.
    Key(EventIdError),
    /// The payload is no record of the contract; where, and why.
    Payload(String),
    /// The payload's id is not the key.
    KeyMismatch,
}

impl RecordErrorReason {
    /// Returns the name of the reason, for metrics and dead letters.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Payload(_) => "payload",
            Self::KeyMismatch => "key_mismatch",
        }
    }
}

impl From<serde_json::Error> for RecordErrorReason {
    fn from(error: serde_json::Error) -> Self {
        Self::Payload(error.to_string())
    }
}

impl fmt::Display for RecordErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => write!(f, "the key is {error}"),
            Self::Payload(what) => write!(f, "the payload cannot be read: {what}"),
            Self::KeyMismatch => f.write_str("the payload's id is not the key"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{json, schema};

    fn encoded(event: &Event) -> Vec<u8> {
        let mut payload = Vec::new();
        json::encode(event, &mut payload);
        payload
    }

    #[test]
    fn records_read_back() {
        for event in schema::examples() {
            assert_eq!(
                Record::decode(&event.id.text(), &encoded(&event)),
                Ok(Record::Event(event))
            );
        }
        let id = schema::examples()[0].id;
        let emission_time = SimTime::from_unix_ms(1_780_300_800_000);
        let marker = Marker { run: id.run, lane: id.lane, next: id.sequence, emission_time };
        let mut payload = Vec::new();
        marker.encode(&mut payload);
        assert_eq!(Record::decode(&marker.key(), &payload), Ok(Record::Marker(marker)));
        let end = End { id, emission_time };
        payload.clear();
        end.encode(&mut payload);
        assert_eq!(Record::decode(&end.key(), &payload), Ok(Record::End(end)));
    }

    #[test]
    fn a_broken_payload_still_says_where_it_belongs() {
        let event = schema::examples()[0];
        let error = Record::decode(&event.id.text(), b"{\"type\":\"voice\"").unwrap_err();
        assert_eq!(error.id, Some(event.id));
        assert_eq!(error.reason.as_str(), "payload");
    }

    #[test]
    fn a_key_that_is_not_the_payload_s_is_refused() {
        let event = schema::examples()[0];
        let other = EventId { sequence: event.id.sequence.next(), ..event.id };
        let error = Record::decode(&other.text(), &encoded(&event)).unwrap_err();
        assert_eq!(error, RecordError { id: Some(other), reason: RecordErrorReason::KeyMismatch });
        assert_eq!(Record::decode(b"foreign", b"{}").unwrap_err().id, None);
    }

    #[test]
    fn a_wrong_identifier_is_named_and_not_shown() {
        let event = schema::examples()[0];
        let imsi = event.subscriber.imsi.digits();
        let payload = String::from_utf8(encoded(&event)).unwrap().replace(&imsi, "12301000000001");
        let error = Record::decode(&event.id.text(), payload.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("IMSI does not begin with a known country code"), "{error}");
        assert!(!error.contains("12301000000001"), "{error}");
    }

    #[test]
    fn no_octets_make_the_decoder_panic() {
        let event = schema::examples()[0];
        let payload = encoded(&event);
        for cut in 0..payload.len() {
            assert!(Record::decode(&event.id.text(), &payload[..cut]).is_err());
            let mut damaged = payload.clone();
            damaged[cut] ^= 0x80;
            assert!(Record::decode(&event.id.text(), &damaged).is_err(), "octet {cut}");
        }
    }
}
