//! One lane: what is new, what is a duplicate, what is missing.

use roaming_events::{End, Marker, Sequence, SimTime};

use crate::checkpoint::LaneRow;
use crate::gaps;
use crate::observation::RejectReason;

/// A lane's state, and what the store knows of it.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    row: LaneRow,
    /// As it stands in the store.
    stored: LaneRow,
    /// As it stands in the last checkpoint, until that is known to be committed.
    writing: Option<LaneRow>,
}

/// Where a numbered record belongs in its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is the next one.
    Next,
    /// It is in the missing interval of this index.
    Gap(usize),
    /// It is beyond the next one.
    Beyond,
    /// It was counted before.
    Duplicate,
    /// It is not counted.
    Refused(RejectReason),
}

impl Lane {
    /// Makes a lane from what the store holds of it.
    pub(crate) fn new(stored: LaneRow) -> Self {
        Self { row: stored.clone(), stored, writing: None }
    }

    pub(crate) fn row(&self) -> &LaneRow {
        &self.row
    }

    pub(crate) fn stored(&self) -> &LaneRow {
        &self.stored
    }

    /// Whether the lane holds back the watermark. A lane that has failed does not: it is reported, and
    /// what still comes of it corrects its windows.
    pub(crate) fn holds_back(&self) -> bool {
        !self.row.failed && !self.row.is_finished()
    }

    /// Says where an event of this number belongs. Nothing changes.
    pub(crate) fn place(&self, sequence: Sequence, gaps_max: usize) -> Place {
        let row = &self.row;
        if Sequence::try_new(sequence.get().saturating_add(1)).is_none() {
            Place::Refused(RejectReason::ImpossibleSequence)
        } else if row.end.is_some_and(|end| sequence >= end) {
            Place::Refused(RejectReason::BeyondEnd)
        } else if sequence == row.next {
            Place::Next
        } else if sequence > row.next {
            if row.gaps.len() < gaps_max {
                Place::Beyond
            } else {
                Place::Refused(RejectReason::TooManyGaps)
            }
        } else {
            match gaps::find(&row.gaps, sequence) {
                None => Place::Duplicate,
                Some(index) => {
                    let gaps = row.gaps.len() - 1 + gaps::pieces(row.gaps[index], sequence);
                    if gaps <= gaps_max.max(row.gaps.len()) {
                        Place::Gap(index)
                    } else {
                        Place::Refused(RejectReason::TooManyGaps)
                    }
                }
            }
        }
    }

    /// Counts an event at the place that [`Lane::place`] gave for it.
    pub(crate) fn count(&mut self, place: Place, sequence: Sequence, time: SimTime) {
        match place {
            Place::Next => {
                self.row.next = sequence.next();
                self.reach(time);
            }
            Place::Gap(index) => gaps::fill(&mut self.row.gaps, index, sequence),
            Place::Beyond => {
                self.row.gaps.push((self.row.next, sequence));
                self.row.next = sequence.next();
            }
            Place::Duplicate | Place::Refused(_) => {
                unreachable!("{place:?} is no place to count an event at")
            }
        }
    }

    /// Adds a counted event to the lane's proof.
    pub(crate) fn add(&mut self, key: &[u8], payload: &[u8]) {
        self.row.tally.add(key, payload);
    }

    /// Counts a duplicate.
    pub(crate) fn drop_duplicate(&mut self) {
        self.row.duplicates += 1;
    }

    /// Marks the lane as one that missed more intervals than are kept.
    pub(crate) fn fail(&mut self) {
        self.row.failed = true;
    }

    /// Takes a record that could not be read, if it has the next number: the lane goes on after it.
    /// Returns whether it did.
    pub(crate) fn skip_unreadable(&mut self, sequence: Sequence, gaps_max: usize) -> bool {
        let takes = self.place(sequence, gaps_max) == Place::Next;
        if takes {
            self.row.next = sequence.next();
            self.row.rejected += 1;
        }
        takes
    }

    /// Takes a marker. It counts only where it speaks of the lane as it is here. Returns whether the
    /// lane's time moved.
    pub(crate) fn observe_marker(&mut self, marker: &Marker) -> bool {
        let before = self.row.emission_time;
        if marker.next == self.row.next {
            self.reach(marker.emission_time);
        }
        self.row.emission_time > before
    }

    /// Says where an end belongs: `Next`, `Beyond`, `Duplicate` or `Refused`.
    pub(crate) fn place_end(&self, sequence: Sequence, gaps_max: usize) -> Place {
        match self.row.end {
            Some(end) if end == sequence => Place::Duplicate,
            Some(_) => Place::Refused(RejectReason::EndConflict),
            None if sequence < self.row.next => Place::Refused(RejectReason::EndConflict),
            None => self.place(sequence, gaps_max),
        }
    }

    /// Takes an end at the place `Next` or `Beyond`.
    pub(crate) fn observe_end(&mut self, end: &End) {
        let count = end.id.sequence;
        if count > self.row.next {
            self.row.gaps.push((self.row.next, count));
            self.row.next = count;
        }
        self.row.end = Some(count);
        self.reach(end.emission_time);
    }

    /// Moves the lane's time, while nothing is missing: what is missing may have been emitted earlier.
    fn reach(&mut self, time: SimTime) {
        if self.row.gaps.is_empty() {
            self.row.emission_time = self.row.emission_time.max(time);
        }
    }

    /// Returns the row to write, where it differs from the stored one.
    pub(crate) fn checkpoint(&mut self) -> Option<LaneRow> {
        self.writing = (self.row != self.stored).then(|| self.row.clone());
        self.writing.clone()
    }

    /// Takes the row of the last checkpoint for stored.
    pub(crate) fn committed(&mut self) {
        if let Some(row) = self.writing.take() {
            self.stored = row;
        }
    }
}
