//! How far a lane is: the record that its owner leaves on `roaming.lanes` for the next one.

use roaming_events::{LaneId, RunId, Sequence, SimTime};
use serde::{Deserialize, Serialize};

/// How far a lane's events are acknowledged by the broker. Never ahead of that, often behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The run.
    pub run: RunId,
    /// The lane.
    pub lane: LaneId,
    /// How many of the lane's events are acknowledged, from the first without a gap; so also the first
    /// sequence that may be missing from the log.
    pub acknowledged: Sequence,
    /// Emission time of the last acknowledged event; the run's start where there is none.
    pub emission_time: SimTime,
    /// Whether the end marker is acknowledged too.
    pub ended: bool,
}

impl Progress {
    /// Returns the message key, `<run>/<lane>`: the last record of a lane replaces the earlier ones.
    pub fn key(&self) -> String {
        format!("{}/{}", self.run, self.lane)
    }

    /// Returns the message value.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a flat object of texts and numbers always encodes")
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// Fails where the value is no progress, or belongs under another key.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, ProgressError> {
        let progress: Self = serde_json::from_slice(value)?;
        if progress.key().as_bytes() != key {
            return Err(ProgressError::Key { expected: progress.key() });
        }
        Ok(progress)
    }
}

/// Why a record of `roaming.lanes` is no progress.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgressError {
    /// The value cannot be read.
    #[error("not a progress record")]
    Value(#[from] serde_json::Error),
    /// The value belongs to another lane.
    #[error("the value belongs under the key {expected}")]
    Key {
        /// The key that the value belongs under.
        expected: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        Progress {
            run: RunId::from_hash(0x0123_4567_89ab_cdef),
            lane: LaneId::try_new(7).expect("a lane"),
            acknowledged: Sequence::try_new(42).expect("a sequence"),
            emission_time: SimTime::from_unix_ms(1_780_300_800_000),
            ended: false,
        }
    }

    #[test]
    fn the_wire_form_is_fixed() {
        let json = r#"{"run":"0048d159e26af37b","lane":7,"acknowledged":42,"emission_time":"2026-06-01T08:00:00.000Z","ended":false}"#;
        assert_eq!(String::from_utf8(progress().encode()).expect("text"), json);
        assert_eq!(progress().key(), "0048d159e26af37b/7");
        let read = Progress::decode(b"0048d159e26af37b/7", json.as_bytes()).expect("progress");
        assert_eq!(read, progress());
    }

    #[test]
    fn a_foreign_key_or_value_is_refused() {
        let value = progress().encode();
        assert!(matches!(Progress::decode(b"x/7", &value), Err(ProgressError::Key { .. })));
        assert!(matches!(Progress::decode(b"x/7", b"{}"), Err(ProgressError::Value(_))));
    }
}
