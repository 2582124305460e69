//! Markers, ends and watermarks.

use proptest::prelude::*;
use roaming_analytics::Observation;
use roaming_analytics::invariant::{self, Subject};

use crate::bench::{Bench, run, time};

const MOVED: Observation = Observation::Marker { moved: true };
const IGNORED: Observation = Observation::Marker { moved: false };

#[test]
fn the_slowest_lane_holds_the_watermark() {
    let mut bench = Bench::new();
    assert_eq!(bench.state.watermark(run()), time(0));
    bench.event(0, 0, 50);
    assert_eq!(bench.state.watermark(run()), time(0), "lane 2 was not seen");
    bench.event(2, 0, 30);
    assert_eq!(bench.state.watermark(run()), time(30));
    assert_eq!(bench.marker(2, 1, 80), MOVED);
    assert_eq!(bench.state.watermark(run()), time(50));
}

#[test]
fn a_marker_counts_only_where_its_number_is_next_and_nothing_is_missing() {
    let mut bench = Bench::new();
    bench.event(0, 0, 10);
    assert_eq!(bench.marker(0, 0, 20), IGNORED);
    assert_eq!(bench.marker(0, 2, 20), IGNORED);
    assert_eq!(bench.marker(0, 1, 20), MOVED);
    assert_eq!(bench.marker(0, 1, 20), IGNORED, "the same again");
    assert_eq!(bench.marker(0, 1, 15), IGNORED, "an earlier time");
    bench.event(0, 3, 40);
    assert_eq!(bench.marker(0, 4, 50), IGNORED, "numbers 1 and 2 are missing");
    assert_eq!(bench.lane(0).emission_time, time(20));
    bench.event(0, 1, 30);
    bench.event(0, 2, 35);
    assert_eq!(bench.marker(0, 4, 50), MOVED);
    assert_eq!(bench.lane(0).emission_time, time(50));
}

#[test]
fn a_finished_lane_holds_nothing_back() {
    let mut bench = Bench::new();
    bench.event(0, 0, 10);
    bench.end(0, 1, 20);
    bench.event(2, 0, 70);
    assert_eq!(bench.state.watermark(run()), time(70));
    assert!(!bench.state.is_finished(run()));
    bench.end(2, 1, 90);
    assert!(bench.state.is_finished(run()));
    assert_eq!(bench.state.watermark(run()), time(90));
}

#[test]
fn a_failed_lane_holds_nothing_back() {
    let mut bench = Bench::new();
    bench.event(2, 0, 70);
    for number in [1, 3, 5, 7, 9] {
        bench.event(0, number, number);
    }
    assert!(bench.lane(0).failed);
    assert_eq!(bench.state.watermark(run()), time(70));
}

#[test]
fn the_last_gap_of_an_ended_lane_finishes_the_run() {
    let mut bench = Bench::new();
    bench.end(2, 0, 90);
    bench.event(0, 1, 10);
    bench.end(0, 2, 90);
    assert!(!bench.state.is_finished(run()));
    bench.event(0, 0, 5);
    assert!(bench.state.is_finished(run()));
}

#[test]
fn an_unknown_run_is_at_the_beginning_of_time() {
    let bench = Bench::new();
    let unknown = roaming_events::RunId::from_hash(1);
    assert_eq!(bench.state.watermark(unknown).unix_ms(), 0);
    assert!(!bench.state.is_finished(unknown));
}

proptest! {
    #[test]
    fn the_watermark_never_goes_back(steps in prop::collection::vec((0u8..4, 0u16..2, 0u64..8, 0u64..500), 1..60)) {
        let mut bench = Bench::new();
        let mut before = bench.state.watermark(run());
        for (kind, lane, number, seconds) in steps {
            match kind {
                0 => bench.event(2 * lane, number, seconds),
                1 => bench.marker(2 * lane, number, seconds),
                2 => bench.end(2 * lane, number, seconds),
                _ => bench.broken(2 * lane, number),
            };
            let after = bench.state.watermark(run());
            let step = Subject::Watermark { before, after };
            prop_assert!(invariant::check(&step).is_ok(), "{:?}", step);
            for row in bench.state.lanes() {
                prop_assert!(invariant::check(&Subject::Lane(row)).is_ok(), "{row:?}");
            }
            before = after;
        }
    }

    #[test]
    fn the_watermark_is_the_minimum_over_lanes_that_count(steps in prop::collection::vec((0u8..3, 0u16..2, 0u64..500), 1..60)) {
        let mut bench = Bench::new();
        for (kind, lane, seconds) in steps {
            let next = bench.lane(2 * lane).next.get();
            match kind {
                0 => bench.event(2 * lane, next, seconds),
                1 => bench.marker(2 * lane, next, seconds),
                _ => bench.event(2 * lane, next + 1, seconds),
            };
            let counting = bench.state.lanes().filter(|row| !row.failed && !row.is_finished());
            let all = bench.state.lanes().map(|row| row.emission_time).max();
            let expected = counting.map(|row| row.emission_time).min().or(all);
            prop_assert_eq!(Some(bench.state.watermark(run())), expected);
        }
    }
}
