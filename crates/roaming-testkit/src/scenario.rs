//! What a simulation drives: lanes that somebody sends, and what they add up to.

use roaming_analytics::RunView;
use roaming_events::{Event, LaneId, RunId, SimTime, Tally};

/// The runs of a simulation.
pub trait Scenario {
    /// Returns the runs.
    fn runs(&self) -> &[RunView];

    /// Returns the time at which every lane of every run has ended.
    fn end(&self) -> SimTime;

    /// Returns all events of a lane, in order: what the log must come to hold.
    fn events(&self, run: RunId, lane: LaneId) -> Vec<Event>;

    /// Returns what a run adds up to, computed apart from what is simulated.
    fn ledger(&self, run: RunId) -> Tally;
}
