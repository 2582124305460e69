//! The engine as its users see it.

#![expect(clippy::unwrap_used, reason = "what the tests share is a test too")]

mod bad_input;
mod baselines;
mod conservation;
mod control;
mod determinism;
mod golden;
mod isolation;
mod misbehaviour;
mod snapshot;
mod synthetic;

use std::sync::Arc;

use roaming_events::{Event, LaneId, SimDuration};
use roaming_sim::{Profile, STREAM_VERSION, Simulation, Specification};

/// Returns a specification of `profile` with `lanes` lanes and the seed 7.
fn specification(profile: Profile, lanes: u16) -> Specification {
    Specification {
        name: "test".to_owned(),
        profile,
        seed: 7,
        lanes,
        events_partitions: 4,
        lanes_partitions: 4,
        stream_version: STREAM_VERSION,
    }
}

fn simulation(profile: Profile, lanes: u16) -> Arc<Simulation> {
    Arc::new(Simulation::try_new(Arc::new(specification(profile, lanes))).unwrap())
}

/// Returns the profile `demo` with fewer subscribers.
fn small_demo(subscribers: u32) -> Profile {
    Profile { subscribers, ..Profile::builtin("demo").unwrap() }
}

/// Returns the profile `demo` with few subscribers and little time.
fn short_demo(subscribers: u32, hours: u64) -> Profile {
    Profile { duration: SimDuration::from_secs(hours * 3600), ..small_demo(subscribers) }
}

fn lane(number: u16) -> LaneId {
    LaneId::try_new(number).unwrap()
}

/// Returns all events of a run, lane by lane.
fn events(simulation: &Arc<Simulation>) -> Vec<Event> {
    let lanes = LaneId::all(simulation.specification().lanes);
    lanes.flat_map(|lane| simulation.lane(lane)).collect()
}
