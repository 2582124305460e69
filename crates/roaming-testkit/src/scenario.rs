//! What a simulation drives: lanes that somebody sends, and what they add up to.

use roaming_analytics::RunView;
use roaming_events::{
    Event, EventId, LaneId, Marker, RunId, Sequence, SimDuration, SimTime, Tally,
};

/// The runs of a simulation, and who sends their lanes.
pub trait Scenario {
    /// What sends a lane.
    type Sender: Sender;

    /// Returns the runs.
    fn runs(&self) -> &[RunView];

    /// Returns the time at which every lane of every run has ended.
    fn end(&self) -> SimTime;

    /// Returns how far behind the time allowed the last marker of a quiet lane may be.
    fn marker_lag(&self) -> SimDuration {
        SimDuration::ZERO
    }

    /// Returns all events of a lane, in order: what the log must come to hold.
    fn events(&self, run: RunId, lane: LaneId) -> Vec<Event>;

    /// Returns what a run adds up to, computed apart from what is simulated.
    fn ledger(&self, run: RunId) -> Tally;

    /// Makes the sender of a lane, as its new owner does, from the progress that was recorded last.
    fn sender(
        &self,
        run: RunId,
        lane: LaneId,
        progress: Option<&<Self::Sender as Sender>::Progress>,
    ) -> Self::Sender;
}

/// What sends a lane: the state machine of a lane's owner.
pub trait Sender {
    /// What a later owner of the lane needs to know.
    type Progress: Clone;

    /// Returns what is to be sent next, of what is emitted before `until`, and puts it into `payload`.
    fn next(&mut self, until: SimTime, payload: &mut Vec<u8>) -> Step;

    /// Learns that the log holds the numbered record `sequence`, and all numbered records of this sender
    /// before it.
    ///
    /// # Errors
    /// Fails where it is not the next one in order: the session cannot be trusted and must be given up.
    fn acknowledged(&mut self, sequence: Sequence) -> Result<(), GiveUp>;

    /// Returns the progress to record, where it changed since the last call: never ahead of what was
    /// acknowledged.
    fn progress(&mut self) -> Option<Self::Progress>;
}

/// What a sender does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It sends an event.
    Event(EventId),
    /// It says that nothing is emitted before a time.
    Marker(Marker),
    /// It says that the lane is at its end.
    End(EventId),
    /// It has nothing to say for now.
    Wait,
    /// It has said everything.
    Done,
}

/// The session that acknowledged this must be given up, and its lanes resumed from recorded progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("acknowledged out of order")]
pub struct GiveUp;
