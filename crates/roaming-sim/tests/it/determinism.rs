//! Same specification, same events: in any order, on any thread, after any restart.

use std::sync::atomic::{AtomicU16, Ordering};

use proptest::prelude::*;
use roaming_events::{Event, LaneId, Sequence, SimDuration, SimTime, Tally};
use roaming_sim::ledger;

use crate::{lane, short_demo, simulation};

const WINDOW: SimDuration = SimDuration::from_secs(900);

fn sequence(number: u64) -> Sequence {
    Sequence::try_new(number).unwrap()
}

#[test]
fn order_of_lanes_and_number_of_threads_change_nothing() {
    let simulation = simulation(short_demo(700, 6), 14);
    let expected = ledger::run(&simulation, WINDOW);
    let mut backwards = Tally::default();
    for number in (0..14).rev() {
        backwards.merge(&ledger::lane(&simulation, lane(number), WINDOW, None));
    }
    assert_eq!(backwards, expected);
    for threads in [1, 2, 7] {
        let next = AtomicU16::new(0);
        let mut found = Tally::default();
        std::thread::scope(|scope| {
            let work = || {
                let mut part = Tally::default();
                while let Some(id) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < 14)
                {
                    part.merge(&ledger::lane(&simulation, lane(id), WINDOW, None));
                }
                part
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                found.merge(&worker.join().unwrap());
            }
        });
        assert_eq!(found, expected, "{threads} threads");
    }
}

#[test]
fn two_lanes_in_turns_are_as_one_after_the_other() {
    let simulation = simulation(short_demo(200, 4), 2);
    let straight: Vec<Vec<Event>> =
        LaneId::all(2).map(|id| simulation.lane(id).collect()).collect();
    let mut lanes = [simulation.lane(lane(0)), simulation.lane(lane(1))];
    let mut found = [Vec::new(), Vec::new()];
    let mut until = simulation.specification().start();
    while !lanes.iter().all(roaming_sim::Lane::is_exhausted) {
        until += SimDuration::from_secs(97);
        for (lane, found) in lanes.iter_mut().zip(&mut found) {
            found.extend(std::iter::from_fn(|| lane.next_before(until)));
        }
    }
    assert_eq!(found.to_vec(), straight);
}

#[test]
fn moving_forward_is_the_straight_run_at_every_prefix() {
    let simulation = simulation(short_demo(24, 7), 2);
    let straight: Vec<Event> = simulation.lane(lane(1)).collect();
    assert!(straight.len() > 200, "{}", straight.len());
    for from in 0..=straight.len() {
        let mut restarted = simulation.lane(lane(1));
        restarted.forward_to(sequence(from as u64));
        assert_eq!(restarted.sequence(), sequence(from as u64));
        assert_eq!(restarted.next(), straight.get(from).copied(), "restart at {from}");
        assert!(
            restarted.eq(straight[from.saturating_add(1).min(straight.len())..].iter().copied())
        );
    }
}

#[test]
fn moving_beyond_the_end_stops_there() {
    let simulation = simulation(short_demo(24, 2), 1);
    let count = simulation.lane(lane(0)).count() as u64;
    let mut moved = simulation.lane(lane(0));
    moved.forward_to(sequence(count + 1000));
    assert_eq!(moved.sequence(), sequence(count));
    assert!(moved.is_exhausted());
    assert_eq!(moved.time(), simulation.specification().end());
}

#[test]
fn a_prefix_of_the_ledger_and_the_rest_are_the_whole() {
    let simulation = simulation(short_demo(50, 5), 1);
    let whole = ledger::lane(&simulation, lane(0), WINDOW, None);
    let prefix = ledger::lane(&simulation, lane(0), WINDOW, Some(sequence(100)));
    assert_eq!(prefix.events(), 100);
    let beyond = ledger::lane(&simulation, lane(0), WINDOW, Some(sequence(whole.events() + 5)));
    assert_eq!(beyond, whole);
}

#[test]
fn events_are_numbered_and_ordered_and_end_in_time() {
    let simulation = simulation(short_demo(600, 5), 3);
    let specification = simulation.specification();
    for id in LaneId::all(3) {
        let mut emitted = specification.start();
        for (number, event) in simulation.lane(id).enumerate() {
            assert_eq!(event.id.sequence, sequence(number as u64));
            assert_eq!((event.id.lane, event.id.run), (id, simulation.run()));
            assert!(event.emission_time >= emitted && event.event_time <= event.emission_time);
            assert!(event.emission_time < specification.end());
            emitted = event.emission_time;
        }
    }
}

#[test]
fn more_lanes_than_subscribers_leave_lanes_empty() {
    let simulation = simulation(short_demo(3, 2), 5);
    assert!(simulation.lane(lane(2)).next().is_some());
    let empty = simulation.lane(lane(4));
    assert!(empty.is_exhausted());
    assert_eq!(empty.count(), 0);
}

#[test]
#[should_panic(expected = "lane 5 of 5")]
fn a_lane_that_the_run_does_not_have_is_a_programmer_error() {
    let _ = simulation(short_demo(3, 2), 5).lane(lane(5));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn stops_and_restarts_change_nothing(stops in proptest::collection::vec((1u64..4_000, any::<bool>()), 1..12)) {
        let simulation = simulation(short_demo(40, 6), 1);
        let straight: Vec<Event> = simulation.lane(lane(0)).collect();
        let mut found = Vec::new();
        let mut running = simulation.lane(lane(0));
        let mut until = simulation.specification().start();
        for (seconds, restart) in stops {
            until += SimDuration::from_secs(seconds);
            while let Some(event) = running.next_before(until) {
                prop_assert!(event.emission_time < until);
                found.push(event);
            }
            prop_assert!(running.time() >= until || running.time() == simulation.specification().end());
            if restart {
                let reached = running.sequence();
                running = simulation.lane(lane(0));
                running.forward_to(reached);
            }
        }
        found.extend(running.by_ref());
        prop_assert_eq!(found, straight);
        prop_assert_eq!(running.next_before(SimTime::MAX), None);
    }
}
