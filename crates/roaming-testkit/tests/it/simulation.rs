//! Many seeds with sample lanes.
//!
//! `ROAMING_SEED=17 cargo test -p roaming-testkit --test it simulation` runs one seed and prints what
//! happened; `cargo run -p roaming-testkit --bin simulate FIRST COUNT` runs many.

use roaming_testkit::Seed;
use roaming_testkit::simulation::{Report, simulate_sample};

/// Number of seeds that each run of the test tries, from 0.
const SEEDS: u64 = 3000;

/// What must have happened at least once over all seeds: a simulation that does not do a thing proves
/// nothing about it.
const HAPPENINGS: [&str; 47] = [
    "acknowledgement lost",
    "acquired in vain",
    "acquisition failed",
    "beyond_end",
    "commit failed",
    "commit fenced",
    "commit lost",
    "commit unacknowledged",
    "consumer crash",
    "consumer expelled",
    "consumer joined again",
    "consumer rebalance in a flush",
    "consumer stopped",
    "consumers scaled",
    "corrected",
    "counted",
    "dead letters refused",
    "duplicate",
    "end",
    "end_conflict",
    "event balanced",
    "filled",
    "full",
    "impossible_sequence",
    "jumped",
    "marker",
    "marker_ignored",
    "offset commit lost",
    "orphaned checkpoint",
    "partitions moved",
    "producer crash",
    "producer rebalance",
    "record lost in flight",
    "reload failed",
    "reread",
    "retention overtook the store",
    "rewind",
    "row reloaded",
    "run paused",
    "run resumed",
    "topic made anew",
    "truncation",
    "unknown_lane",
    "unknown_run",
    "unreadable_key",
    "unreadable_payload",
    "wrong_partition",
];

#[test]
fn whatever_happens_nothing_is_lost_and_nothing_counted_twice() {
    if let Ok(seed) = std::env::var("ROAMING_SEED") {
        let seed = seed.parse().expect("ROAMING_SEED is a whole number");
        match simulate_sample(seed) {
            Ok(report) => println!("seed {seed}: {report}"),
            Err(failure) => panic!("{failure}"),
        }
        return;
    }
    let mut total = Report::default();
    for seed in (0..SEEDS).map(Seed) {
        match simulate_sample(seed) {
            Ok(report) => total.merge(&report),
            Err(failure) => panic!(
                "{failure}\nagain: ROAMING_SEED={seed} cargo test -p roaming-testkit --test it simulation"
            ),
        }
    }
    println!("{SEEDS} seeds: {total}");
    for happening in HAPPENINGS {
        assert!(total.get(happening) > 0, "`{happening}` never happened: {total}");
    }
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in [3, 141, 592].map(Seed) {
        let (once, again) = (simulate_sample(seed).unwrap(), simulate_sample(seed).unwrap());
        assert_eq!(once, again);
        assert_eq!(once.to_string(), again.to_string());
    }
}
