//! How far a lane is: the record that its owner leaves on `roaming.lanes` for the next one.

use std::collections::BTreeMap;

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
        key(self.run, self.lane)
    }

    /// Returns the message value.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a flat object of texts and numbers always encodes")
    }

    /// Reads a record of the topic: the lane that its key names, and the lane's progress; `None` where the
    /// record is a tombstone, because the run was deleted.
    ///
    /// # Errors
    /// Fails where the value is no progress, or key and value do not belong together.
    pub fn read(key: &[u8], value: Option<&[u8]>) -> Result<LaneProgress, ProgressError> {
        let Some(value) = value else {
            let key = std::str::from_utf8(key).map_err(|_| ProgressError::Lane)?;
            return Ok((lane(key).ok_or(ProgressError::Lane)?, None));
        };
        let progress = Self::decode(key, value)?;
        Ok(((progress.run, progress.lane), Some(progress)))
    }

    /// Reads a value back.
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

/// A lane, and its progress if it has one.
pub type LaneProgress = ((RunId, LaneId), Option<Progress>);

/// Returns the key of a lane's progress, `<run>/<lane>`.
pub fn key(run: RunId, lane: LaneId) -> String {
    format!("{run}/{lane}")
}

/// Reads a key back; `None` where it names no lane.
pub(crate) fn lane(key: &str) -> Option<(RunId, LaneId)> {
    let (run, lane) = key.split_once('/')?;
    Some((run.parse().ok()?, LaneId::try_new(lane.parse().ok()?)?))
}

/// Keeps what a record of the topic says, in place of what an earlier one said of the lane.
pub fn keep(known: &mut BTreeMap<(RunId, LaneId), Progress>, (lane, progress): LaneProgress) {
    match progress {
        Some(progress) => known.insert(lane, progress),
        None => known.remove(&lane),
    };
}

/// Why a record of `roaming.lanes` is no progress.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgressError {
    /// The value cannot be read.
    #[error("not a progress record")]
    Value(#[from] serde_json::Error),
    /// A tombstone names no lane.
    #[error("a key without a value names no lane")]
    Lane,
    /// The value is no piece of a snapshot, where its key says so.
    #[error("not a piece of a snapshot")]
    Piece(#[from] postcard::Error),
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

    #[test]
    fn a_tombstone_takes_a_lanes_progress_away() {
        let (mut known, key) = (BTreeMap::new(), progress().key());
        keep(&mut known, Progress::read(key.as_bytes(), Some(&progress().encode())).expect("read"));
        assert_eq!(known.len(), 1);
        keep(&mut known, Progress::read(key.as_bytes(), None).expect("a tombstone"));
        assert!(known.is_empty());
        for key in ["", "x/7", "0048d159e26af37b", "0048d159e26af37b/4096"] {
            assert!(matches!(Progress::read(key.as_bytes(), None), Err(ProgressError::Lane)));
        }
    }
}
