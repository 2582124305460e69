//! Records that are not counted.

use roaming_analytics::{Observation, RejectReason};
use roaming_events::{Event, EventId, Record, RunId, Sequence};

use crate::bench::{Bench, event, id, lane, payload, run, sequence, view};

#[track_caller]
fn rejected(observation: Observation, reason: RejectReason) {
    assert_eq!(observation, Observation::Rejected(reason));
}

#[test]
fn a_broken_record_takes_the_next_number_and_the_lane_goes_on() {
    let mut bench = Bench::new();
    bench.event(0, 0, 1);
    rejected(bench.broken(0, 1), RejectReason::UnreadablePayload);
    assert_eq!(bench.event(0, 2, 3), Observation::Counted);
    let row = bench.lane(0);
    assert_eq!((row.tally.events, row.rejected, row.next.get()), (2, 1, 3));
    assert_eq!(bench.state.unattributed_rejects(), 0);
}

#[test]
fn a_broken_record_elsewhere_is_rejected_alone() {
    let mut bench = Bench::new();
    bench.event(0, 2, 1);
    let before = bench.lane(0).clone();
    for number in [0, 1, 2, 4, 9_000_000] {
        rejected(bench.broken(0, number), RejectReason::UnreadablePayload);
    }
    assert_eq!(*bench.lane(0), before);
    assert_eq!(bench.state.unattributed_rejects(), 5);
}

#[test]
fn a_payload_under_another_key_is_not_counted() {
    let mut bench = Bench::new();
    let payload = payload(&Record::Event(event(0, 7, 1)));
    rejected(bench.bytes(&id(0, 0).text(), &payload), RejectReason::UnreadablePayload);
    assert_eq!((bench.lane(0).tally.events, bench.lane(0).rejected), (0, 1));
}

#[test]
fn a_key_that_is_no_id_is_rejected() {
    let mut bench = Bench::new();
    rejected(bench.bytes(b"foreign", b"{}"), RejectReason::UnreadableKey);
    rejected(bench.bytes(b"", b""), RejectReason::UnreadableKey);
    assert_eq!(bench.state.next_offset(), Some(2));
}

#[test]
fn an_unknown_run_changes_nothing_until_somebody_decides() {
    let mut bench = Bench::new();
    let foreign = RunId::from_hash(u64::MAX);
    let record =
        Record::Event(Event { id: EventId { run: foreign, ..id(0, 0) }, ..event(0, 0, 1) });
    assert_eq!(bench.record(record), Observation::UnknownRun(foreign));
    let broken_key = record.id().text();
    assert_eq!(bench.bytes(&broken_key, b"?"), Observation::UnknownRun(foreign));
    assert_eq!((bench.state.next_offset(), bench.state.unattributed_rejects()), (None, 0));
    rejected(bench.state.reject_foreign(0), RejectReason::UnknownRun);
    assert_eq!((bench.state.next_offset(), bench.state.unattributed_rejects()), (Some(1), 1));
}

#[test]
fn a_run_that_becomes_known_is_counted() {
    let mut bench = Bench::new();
    let foreign = RunId::from_hash(u64::MAX);
    let record =
        Record::Event(Event { id: EventId { run: foreign, ..id(0, 0) }, ..event(0, 0, 1) });
    assert_eq!(bench.record(record), Observation::UnknownRun(foreign));
    bench.state.register_run(roaming_analytics::RunView { run: foreign, ..view() });
    assert_eq!(bench.record(record), Observation::Counted);
    assert_eq!(bench.state.lane(foreign, lane(0)).unwrap().tally.events, 1);
    assert_eq!(bench.lane(0).tally.events, 0);
}

#[test]
fn lanes_that_do_not_live_here_are_rejected() {
    let mut bench = Bench::new();
    rejected(bench.event(1, 0, 1), RejectReason::WrongPartition);
    rejected(bench.event(4, 0, 1), RejectReason::UnknownLane);
    rejected(bench.marker(1, 0, 1), RejectReason::WrongPartition);
    rejected(bench.end(1, 0, 1), RejectReason::WrongPartition);
    rejected(bench.broken(1, 0), RejectReason::WrongPartition);
    rejected(bench.broken(4000, 0), RejectReason::UnknownLane);
    assert_eq!(bench.state.unattributed_rejects(), 6);
}

#[test]
fn a_number_that_no_lane_reaches_is_rejected() {
    let mut bench = Bench::new();
    let last = Sequence::NONE.get() - 1;
    rejected(bench.event(0, last, 1), RejectReason::ImpossibleSequence);
    rejected(bench.end(0, last, 1), RejectReason::ImpossibleSequence);
    rejected(bench.broken(0, last), RejectReason::UnreadablePayload);
    // The key of a marker with a payload that is none.
    let unnumbered = EventId { sequence: Sequence::NONE, ..id(0, 0) };
    rejected(bench.bytes(&unnumbered.text(), b"{}"), RejectReason::UnreadablePayload);
    assert_eq!(bench.lane(0).next, sequence(0));
    assert_eq!(bench.event(0, last - 1, 1), Observation::Jumped);
    assert_eq!(bench.event(0, 0, 1), Observation::Filled);
}

#[test]
fn nothing_counts_beyond_the_end_and_the_end_stays() {
    let mut bench = Bench::new();
    bench.event(0, 0, 1);
    bench.event(0, 1, 2);
    bench.end(0, 2, 10);
    rejected(bench.event(0, 2, 3), RejectReason::BeyondEnd);
    rejected(bench.event(0, 9, 3), RejectReason::BeyondEnd);
    rejected(bench.broken(0, 2), RejectReason::UnreadablePayload);
    rejected(bench.end(0, 1, 10), RejectReason::EndConflict);
    rejected(bench.end(0, 3, 10), RejectReason::EndConflict);
    assert_eq!(bench.event(0, 1, 2), Observation::Duplicate);
    assert_eq!(bench.lane(0).end, Some(sequence(2)));
    assert!(bench.lane(0).is_finished());
}

#[test]
fn an_end_below_what_was_counted_is_rejected() {
    let mut bench = Bench::new();
    bench.event(0, 3, 1);
    rejected(bench.end(0, 2, 10), RejectReason::EndConflict);
    assert_eq!(bench.lane(0).end, None);
}

#[test]
fn each_reason_has_a_name_of_its_own() {
    let mut names: Vec<&str> = RejectReason::ALL.iter().map(|reason| reason.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), RejectReason::ALL.len());
    assert_eq!(run(), view().run);
}
