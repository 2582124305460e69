//! A lane restored from its snapshot is the lane.

use proptest::prelude::*;
use roaming_events::{Event, Sequence};
use roaming_sim::{Lane, Profile, SnapshotError};

use crate::{lane, short_demo, simulation, small_demo};

/// Where the state stands in a snapshot, after its layout and hash.
const BODY: usize = 9;

fn rest(lane: Lane) -> Vec<Event> {
    lane.collect()
}

/// Returns the lane 1 of a run after so many events.
fn lane_after(simulation: &std::sync::Arc<roaming_sim::Simulation>, events: u64) -> Lane {
    let mut lane = simulation.lane(lane(1));
    lane.forward_to(Sequence::try_new(events).unwrap());
    lane
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn it_goes_on_with_the_same_events(
        subscribers in 2_u32..60,
        hours in 1_u64..30,
        events in 0_u64..3000,
    ) {
        let simulation = simulation(short_demo(subscribers, hours), 2);
        let original = lane_after(&simulation, events);
        let snapshot = original.snapshot();
        let restored = simulation.restore(lane(1), &snapshot).unwrap();
        prop_assert_eq!(restored.snapshot(), snapshot, "the state itself");
        prop_assert_eq!(restored.time(), original.time());
        prop_assert_eq!(restored.sequence(), original.sequence());
        prop_assert_eq!(rest(restored), rest(original));
    }
}

#[test]
fn every_profile_goes_on_with_the_same_events() {
    for name in ["demo", "urban", "rural", "cross_border"] {
        let profile = Profile { subscribers: 300, ..Profile::builtin(name).unwrap() };
        let simulation = simulation(profile, 3);
        for events in [0, 700, 2000] {
            let mut original = lane_after(&simulation, events);
            // In the middle of a window too, as the producer leaves it.
            let until = original.time() + roaming_events::SimDuration::from_secs(31);
            while original.next_before(until).is_some() {}
            let restored = simulation.restore(lane(1), &original.snapshot()).unwrap();
            assert_eq!(restored.time(), original.time());
            assert_eq!(rest(restored), rest(original), "{name} after {events}");
        }
    }
}

#[test]
fn a_snapshot_of_something_else_is_refused() {
    let run = simulation(small_demo(50), 3);
    let snapshot = lane_after(&run, 500).snapshot();
    let other_run = simulation(small_demo(51), 3);
    assert!(matches!(other_run.restore(lane(1), &snapshot), Err(SnapshotError::Foreign { .. })));
    assert!(matches!(run.restore(lane(2), &snapshot), Err(SnapshotError::Foreign { .. })));
    let newer = [&[2], &snapshot[1..]].concat();
    assert!(matches!(run.restore(lane(1), &newer), Err(SnapshotError::Layout)));
    assert!(matches!(run.restore(lane(1), &snapshot[..3]), Err(SnapshotError::Layout)));
    assert!(matches!(run.restore(lane(1), &[]), Err(SnapshotError::Layout)));
}

#[test]
fn damage_is_noticed() {
    let run = simulation(small_demo(20), 2);
    let snapshot = lane_after(&run, 400).snapshot();
    for at in 1..snapshot.len() {
        let mut damaged = snapshot.clone();
        damaged[at] ^= 0x10;
        assert!(matches!(run.restore(lane(1), &damaged), Err(SnapshotError::Hash)), "octet {at}");
        assert!(run.restore(lane(1), &snapshot[..at]).is_err(), "cut at {at}");
    }
}

/// Whoever writes the right hash to the wrong state gets an error, or a lane that can be asked: no panic.
#[test]
fn a_state_that_cannot_be_is_refused_or_harmless() {
    let run = simulation(short_demo(20, 2), 2);
    let snapshot = lane_after(&run, 100).snapshot();
    let mut refused = 0;
    for at in BODY..snapshot.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = snapshot.clone();
            changed[at] = value;
            let hash = xxhash_rust::xxh3::xxh3_64(&changed[BODY..]).to_le_bytes();
            changed[1..BODY].copy_from_slice(&hash);
            match run.restore(lane(1), &changed) {
                Ok(lane) => drop((lane.time(), lane.sequence(), lane.is_exhausted())),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > snapshot.len(), "{refused}");
}
