//! What came of a record.

use std::fmt;

use roaming_events::RunId;

/// What [`Partition::observe`](crate::Partition::observe) made of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The lane's next event; counted.
    Counted,
    /// The lane's next event, into a window that the watermark had already closed; counted, and its row
    /// is written again.
    Corrected,
    /// An event that was missing; counted.
    Filled,
    /// An event beyond the next one; counted, and those between are now missing.
    Jumped,
    /// A numbered record that was counted before; dropped, and counted as a duplicate.
    Duplicate,
    /// A marker.
    Marker {
        /// Whether it moved the lane's time.
        moved: bool,
    },
    /// The lane's end, or that of a lane which still misses events.
    End,
    /// A record that is not counted. The caller writes it to `roaming.events.dlq`, and has that
    /// acknowledged, before it takes the next checkpoint.
    Rejected(RejectReason),
    /// An offset that was observed before. Nothing changes.
    Reread,
    /// A record of a run that is not registered. Nothing changes: the caller learns of the run and
    /// observes the record again, or calls [`Partition::reject_foreign`](crate::Partition::reject_foreign).
    UnknownRun(RunId),
    /// The record needs a new row and the cache is full of rows that are not yet stored
    /// ([`PartitionConfig::rows_max`](crate::PartitionConfig::rows_max)). Nothing changes: the caller
    /// commits a checkpoint and observes the record again.
    Full,
}

impl Observation {
    /// Returns its name, in logs; of a rejected record, that of the reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Corrected => "corrected",
            Self::Filled => "filled",
            Self::Jumped => "jumped",
            Self::Duplicate => "duplicate",
            Self::Marker { moved: true } => "marker",
            Self::Marker { moved: false } => "marker_ignored",
            Self::End => "end",
            Self::Rejected(reason) => reason.as_str(),
            Self::Reread => "reread",
            Self::UnknownRun(_) => "unknown_run",
            Self::Full => "full",
        }
    }
}

/// Why a record is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    /// The key is no event id.
    UnreadableKey,
    /// The payload cannot be read, or its id is not the key.
    UnreadablePayload,
    /// Nobody knows the run.
    UnknownRun,
    /// The run has no such lane.
    UnknownLane,
    /// The lane belongs to another partition.
    WrongPartition,
    /// The number is one that no lane reaches.
    ImpossibleSequence,
    /// The number is not below the lane's end.
    BeyondEnd,
    /// An end that contradicts an earlier end, or events already counted.
    EndConflict,
    /// The lane misses more intervals than are kept; it has failed.
    TooManyGaps,
}

impl RejectReason {
    /// Every reason, in the order of the declaration.
    pub const ALL: [Self; 9] = [
        Self::UnreadableKey,
        Self::UnreadablePayload,
        Self::UnknownRun,
        Self::UnknownLane,
        Self::WrongPartition,
        Self::ImpossibleSequence,
        Self::BeyondEnd,
        Self::EndConflict,
        Self::TooManyGaps,
    ];

    /// Returns the name of the reason in metrics and dead letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnreadableKey => "unreadable_key",
            Self::UnreadablePayload => "unreadable_payload",
            Self::UnknownRun => "unknown_run",
            Self::UnknownLane => "unknown_lane",
            Self::WrongPartition => "wrong_partition",
            Self::ImpossibleSequence => "impossible_sequence",
            Self::BeyondEnd => "beyond_end",
            Self::EndConflict => "end_conflict",
            Self::TooManyGaps => "too_many_gaps",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
