//! Many seeds of each kind of simulation.
//!
//! `ROAMING_SEED=17 cargo test -p roaming-testkit --test it simulation` runs one seed and prints what
//! happened; `cargo run -p roaming-testkit --bin simulate FIRST COUNT` runs many.

use roaming_testkit::Seed;
use roaming_testkit::simulation::{Kind, Report, simulate};

/// What must have happened at least once over all seeds, of either kind: a simulation that does not do a
/// thing proves nothing about it.
const CONSUMERS: [&str; 45] = [
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
    "full",
    "impossible_sequence",
    "marker",
    "marker_ignored",
    "offset commit lost",
    "orphaned checkpoint",
    "partitions moved",
    "reload failed",
    "reread",
    "retention overtook the store",
    "rewind",
    "row reloaded",
    "run paused",
    "run resumed",
    "stranger",
    "topic made anew",
    "truncation",
    "unknown run",
    "unknown_lane",
    "unknown_run",
    "unreadable_key",
    "unreadable_payload",
    "wrong_partition",
    "acknowledgement lost",
    "record lost in flight",
];

/// The same of the model of producers, whose records may overtake each other.
const OWNERS: [&str; 5] = ["filled", "jumped", "producer crash", "producer rebalance", "reorder"];

/// The same of the producer's own code.
const SENDERS: [&str; 31] = [
    "client given up in a hand-over",
    "client given up",
    "clock jumped",
    "delivery failed",
    "first batch overtaken",
    "hand-over by control record",
    "hand-over of partitions",
    "hand-over too slow",
    "held by flow control",
    "lanes moved",
    "lanes not at rest in time",
    "leader away",
    "partition read while it is taken away",
    "producer crash in a hand-over",
    "producer crash",
    "producer expelled",
    "producer frozen",
    "producer joined again",
    "producer rebalance",
    "producer stopped",
    "producers scaled",
    "progress compacted",
    "progress lost",
    "run at another speed",
    "run at full speed",
    "run loaded again",
    "run taken away",
    "send refused",
    "sender frozen",
    "session of a frozen producer timed out",
    "zombie sent",
];

/// Runs seeds from 0, or the one of `ROAMING_SEED`, and demands that all that is listed happened.
fn run(kind: Kind, seeds: u64, happenings: [&[&str]; 2]) {
    if let Ok(seed) = std::env::var("ROAMING_SEED") {
        let seed = seed.parse().expect("ROAMING_SEED is a whole number");
        match simulate(kind, seed) {
            Ok(report) => println!("seed {seed}: {report}"),
            Err(failure) => panic!("{failure}"),
        }
        return;
    }
    let mut total = Report::default();
    for seed in (0..seeds).map(Seed) {
        match simulate(kind, seed) {
            Ok(report) => total.merge(&report),
            Err(failure) => panic!(
                "{failure}\nagain: ROAMING_SEED={seed} cargo test -p roaming-testkit --test it {}",
                kind.as_str()
            ),
        }
    }
    println!("{seeds} seeds: {total}");
    let absent: Vec<_> =
        happenings.into_iter().flatten().filter(|name| total.get(name) == 0).collect();
    assert!(absent.is_empty(), "{absent:?} never happened: {total}");
}

#[test]
fn sample_lanes_balance_whatever_happens() {
    run(Kind::Sample, 3000, [&CONSUMERS, &OWNERS]);
}

#[test]
fn engine_lanes_from_the_producer_s_code_balance_whatever_happens() {
    run(Kind::Engine, 2000, [&CONSUMERS, &SENDERS]);
}

#[test]
fn a_client_is_given_up_for_a_piece_of_a_snapshot_that_does_not_arrive() {
    simulate(Kind::Engine, Seed(7333)).unwrap();
}

#[test]
fn a_seed_repeats_exactly() {
    let seeds = |kind| [3, 141, 592].map(|seed| (kind, Seed(seed)));
    for (kind, seed) in Kind::ALL.into_iter().flat_map(seeds) {
        let (once, again) = (simulate(kind, seed).unwrap(), simulate(kind, seed).unwrap());
        assert_eq!(once, again);
        assert_eq!(once.to_string(), again.to_string());
    }
}
