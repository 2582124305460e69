//! Rows: what is kept, what is forgotten, what is read again.

use roaming_analytics::Observation;
use roaming_events::{Event, Record, RowKey};

use crate::bench::{Bench, CONFIG, PARTITION, event, run, time};

/// An event of lane 0 that happened early and is emitted late.
fn delayed(number: u64, happened: u64, emitted: u64) -> Event {
    Event { event_time: time(happened), emission_time: time(emitted), ..event(0, 0, 0) }
        .numbered(number)
}

trait Numbered {
    fn numbered(self, number: u64) -> Self;
}

impl Numbered for Event {
    fn numbered(self, number: u64) -> Self {
        Event { id: crate::bench::id(0, number), ..self }
    }
}

/// Brings the watermark beyond the first window, with one row of it stored.
fn with_a_closed_window() -> Bench {
    let mut bench = Bench::new();
    assert_eq!(bench.record(Record::Event(delayed(0, 1, 1))), Observation::Counted);
    bench.marker(0, 1, 1000);
    bench.marker(2, 0, 1000);
    bench.flush();
    bench
}

#[test]
fn a_closed_window_is_evicted_once_it_is_stored() {
    let mut bench = Bench::new();
    bench.record(Record::Event(delayed(0, 1, 1)));
    bench.flush();
    assert_eq!((bench.state.rows_len(), bench.state.dirty_rows_len()), (1, 0), "it is open");
    bench.marker(0, 1, 899);
    bench.marker(2, 0, 1000);
    bench.flush();
    assert_eq!(bench.state.rows_len(), 1, "one second is left");
    bench.marker(0, 1, 900);
    bench.flush();
    assert_eq!(bench.state.rows_len(), 0);
}

#[test]
fn a_late_event_corrects_its_window() {
    let mut bench = with_a_closed_window();
    assert_eq!(bench.state.rows_len(), 0);
    let late = delayed(1, 2, 1100);
    assert_eq!(bench.record(Record::Event(late)), Observation::Corrected);
    let key = RowKey::of(&late, CONFIG.window);
    assert_eq!(bench.state.missing_rows(), [(run(), key)]);
    assert_eq!(bench.state.corrections(), 1);
    bench.flush();
    assert_eq!(bench.store.rows(run())[&key].events, 2);
    assert_eq!(bench.state.rows_len(), 0, "the window is closed still");
}

#[test]
fn a_row_supplied_twice_is_added_once() {
    let mut bench = with_a_closed_window();
    bench.record(Record::Event(delayed(1, 2, 1100)));
    let rows = bench.store.load_rows(PARTITION, &bench.state.missing_rows());
    bench.state.supply_rows(rows.clone());
    bench.state.supply_rows(rows);
    bench.flush();
    assert_eq!(bench.store.rows(run()).values().map(|totals| totals.events).sum::<u64>(), 2);
}

#[test]
#[should_panic(expected = "was not supplied")]
fn a_checkpoint_without_the_missing_rows_would_lose_them() {
    let mut bench = with_a_closed_window();
    bench.record(Record::Event(delayed(1, 2, 1100)));
    let _ = bench.state.checkpoint();
}

#[test]
fn rows_of_newer_windows_need_no_question_to_the_store() {
    let mut bench = with_a_closed_window();
    bench.restart();
    assert_eq!(bench.record(Record::Event(delayed(1, 1000, 1100))), Observation::Counted);
    assert_eq!(bench.state.missing_rows(), []);
    assert_eq!(bench.record(Record::Event(delayed(2, 3, 1100))), Observation::Corrected);
    assert_eq!(bench.state.missing_rows().len(), 1);
}

#[test]
fn what_is_observed_during_a_commit_is_written_by_the_next() {
    let mut bench = Bench::new();
    bench.record(Record::Event(delayed(0, 1, 1)));
    let first = bench.checkpoint().unwrap();
    bench.record(Record::Event(delayed(1, 1, 2)));
    bench.state.committed();
    assert_eq!(bench.state.dirty_rows_len(), 1);
    let second = bench.checkpoint().unwrap();
    assert_eq!((first.new_rows[0].2.events, second.changed_rows[0].2.events), (1, 2));
    assert_eq!((first.next_offset, second.next_offset), (1, 2));
    assert_eq!((first.lanes[0].next.get(), second.lanes[0].next.get()), (1, 2));
}

#[test]
fn a_checkpoint_that_failed_is_in_the_next_one() {
    let mut bench = Bench::new();
    bench.record(Record::Event(delayed(0, 1, 1)));
    let first = bench.checkpoint().unwrap();
    assert_eq!(bench.checkpoint().unwrap(), first);
    bench.record(Record::Event(delayed(1, 1, 2)));
    let second = bench.checkpoint().unwrap();
    assert_eq!(second.new_rows[0].2.events, 2);
    bench.state.committed();
    assert_eq!(bench.checkpoint(), None);
}
