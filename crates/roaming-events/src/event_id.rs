//! The event id: one event, one key, for ever.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::identifiers::text_serde;

/// Identity of one event and its Kafka message key: a UUID version 8 (RFC 9562 §5.8).
///
/// The text is `RRRRRRRR-RRRR-8LLL-VRRR-SSSSSSSSSSSS`: 62 bits of [`RunId`], 12 of [`LaneId`], 48 of
/// [`Sequence`], where `V` is `8` to `b`. Lane and sequence can be read in the hexadecimal text, so an
/// event whose payload is broken still says where it belongs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// The run that the event belongs to.
    pub run: RunId,
    /// The lane of the run.
    pub lane: LaneId,
    /// The place of the event in its lane, from 0 without gaps.
    pub sequence: Sequence,
}

impl EventId {
    /// Length of the textual form, in octets.
    pub const TEXT_LEN: usize = 36;

    /// Returns the id as a UUID.
    pub fn to_uuid(self) -> Uuid {
        let run = u128::from(self.run.0);
        let value = (run >> 14) << 80
            | 0x8 << 76
            | u128::from(self.lane.0) << 64
            | 0b10 << 62
            | (run & 0x3fff) << 48
            | u128::from(self.sequence.0);
        Uuid::from_u128(value)
    }

    /// Reads an id back from a UUID.
    ///
    /// # Errors
    /// Fails where the UUID is not of version 8 and the RFC 9562 variant.
    pub fn from_uuid(uuid: Uuid) -> Result<Self, EventIdError> {
        let value = uuid.as_u128();
        if (value >> 76) & 0xf != 0x8 || (value >> 62) & 0b11 != 0b10 {
            return Err(EventIdError::NotVersion8);
        }
        let run = ((value >> 80) << 14) as u64 | ((value >> 48) & 0x3fff) as u64;
        Ok(Self {
            run: RunId(run),
            lane: LaneId(((value >> 64) & 0xfff) as u16),
            sequence: Sequence(value as u64 & Sequence::NONE.0),
        })
    }

    /// Returns the textual form, lower case with hyphens: the message key.
    pub fn text(self) -> [u8; Self::TEXT_LEN] {
        let mut text = [0; Self::TEXT_LEN];
        self.to_uuid().hyphenated().encode_lower(&mut text);
        text
    }

    /// Reads an id from a message key.
    ///
    /// # Errors
    /// Fails where the key is not the lower-case hyphenated text of a version 8 UUID: a second
    /// spelling of one id would be a second key.
    pub fn from_key(key: &[u8]) -> Result<Self, EventIdError> {
        // Of the other texts of a UUID none is as long, but for capital letters.
        if key.len() != Self::TEXT_LEN || key.iter().any(u8::is_ascii_uppercase) {
            return Err(EventIdError::NotUuid);
        }
        std::str::from_utf8(key).map_err(|_| EventIdError::NotUuid)?.parse()
    }
}

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_uuid(Uuid::try_parse(text).map_err(|_| EventIdError::NotUuid)?)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_uuid().hyphenated().fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_serde!(
    EventId,
    "UUID version 8: 62 bits of run, 12 of lane, 48 of sequence",
    "^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
);

/// Identity of a run: 62 bits, a hash of the run's specification.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RunId(u64);

impl RunId {
    /// Makes a run id from the high 62 bits of a hash.
    pub fn from_hash(hash: u64) -> Self {
        Self(hash >> 2)
    }

    /// Returns the 62 bits as a number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.to_string()
    }
}

impl FromStr for RunId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match u64::from_str_radix(text, 16) {
            Ok(value) if text.len() == 16 && value >> 62 == 0 => Ok(Self(value)),
            _ => Err(EventIdError::NotRun),
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = EventIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Number of a lane in its run, from 0, of 12 bits.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct LaneId(u16);

impl LaneId {
    /// The most lanes that a run can have.
    pub const COUNT_MAX: u16 = 1 << 12;

