//! Specification and control record.

use std::sync::Arc;

use roaming_events::{SimDuration, SimTime};
use roaming_sim::control::{Anchor, RunState, Speed};
use roaming_sim::{ControlRecord, Profile, STREAM_VERSION, Simulation, Specification};

use crate::{short_demo, specification};

const SECOND: SimDuration = SimDuration::from_secs(1);

fn record(speed: Speed) -> ControlRecord {
    ControlRecord::start(Arc::new(specification(short_demo(10, 1), 2)), speed, 1_000_000)
}

#[test]
fn a_factor_ties_simulated_time_to_wall_time() {
    let record = record(Speed::Factor(60.0));
    let start = record.specification.start();
    assert_eq!(record.allowed_until(1_000_000), start);
    assert_eq!(record.allowed_until(1_001_000), start + SimDuration::from_secs(60));
    assert_eq!(record.allowed_until(999_000), start);
}

#[test]
fn a_pause_stands_still_and_resuming_does_not_burst() {
    let paused = record(Speed::Factor(2.0)).pause(1_005_000, SimTime::MAX);
    let reached = paused.specification.start() + SimDuration::from_secs(10);
    assert_eq!(paused.state, RunState::Paused);
    assert_eq!(paused.allowed_until(9_000_000), reached);
    let resumed = paused.resume(9_000_000, paused.specification.start());
    assert_eq!(resumed.allowed_until(9_000_000), reached);
    assert_eq!(resumed.allowed_until(9_000_500), reached + SECOND);
}

#[test]
fn another_speed_goes_on_from_where_time_stands() {
    let record = record(Speed::Factor(2.0));
    let start = record.specification.start();
    let faster = record.with_speed(Speed::Factor(10.0), 1_001_000, SimTime::MAX);
    assert_eq!(faster.allowed_until(1_002_000), start + SimDuration::from_secs(12));
}

#[test]
fn at_full_speed_a_pause_is_where_the_lanes_are() {
    let record = record(Speed::Max);
    assert_eq!(record.allowed_until(0), SimTime::MAX);
    let reached = record.specification.start() + SECOND;
    assert_eq!(record.pause(1_000_500, reached).allowed_until(2_000_000), reached);
    let stopped = record.stop(1_000_500, reached);
    assert_eq!(stopped.anchor, Anchor { sim: reached, wall_unix_ms: 1_000_500 });
    assert_eq!(stopped.state, RunState::Stopped);
}

#[test]
fn a_pace_after_full_speed_begins_where_the_lanes_are() {
    let paused = record(Speed::Max).pause(1_000_500, SimTime::default());
    let reached = paused.specification.start() + SECOND;
    let paced = paused.with_speed(Speed::Factor(1.0), 1_001_000, reached);
    assert_eq!(paced.resume(2_000_000, reached).allowed_until(2_001_000), reached + SECOND);
}

#[test]
fn a_deleted_run_emits_nothing_and_keeps_its_id() {
    let running = record(Speed::Factor(2.0));
    let deleted = running.delete(1_001_000, SimTime::MAX);
    assert_eq!((deleted.run, deleted.state), (running.run, RunState::Deleted));
    assert_eq!(deleted.allowed_until(u64::MAX), running.specification.start() + SECOND + SECOND);
}

#[test]
fn a_control_record_reads_back() {
    for speed in [Speed::Max, Speed::Factor(0.5)] {
        let record = record(speed);
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<ControlRecord>(&json).unwrap(), record);
    }
}

#[test]
fn the_run_id_survives_json_and_depends_on_each_part() {
    let specification = specification(Profile::builtin("demo").unwrap(), 64);
    let json = serde_json::to_string(&specification).unwrap();
    let read: Specification = serde_json::from_str(&json).unwrap();
    assert_eq!(read.run_id(), specification.run_id());
    let others = [
        Specification { name: "other".to_owned(), ..specification.clone() },
        Specification { seed: 8, ..specification.clone() },
        Specification { lanes: 63, ..specification.clone() },
        Specification { events_partitions: 5, ..specification.clone() },
        Specification { profile: Profile::builtin("urban").unwrap(), ..specification.clone() },
    ];
    for other in others {
        assert_ne!(other.run_id(), specification.run_id());
    }
}

#[test]
fn what_this_engine_cannot_run_is_refused() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut Specification), message: &str) {
        let mut changed = specification(short_demo(10, 1), 2);
        change(&mut changed);
        let error = Simulation::try_new(Arc::new(changed)).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    check(
        |specification| specification.stream_version = STREAM_VERSION + 1,
        "the run has stream version 2, this engine makes version 1; run it with the release that \
         loaded it, or load it again under another name",
    );
    check(|specification| specification.lanes = 0, "0 lanes; allowed is 1 to 4096");
    check(|specification| specification.lanes = 5000, "5000 lanes; allowed is 1 to 4096");
    check(
        |specification| specification.events_partitions = 0,
        "0 partitions of topic events; allowed is 1 and more",
    );
    check(
        |specification| specification.profile.visited_networks.clear(),
        "the profile is damaged: no visited network has a share; load it again from its file",
    );
    check(
        |specification| specification.profile.conditions[0].network = 99,
        "the profile is damaged: a reference to a visited network leads nowhere; load it again from \
         its file",
    );
}
