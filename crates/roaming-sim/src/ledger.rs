//! The ledger: what a run must add up to, computed from its specification alone.

use std::sync::Arc;

use roaming_events::{LaneId, LaneTally, RowKey, Sequence, SimDuration, Tally, json};

use crate::Simulation;

/// Returns what one lane adds up to, in windows of length `window`; with `prefix`, only its events
/// before that sequence.
///
/// # Panics
/// Panics where the run has no such lane or `window` is zero.
pub fn lane(
    simulation: &Arc<Simulation>,
    lane: LaneId,
    window: SimDuration,
    prefix: Option<Sequence>,
) -> Tally {
    let mut tally = Tally::default();
    let mut total = LaneTally::default();
    let mut payload = Vec::with_capacity(1024);
    let mut events = simulation.lane(lane);
    while prefix.is_none_or(|prefix| events.sequence() < prefix)
        && let Some(event) = events.next()
    {
        payload.clear();
        json::encode(&event, &mut payload);
        total.add(&event.id.text(), &payload);
        tally.rows.entry(RowKey::of(&event, window)).or_default().add(&event);
    }
    tally.lanes.insert(lane, total);
    tally
}

/// Returns what all lanes of a run add up to, one after the other. Who has several cores computes
/// [`lane`] on each and merges: the order does not matter.
pub fn run(simulation: &Arc<Simulation>, window: SimDuration) -> Tally {
    let mut tally = Tally::default();
    for id in LaneId::all(simulation.specification().lanes) {
        tally.merge(&lane(simulation, id, window, None));
    }
    tally
}
