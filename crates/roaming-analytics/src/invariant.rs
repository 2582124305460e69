//! What must always hold, by name.
//!
//! One registry for everybody: the state machine asserts it at each checkpoint and at each restart, in
//! release builds too; the simulation and the property tests check it after each step; `verify` checks
//! it on what it finds in the store.

use std::fmt;

use roaming_events::{RowKey, Sequence, SimTime, Totals};

use crate::checkpoint::LaneRow;
use crate::gaps;

/// Something that must always hold.
#[derive(Clone, Copy)]
pub struct Invariant {
    /// Its identity, `INV-1`.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it states.
    pub statement: &'static str,
    /// Whether it holds of a subject; `None` where it says nothing about that kind of subject.
    holds: fn(&Subject<'_>) -> Option<bool>,
}

/// What an invariant speaks of.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A lane.
    Lane(&'a LaneRow),
    /// A lane at two times.
    LaneStep {
        /// Earlier.
        before: &'a LaneRow,
        /// Later.
        after: &'a LaneRow,
    },
    /// An aggregate row.
    Row {
        /// What it is about.
        key: &'a RowKey,
        /// What is in it.
        totals: &'a Totals,
    },
    /// What a checkpoint adds to the store, or what a store holds, in events.
    Growth {
        /// Over all lanes.
        lanes: u64,
        /// Over all rows.
        rows: u64,
    },
    /// The next offset of a partition at two times.
    Offset {
        /// Earlier.
        before: Option<u64>,
        /// Later.
        after: Option<u64>,
    },
    /// The watermark of a run in a partition at two times.
    Watermark {
        /// Earlier.
        before: SimTime,
        /// Later.
        after: SimTime,
    },
    /// A commit that a store accepted.
    Commit {
        /// The epoch of the owner that committed.
        epoch: u64,
        /// The newest epoch that the store had given out for the partition.
        newest: u64,
    },
    /// What a lane's time claims, against what is still missing of the lane.
    Claim {
        /// The lane's time.
        claimed: SimTime,
        /// Emission time of the first event that was not counted.
        missing: SimTime,
    },
    /// How far a run's watermark came in a partition, once all that was sent was observed.
    Reached {
        /// The watermark.
        watermark: SimTime,
        /// The time up to which every lane there has said everything, with markers.
        sent: SimTime,
    },
    /// A numbered record that a lane's senders, which leave no holes, wrote to the log.
    Arrival {
        /// One more than the highest number that the log had of the lane.
        next: Sequence,
        /// The record's number.
        sequence: Sequence,
    },
}

/// Every invariant, in the order of their numbers. A number is never given twice.
pub const REGISTRY: [Invariant; 12] = [
    Invariant {
        id: "INV-1",
        name: "every number is accounted for",
        statement: "events + rejected + missing = next, for each lane",
        holds: |subject| match subject {
            Subject::Lane(lane) => {
                Some(lane.tally.events + lane.rejected + lane.missing() == lane.next.get())
            }
            _ => None,
        },
    },
    Invariant {
        id: "INV-2",
        name: "missing intervals are well formed",
        statement: "intervals are not empty, ascend, do not touch, and lie below next",
        holds: |subject| match subject {
            Subject::Lane(lane) => Some(gaps::are_well_formed(&lane.gaps, lane.next)),
            _ => None,
        },
    },
    Invariant {
        id: "INV-3",
        name: "an end is the lane's count",
        statement: "where a lane has an end, it is next",
        holds: |subject| match subject {
            Subject::Lane(lane) => Some(lane.end.is_none_or(|end| end == lane.next)),
            _ => None,
        },
    },
    Invariant {
        id: "INV-4",
        name: "a lane never goes back",
        statement: "next, events, duplicates, rejected and time do not decrease; end and failed stay",
        holds: |subject| match subject {
            Subject::LaneStep { before, after } => Some(
                before.next <= after.next
                    && before.tally.events <= after.tally.events
                    && before.duplicates <= after.duplicates
                    && before.rejected <= after.rejected
                    && before.emission_time <= after.emission_time
                    && (before.end.is_none() || before.end == after.end)
                    && before.failed <= after.failed,
            ),
            _ => None,
        },
    },
    Invariant {
        id: "INV-5",
        name: "lanes and rows count the same events",
        statement: "the events of all lanes together are the events of all rows together",
        holds: |subject| match subject {
            Subject::Growth { lanes, rows } => Some(lanes == rows),
            _ => None,
        },
    },
    Invariant {
        id: "INV-6",
        name: "a row's histogram is complete",
        statement: "the latency buckets of a row add up to its events, of which there is at least one",
        holds: |subject| match subject {
            Subject::Row { totals, .. } => Some(
                totals.events > 0 && totals.latency_buckets.iter().sum::<u64>() == totals.events,
            ),
            _ => None,
        },
    },
    Invariant {
        id: "INV-7",
        name: "the offset never goes back",
        statement: "the next offset of a partition does not decrease",
        holds: |subject| match subject {
            Subject::Offset { before, after } => Some(before <= after),
            _ => None,
        },
    },
    Invariant {
        id: "INV-8",
        name: "the watermark never goes back",
        statement: "the watermark of a run in a partition does not decrease",
        holds: |subject| match subject {
            Subject::Watermark { before, after } => Some(before <= after),
            _ => None,
        },
    },
    Invariant {
        id: "INV-9",
        name: "a partition has one owner",
        statement: "only the owner with the newest epoch commits",
        holds: |subject| match subject {
            Subject::Commit { epoch, newest } => Some(epoch == newest),
            _ => None,
        },
    },
    Invariant {
        id: "INV-10",
        name: "a lane's time claims nothing that is missing",
        statement: "no event that was not counted was emitted before the lane's time",
        holds: |subject| match subject {
            Subject::Claim { claimed, missing } => Some(claimed <= missing),
            _ => None,
        },
    },
    Invariant {
        id: "INV-11",
        name: "a number repeats but never jumps",
        statement: "the log gets no number of a lane before the one that precedes it",
        holds: |subject| match subject {
            Subject::Arrival { next, sequence } => Some(sequence <= next),
            _ => None,
        },
    },
    Invariant {
        id: "INV-12",
        name: "the watermark follows what was sent",
        statement: "once nothing is missing, the watermark is the time up to which lanes have spoken",
        holds: |subject| match subject {
            Subject::Reached { watermark, sent } => Some(watermark >= sent),
            _ => None,
        },
    },
];

/// Checks every invariant that speaks of `subject`.
///
/// # Errors
/// Fails with the first that does not hold.
pub fn check(subject: &Subject<'_>) -> Result<(), Violation> {
    match REGISTRY.iter().find(|invariant| (invariant.holds)(subject) == Some(false)) {
        None => Ok(()),
        Some(invariant) => Err(Violation { invariant, subject: format!("{subject:?}") }),
    }
}

/// Asserts every invariant that speaks of `subject`.
///
/// # Panics
/// Panics with the first that does not hold.
pub(crate) fn assert_holds(subject: &Subject<'_>) {
    if let Err(violation) = check(subject) {
        panic!("{violation}");
    }
}

/// An invariant that does not hold.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{invariant} does not hold: {subject}")]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static Invariant,
    /// What it does not hold of.
    pub subject: String,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.id, self.name, self.statement)
    }
}

impl fmt::Debug for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}
