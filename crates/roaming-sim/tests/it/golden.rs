//! The bytes of the stream are part of the contract: other digests are a breaking change and need
//! another `STREAM_VERSION`.

use roaming_events::{LaneId, SimDuration};
use roaming_sim::{Profile, ledger};

use crate::{simulation, specification};

/// A profile of the tests' own: those that people run may change.
fn profile() -> Profile {
    Profile::parse("stream.yaml", include_str!("../golden/stream.yaml")).unwrap()
}

#[test]
fn each_lane_has_its_golden_digest() {
    let simulation = simulation(profile(), 4);
    let found: Vec<String> = LaneId::all(4)
        .map(|id| {
            let tally = ledger::lane(&simulation, id, SimDuration::from_secs(900), None);
            let lane = tally.lanes[&id];
            format!("{id} {} {}", lane.events, lane.digest)
        })
        .collect();
    assert_eq!(found, GOLDEN);
}

#[test]
fn the_run_id_is_golden_too() {
    assert_eq!(specification(profile(), 4).run_id().to_string(), GOLDEN_RUN);
}

/// Lane, number of events, digest.
const GOLDEN: [&str; 4] = [
    "0 4611 2995c1e79cc1b41e",
    "1 4819 15fe20dbd3d7714b",
    "2 4403 3f6fd4860cee9077",
    "3 4398 16aa12b3914194e9",
];
const GOLDEN_RUN: &str = "0ade3686d104a266";