    /// Makes a lane id; `None` from [`LaneId::COUNT_MAX`] on.
    pub fn try_new(lane: u16) -> Option<Self> {
        (lane < Self::COUNT_MAX).then_some(Self(lane))
    }

    /// Returns every lane of a run that has `count` of them, in order.
    pub fn all(count: u16) -> impl ExactSizeIterator<Item = Self> + Clone {
        (0..count.min(Self::COUNT_MAX)).map(Self)
    }

    /// Returns the lane's number.
    pub fn get(self) -> u16 {
        self.0
    }

    /// Returns the partition that this lane is bound to, of `partitions`.
    ///
    /// # Panics
    /// Panics where `partitions` is 0; a specification never has that.
    pub fn partition(self, partitions: u16) -> u16 {
        self.0 % partitions
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Place of an event in its lane, from 0 without gaps, of 48 bits.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Sequence(u64);

impl Sequence {
    /// The first sequence of a lane.
    pub const ZERO: Self = Self(0);
    /// Reserved: the sequence in the key of an unnumbered record, a [`Marker`](crate::Marker).
    pub const NONE: Self = Self((1 << 48) - 1);

    /// Makes a sequence; `None` from [`Sequence::NONE`] on.
    pub fn try_new(sequence: u64) -> Option<Self> {
        (sequence < Self::NONE.0).then_some(Self(sequence))
    }

    /// Returns the number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Returns the sequence that follows.
    ///
    /// # Panics
    /// Panics at the end of 48 bits, which a lane that sends a million events a second reaches after
    /// nine years.
    #[must_use]
    pub fn next(self) -> Self {
        Self::try_new(self.0 + 1).expect("a lane holds fewer than 2^48 - 1 events")
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventIdError {
    /// The text is not a lower-case hyphenated UUID.
    #[error("not a lower-case hyphenated UUID")]
    NotUuid,
    /// The UUID is of another version or variant.
    #[error("not a UUID of version 8")]
    NotVersion8,
    /// The text is no run id.
    #[error("not a run id of 16 hexadecimal digits below 2^62")]
    NotRun,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lane_and_sequence_are_readable_in_the_text() {
        let id = EventId {
            run: RunId::from_hash(0x0123_4567_89ab_cdef),
            lane: LaneId(0x02a),
            sequence: Sequence(0x1_2345),
        };
        assert_eq!(id.to_string(), "01234567-89ab-802a-b37b-000000012345");
    }

    #[test]
    fn the_document_says_how_a_run_is_found_in_its_keys() {
        let document = include_str!("../../../docs/events.md");
        let run = RunId::try_from("285fdba847787aae".to_owned()).expect("a run");
        let id = EventId { run, lane: LaneId(0x02a), sequence: Sequence(4) };
        assert!(document.contains(&format!("of run `{run}` has the key `{id}`")), "{id}");
        let (begin, behind) = (&id.to_string()[..13], &id.to_string()[19..23]);
        assert!(document.contains(&format!(r#""id":"{begin}-8...-{behind}-"#)));
    }

    proptest! {
        #[test]
        fn every_id_reads_back(run: u64, lane in 0..LaneId::COUNT_MAX, sequence in 0u64..1 << 48) {
            let id = EventId { run: RunId::from_hash(run), lane: LaneId(lane), sequence: Sequence(sequence) };
            prop_assert_eq!(EventId::from_key(&id.text()), Ok(id));
            prop_assert_eq!(id.to_uuid().get_version_num(), 8);
        }
    }

    #[test]
    fn another_spelling_is_no_key() {
        let id =
            EventId { run: RunId::from_hash(u64::MAX), lane: LaneId(1), sequence: Sequence(2) };
        let upper = id.to_string().to_uppercase();
        assert_eq!(EventId::from_key(upper.as_bytes()), Err(EventIdError::NotUuid));
        assert_eq!(EventId::from_key(b"not a key"), Err(EventIdError::NotUuid));
        let version_4 = "01234567-89ab-4cde-8f01-23456789abcd";
        assert_eq!(EventId::from_key(version_4.as_bytes()), Err(EventIdError::NotVersion8));
    }
}
