//! Any prefix and a restart are as good as none.

use proptest::prelude::*;
use roaming_analytics::{Observation, Partition};
use roaming_events::{End, Event, EventId, Marker, Record};
use roaming_testkit::{Concern, Seed};

use crate::bench::{Bench, CONFIG, PARTITION, event, id, lane, payload, run, sequence, time, view};

/// Key and payload.
type Bytes = (Vec<u8>, Vec<u8>);

/// A log of one partition: events of both lanes, late ones, repeated and reordered ones, markers, ends,
/// broken and foreign records.
fn log(seed: u64) -> Vec<Bytes> {
    let mut stream = Seed(seed).stream(Concern::Network);
    let mut log: Vec<(u64, Bytes)> = Vec::new();
    for number in 0..30u64 {
        for lane_number in [0, 2] {
            let at = number * 10 + stream.below(25);
            let emitted = 120 * number;
            let happened = emitted - stream.below(emitted.max(1)) * stream.below(2);
            let event = Event { event_time: time(happened), ..event(lane_number, number, emitted) };
            let record = Record::Event(event);
            for _ in 0..=stream.below(2) {
                log.push((at, bytes(&record)));
            }
            let (run, next) = (run(), sequence(number));
            let marker =
                Marker { run, lane: lane(lane_number), next, emission_time: time(emitted) };
            log.push((number * 10, bytes(&Record::Marker(marker))));
            if stream.chance(200) {
                let key = id(lane_number, stream.below(30)).text().to_vec();
                log.push((stream.below(300), (key, b"broken".to_vec())));
            }
        }
    }
    for lane_number in [0, 2] {
        let end = End { id: id(lane_number, 30), emission_time: time(4000) };
        log.push((295 + stream.below(40), bytes(&Record::End(end))));
    }
    let foreign = EventId { lane: lane(1), ..id(0, 0) };
    log.push((stream.below(300), bytes(&Record::Event(Event { id: foreign, ..event(0, 0, 1) }))));
    log.sort_by_key(|(at, _)| *at);
    log.into_iter().map(|(_, record)| record).collect()
}

fn bytes(record: &Record) -> Bytes {
    (record.id().text().to_vec(), payload(record))
}

/// Observes the whole log. Before the record at an offset, it may flush, and may restart without having
/// flushed.
fn observe(log: &[Bytes], flushes: &[usize], restarts: &[usize]) -> Bench {
    let mut bench = Bench::new();
    let mut restarts = restarts.to_vec();
    let mut offset = 0;
    while offset < log.len() {
        if flushes.contains(&offset) {
            bench.flush();
        }
        if let Some(index) = restarts.iter().position(|restart| *restart == offset) {
            restarts.swap_remove(index);
            offset = bench.restart() as usize;
        }
        let (key, payload) = &log[offset];
        let observation = bench.bytes(key, payload);
        assert!(!matches!(observation, Observation::Full | Observation::UnknownRun(_)));
        offset += 1;
    }
    bench.flush();
    bench
}

proptest! {
    #[test]
    fn any_prefix_and_a_restart_are_as_good_as_none(
        seed: u64,
        flushes in prop::collection::vec(0usize..250, 0..12),
        restarts in prop::collection::vec(0usize..250, 1..8),
    ) {
        let log = log(seed);
        let straight = observe(&log, &[], &[]);
        let restarted = observe(&log, &flushes, &restarts);
        prop_assert_eq!(straight.store.lanes(run()), restarted.store.lanes(run()));
        prop_assert_eq!(straight.store.rows(run()), restarted.store.rows(run()));
        prop_assert_eq!(straight.state.watermark(run()), restarted.state.watermark(run()));
        prop_assert_eq!(
            straight.store.unattributed_rejects(),
            restarted.store.unattributed_rejects()
        );
    }

    #[test]
    fn checkpoints_in_between_change_nothing(seed: u64, flushes in prop::collection::vec(0usize..250, 1..20)) {
        let log = log(seed);
        let (once, often) = (observe(&log, &[], &[]), observe(&log, &flushes, &[]));
        prop_assert_eq!(once.store.stored(PARTITION).lanes, often.store.stored(PARTITION).lanes);
        prop_assert_eq!(once.store.stored(PARTITION).rows, often.store.stored(PARTITION).rows);
    }
}

#[test]
fn a_restart_before_the_run_is_known_keeps_its_lanes() {
    let mut bench = Bench::new();
    bench.event(0, 0, 1);
    bench.event(0, 3, 2);
    bench.flush();
    let (_, snapshot) = bench.store.acquire(PARTITION);
    let mut state = Partition::restore(PARTITION, CONFIG, snapshot);
    assert!(!state.knows(run()));
    let record = Record::Event(event(0, 0, 1));
    let (key, payload) = bytes(&record);
    let observation = state.observe(2, Ok(record), &key, &payload);
    assert_eq!(observation, Observation::UnknownRun(run()));
    state.register_run(view());
    assert_eq!(state.observe(2, Ok(record), &key, &payload), Observation::Duplicate);
    assert_eq!(
        state.lane(run(), lane(0)),
        Some(&{
            let mut row = bench.lane(0).clone();
            row.duplicates = 1;
            row
        })
    );
    // A second registration does not bring the stored lanes back.
    state.register_run(view());
    assert_eq!(state.lane(run(), lane(0)).map(|row| row.duplicates), Some(1));
}

#[test]
fn nothing_observed_means_nothing_to_write() {
    let mut bench = Bench::new();
    assert_eq!(bench.checkpoint(), None);
    bench.event(0, 0, 1);
    bench.flush();
    assert_eq!(bench.checkpoint(), None);
    bench.restart();
    assert_eq!(bench.checkpoint(), None);
}

#[test]
fn a_checkpoint_holds_what_changed_in_order() {
    let mut bench = Bench::new();
    bench.event(2, 0, 1);
    bench.event(0, 0, 1000);
    bench.event(0, 1, 1);
    let checkpoint = bench.checkpoint().unwrap();
    let lanes: Vec<u16> = checkpoint.lanes.iter().map(|row| row.lane.get()).collect();
    assert_eq!(lanes, [0, 2]);
    assert!(checkpoint.new_rows.is_sorted_by_key(|(run, key, _)| (*run, *key)));
    assert_eq!((checkpoint.new_rows.len(), checkpoint.changed_rows.len()), (3, 0));
    assert_eq!(checkpoint.runs, [(run(), time(1))]);
    bench.state.committed();
    bench.event(2, 1, 2);
    let checkpoint = bench.checkpoint().unwrap();
    assert_eq!(checkpoint.lanes.len(), 1, "only lane 2 changed");
    assert_eq!(checkpoint.new_rows.len() + checkpoint.changed_rows.len(), 1);
}

#[test]
#[should_panic(expected = "INV-1")]
fn a_stored_lane_that_breaks_an_invariant_is_not_counted_on() {
    let mut bench = Bench::new();
    bench.event(0, 0, 1);
    bench.flush();
    let (_, mut snapshot) = bench.store.acquire(PARTITION);
    snapshot.lanes[0].next = sequence(7);
    let _ = Partition::restore(PARTITION, CONFIG, snapshot);
}
