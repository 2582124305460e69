//! What is written to the store, and what comes back from it.

use roaming_events::{LaneId, LaneTally, RowKey, RunId, Sequence, SimTime, Totals};

/// All that changed in a partition since the last commit, as absolute values.
///
/// # Ordering
/// Lanes, rows and runs are sorted by their keys: the same records give the same checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The partition of `roaming.events`.
    pub partition: u16,
    /// The offset to read next.
    pub next_offset: u64,
    /// The time that the log gives the record before `next_offset`, in milliseconds since 1970, by which a
    /// log that was made anew is recognised. A [`Partition`](crate::Partition) knows no log and leaves it
    /// empty.
    pub last_record_ms: Option<u64>,
    /// Lanes that changed.
    pub lanes: Vec<LaneRow>,
    /// Aggregate rows that the store does not have yet: it may refuse one that it has, because then
    /// somebody else writes in this partition.
    pub new_rows: Vec<(RunId, RowKey, Totals)>,
    /// Aggregate rows of the store that changed, with all that this partition knows of them.
    pub changed_rows: Vec<(RunId, RowKey, Totals)>,
    /// Watermarks that moved.
    pub runs: Vec<(RunId, SimTime)>,
    /// Records rejected so far that took no lane's number, of this partition.
    pub unattributed_rejects: u64,
}

/// The state of one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneRow {
    /// The run.
    pub run: RunId,
    /// The lane.
    pub lane: LaneId,
    /// High-water mark: the sequence expected next.
    pub next: Sequence,
    /// Missing intervals below `next`, half-open, ascending.
    pub gaps: Vec<(Sequence, Sequence)>,
    /// Events counted, and their digest.
    pub tally: LaneTally,
    /// Numbered records dropped because they had been counted before.
    pub duplicates: u64,
    /// Numbers taken by records that could not be read.
    pub rejected: u64,
    /// Simulated time before which the lane says nothing more. It moves only while nothing is missing.
    pub emission_time: SimTime,
    /// The lane's count, once its end was seen.
    pub end: Option<Sequence>,
    /// Whether the lane ever missed more intervals than are kept. It stays so.
    pub failed: bool,
}

impl LaneRow {
    /// Makes the state of a lane of which nothing was seen.
    pub fn unseen(run: RunId, lane: LaneId, start: SimTime) -> Self {
        Self {
            run,
            lane,
            next: Sequence::ZERO,
            gaps: Vec::new(),
            tally: LaneTally::default(),
            duplicates: 0,
            rejected: 0,
            emission_time: start,
            end: None,
            failed: false,
        }
    }

    /// Returns how many events are missing below the high-water mark.
    pub fn missing(&self) -> u64 {
        self.gaps.iter().map(|(from, to)| to.get() - from.get()).sum()
    }

    /// Whether all of the lane was seen, up to its end.
    pub fn is_finished(&self) -> bool {
        self.end == Some(self.next) && self.gaps.is_empty()
    }
}

/// What the store holds of a partition, for [`Partition::restore`](crate::Partition::restore).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The offset to read next; `None` where nothing was ever committed.
    pub next_offset: Option<u64>,
    /// See [`Checkpoint::last_record_ms`].
    pub last_record_ms: Option<u64>,
    /// Every lane that was ever written.
    pub lanes: Vec<LaneRow>,
    /// For each run that has rows, the start of the newest window among them.
    pub newest_windows: Vec<(RunId, SimTime)>,
    /// See [`Checkpoint::unattributed_rejects`].
    pub unattributed_rejects: u64,
}
