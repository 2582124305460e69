//! The bound on rows.

use roaming_analytics::{Observation, PartitionConfig};
use roaming_events::{Outcome, Record};

use crate::bench::{Bench, CONFIG, event, run};

/// Event `number` of lane 0, in a window of its own, which is not closed before the next event.
fn in_own_window(number: u64) -> Record {
    let event = event(0, number, 900 * number);
    Record::Event(roaming_events::Event { outcome: Outcome::Success, ..event })
}

#[test]
fn a_full_cache_of_unstored_rows_asks_for_a_checkpoint() {
    let mut bench = Bench::with(PartitionConfig { rows_max: 3, ..CONFIG });
    for number in 0..3 {
        assert_eq!(bench.record(in_own_window(number)), Observation::Counted);
    }
    let before = bench.lane(0).clone();
    assert_eq!(bench.record(in_own_window(3)), Observation::Full);
    assert_eq!((bench.lane(0).clone(), bench.state.next_offset()), (before, Some(3)));
    assert_eq!(bench.event(0, 0, 0), Observation::Duplicate, "needs no row");
    bench.flush();
    assert_eq!(bench.record(in_own_window(3)), Observation::Counted);
    assert!(bench.state.rows_len() <= 3);
}

#[test]
fn rows_forgotten_at_the_bound_are_read_again() {
    let mut bench = Bench::with(PartitionConfig { rows_max: 2, ..CONFIG });
    let mut number = 0;
    for _ in 0..3 {
        for window in 0..4 {
            let event = event(0, number, 900 * window);
            let event = roaming_events::Event { emission_time: crate::bench::time(0), ..event };
            if bench.record(Record::Event(event)) == Observation::Full {
                bench.flush();
                assert_ne!(bench.record(Record::Event(event)), Observation::Full);
            }
            number += 1;
            assert!(bench.state.rows_len() <= 2);
        }
    }
    bench.flush();
    let counted: u64 = bench.store.rows(run()).values().map(|totals| totals.events).sum();
    assert_eq!(counted, number);
}
