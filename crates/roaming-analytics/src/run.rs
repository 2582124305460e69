//! A run, as one partition sees it.

use roaming_events::{LaneId, RunId, SimDuration, SimTime};

use crate::checkpoint::LaneRow;
use crate::lane::Lane;
use crate::observation::RejectReason;

/// What a partition needs to know of a run's specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunView {
    /// The run.
    pub run: RunId,
    /// Number of lanes, 1 to [`LaneId::COUNT_MAX`].
    pub lanes: u16,
    /// Number of partitions of `roaming.events` that the lanes are spread over, from 1.
    pub partitions: u16,
    /// The run's start: the time of a lane of which nothing was seen.
    pub start: SimTime,
}

impl RunView {
    /// Returns the lanes that live in `partition`, in order.
    pub fn lanes_of(&self, partition: u16) -> impl Iterator<Item = LaneId> {
        let partitions = self.partitions;
        LaneId::all(self.lanes).filter(move |lane| lane.partition(partitions) == partition)
    }
}

/// The lanes of a run that live in one partition.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    view: RunView,
    /// Ascending; the lane at an index is `partition + index × partitions`.
    lanes: Vec<Lane>,
    watermark: SimTime,
    watermark_stored: SimTime,
    watermark_writing: Option<SimTime>,
    is_finished: bool,
}

impl Run {
    /// Makes a run whose lanes in `partition` stand as `stored`, and those not in there, unseen.
    ///
    /// # Panics
    /// Panics where `stored` holds a lane that does not live in `partition`.
    pub(crate) fn new(partition: u16, view: RunView, stored: Vec<LaneRow>) -> Self {
        let mut lanes: Vec<Lane> = view
            .lanes_of(partition)
            .map(|lane| Lane::new(LaneRow::unseen(view.run, lane, view.start)))
            .collect();
        for row in stored {
            let index = index_of(&view, partition, row.lane)
                .expect("the store holds a lane under the partition where the lane lives");
            lanes[index] = Lane::new(row);
        }
        let mut run = Self {
            view,
            lanes,
            watermark: view.start,
            watermark_stored: view.start,
            watermark_writing: None,
            is_finished: false,
        };
        run.advance();
        run.watermark_stored = run.watermark;
        run
    }

    pub(crate) fn watermark(&self) -> SimTime {
        self.watermark
    }

    /// Whether every lane in this partition is finished.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Whether no lane that counts has anything more to say about the window of length `window` that
    /// starts at `window_start`.
    pub(crate) fn is_closed(&self, window_start: SimTime, window: SimDuration) -> bool {
        self.is_finished || window_start + window <= self.watermark
    }

    pub(crate) fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    pub(crate) fn lanes_mut(&mut self) -> &mut [Lane] {
        &mut self.lanes
    }

    /// Returns the index of a lane in [`Run::lanes`].
    pub(crate) fn index_of(&self, partition: u16, lane: LaneId) -> Result<usize, RejectReason> {
        index_of(&self.view, partition, lane)
    }

    /// Lets the watermark follow the lane at `index`, which stood at `before`.
    pub(crate) fn follow(&mut self, index: usize, before: SimTime) {
        // Only the lane that held the watermark back can let it go: most records need no search.
        let lane = &self.lanes[index];
        let has_moved = lane.row().emission_time > before || !lane.holds_back();
        if has_moved && before <= self.watermark {
            self.advance();
        }
    }

    /// Brings the watermark to the earliest time of the lanes that hold it back, or, where there are
    /// none, to the latest time of all. It never goes back.
    fn advance(&mut self) {
        let time = |lane: &Lane| lane.row().emission_time;
        let earliest = self.lanes.iter().filter(|lane| lane.holds_back()).map(time).min();
        let reached = earliest.or_else(|| self.lanes.iter().map(time).max());
        self.watermark = self.watermark.max(reached.unwrap_or_default());
        self.is_finished = self.lanes.iter().all(|lane| lane.row().is_finished());
    }

    /// Returns the watermark to write, where it moved.
    pub(crate) fn checkpoint(&mut self) -> Option<SimTime> {
        self.watermark_writing =
            (self.watermark != self.watermark_stored).then_some(self.watermark);
        self.watermark_writing
    }

    /// Takes the watermark and the lanes of the last checkpoint for stored.
    pub(crate) fn committed(&mut self) {
        self.lanes.iter_mut().for_each(Lane::committed);
        if let Some(watermark) = self.watermark_writing.take() {
            self.watermark_stored = watermark;
        }
    }
}

fn index_of(view: &RunView, partition: u16, lane: LaneId) -> Result<usize, RejectReason> {
    if lane.get() >= view.lanes {
        Err(RejectReason::UnknownLane)
    } else if lane.partition(view.partitions) == partition {
        Ok(usize::from(lane.get() / view.partitions))
    } else {
        Err(RejectReason::WrongPartition)
    }
}
