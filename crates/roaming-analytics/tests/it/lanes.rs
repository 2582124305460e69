//! What is new, what is a duplicate, what is missing.

use proptest::prelude::*;
use roaming_analytics::{Observation, RejectReason};
use roaming_events::{Event, Record, RowKey, Tally};
use roaming_testkit::sample;
use roaming_testkit::{Concern, Seed};

use crate::bench::{Bench, CONFIG, PARTITION, event, lane, run};

#[test]
fn the_next_event_counts_and_the_same_again_does_not() {
    let mut bench = Bench::new();
    assert_eq!(bench.event(0, 0, 1), Observation::Counted);
    assert_eq!(bench.event(0, 1, 2), Observation::Counted);
    assert_eq!(bench.event(0, 0, 1), Observation::Duplicate);
    assert_eq!(bench.event(0, 1, 2), Observation::Duplicate);
    let row = bench.lane(0);
    assert_eq!((row.tally.events, row.next.get(), row.duplicates), (2, 2, 2));
}

#[test]
fn a_jump_opens_a_gap_that_late_events_fill() {
    let mut bench = Bench::new();
    assert_eq!(bench.event(0, 5, 6), Observation::Jumped);
    assert_eq!(bench.gaps(0), [(0, 5)]);
    assert_eq!(bench.event(0, 2, 3), Observation::Filled);
    assert_eq!(bench.gaps(0), [(0, 2), (3, 5)]);
    assert_eq!(bench.event(0, 2, 3), Observation::Duplicate);
    for number in [0, 1, 4, 3] {
        assert_eq!(bench.event(0, number, number + 1), Observation::Filled);
    }
    assert_eq!(bench.gaps(0), []);
    assert_eq!((bench.lane(0).tally.events, bench.lane(0).next.get()), (6, 6));
}

#[test]
fn one_gap_too_many_fails_the_lane_and_loses_nothing_that_fits() {
    let mut bench = Bench::new();
    for number in [1, 3, 5, 7] {
        assert_eq!(bench.event(0, number, number), Observation::Jumped);
    }
    assert!(!bench.lane(0).failed);
    let too_many = Observation::Rejected(RejectReason::TooManyGaps);
    assert_eq!(bench.event(0, 9, 9), too_many);
    assert!(bench.lane(0).failed);
    assert_eq!((bench.lane(0).next.get(), bench.state.unattributed_rejects()), (8, 1));
    // What is next, and what fills, still counts; then there is room again, and the failure stays.
    assert_eq!(bench.event(0, 8, 8), Observation::Counted);
    assert_eq!(bench.event(0, 0, 1), Observation::Filled);
    assert_eq!(bench.event(0, 10, 10), Observation::Jumped);
    assert!(bench.lane(0).failed);
    bench.flush();
    bench.restart();
    assert!(bench.lane(0).failed);
}

#[test]
fn a_split_that_needs_one_gap_too_many_fails_the_lane() {
    let mut bench = Bench::new();
    for number in [3, 5, 7, 9] {
        assert_eq!(bench.event(0, number, number), Observation::Jumped);
    }
    assert_eq!(bench.event(0, 1, 1), Observation::Rejected(RejectReason::TooManyGaps));
    assert_eq!(bench.gaps(0), [(0, 3), (4, 5), (6, 7), (8, 9)]);
    assert_eq!(bench.event(0, 2, 2), Observation::Filled);
}

#[test]
fn an_end_ahead_of_missing_events_waits_for_them() {
    let mut bench = Bench::new();
    bench.event(0, 0, 1);
    assert_eq!(bench.end(0, 3, 100), Observation::End);
    assert_eq!(bench.gaps(0), [(1, 3)]);
    assert!(!bench.lane(0).is_finished());
    assert_eq!(bench.event(0, 2, 3), Observation::Filled);
    assert_eq!(bench.event(0, 1, 2), Observation::Filled);
    assert!(bench.lane(0).is_finished());
    assert_eq!(bench.end(0, 3, 100), Observation::Duplicate);
}

#[test]
fn a_lane_without_events_ends() {
    let mut bench = Bench::new();
    assert_eq!(bench.end(2, 0, 100), Observation::End);
    assert!(bench.lane(2).is_finished());
    assert_eq!(bench.lane(2).tally.events, 0);
}

#[test]
fn an_offset_that_was_read_before_changes_nothing() {
    let mut bench = Bench::new();
    bench.event(0, 0, 1);
    bench.flush();
    let before = bench.store.clone();
    let record = Record::Event(event(0, 0, 1));
    let payload = crate::bench::payload(&record);
    let key = record.id().text();
    assert_eq!(bench.state.observe(0, Ok(record), &key, &payload), Observation::Reread);
    assert_eq!(bench.state.reject_foreign(0), Observation::Reread);
    assert_eq!(bench.state.checkpoint(), None);
    assert_eq!(bench.store.stored(PARTITION), before.stored(PARTITION));
}

/// Some events of both lanes of the partition, in an order in which each is late by less than `late`
/// places, and some of them repeated.
fn shuffled(seed: u64, late: u64) -> (Vec<Event>, Vec<Event>) {
    let mut stream = Seed(seed).stream(Concern::Network);
    let whole: Vec<Event> = (0..40)
        .flat_map(|number| [event(0, number, 60 * number), event(2, number, 60 * number)])
        .collect();
    let mut delivered: Vec<(u64, Event)> = Vec::new();
    for (place, event) in (0..).zip(&whole) {
        for _ in 0..=stream.below(2) {
            delivered.push((place + stream.below(late), *event));
        }
    }
    delivered.sort_by_key(|(place, _)| *place);
    (whole, delivered.into_iter().map(|(_, event)| event).collect())
}

fn expected(events: &[Event]) -> Tally {
    let of = |number| -> Vec<Event> {
        events.iter().filter(|event| event.id.lane == lane(number)).copied().collect()
    };
    let lanes = [(lane(0), of(0)), (lane(2), of(2))];
    sample::tally(lanes.iter().map(|(lane, events)| (*lane, events.as_slice())), CONFIG.window)
}

proptest! {
    #[test]
    fn any_order_with_any_repetition_gives_the_same_rows_and_digests(seed: u64, late in 1u64..8) {
        let (whole, delivered) = shuffled(seed, late);
        let mut bench = Bench::new();
        for event in &delivered {
            let observation = bench.record(Record::Event(*event));
            prop_assert!(!matches!(observation, Observation::Rejected(_)), "{observation:?}");
        }
        bench.flush();
        let expected = expected(&whole);
        prop_assert_eq!(bench.store.rows(run()), expected.rows);
        for row in bench.store.lanes(run()) {
            prop_assert_eq!(row.tally, expected.lanes[&row.lane]);
            prop_assert!(row.gaps.is_empty());
            let copies = delivered.iter().filter(|event| event.id.lane == row.lane).count();
            prop_assert_eq!(row.tally.events + row.duplicates, copies as u64);
        }
    }

    #[test]
    fn what_partitions_found_adds_up_in_any_grouping(seed: u64, left in 0usize..80, right in 0usize..80) {
        let (whole, _) = shuffled(seed, 1);
        let (low, high) = (left.min(right), left.max(right));
        let parts = [&whole[..low], &whole[low..high], &whole[high..]].map(expected);
        let [a, b, c] = &parts;
        let mut left_first = a.clone();
        left_first.merge(b);
        left_first.merge(c);
        let mut right_first = b.clone();
        right_first.merge(c);
        right_first.merge(a);
        prop_assert_eq!(&left_first, &right_first);
        prop_assert_eq!(left_first, expected(&whole));
    }
}

#[test]
fn rows_are_by_event_time() {
    let mut bench = Bench::new();
    let late = Event { emission_time: crate::bench::time(3000), ..event(0, 0, 10) };
    bench.record(Record::Event(late));
    bench.flush();
    let rows = bench.store.rows(run());
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [RowKey::of(&late, CONFIG.window)]);
    assert_eq!(rows.keys().next().unwrap().window_start, crate::bench::time(0));
}
