//! Checkpoints to store.

use roaming_analytics::{Checkpoint, LaneRow};
use roaming_events::{
    EventType, LaneDigest, LaneId, Outcome, Rat, RowKey, RunId, Sequence, SimTime, Totals,
};
use roaming_store::RunRow;

/// Simulated time zero of the samples, 2026-06-01T08:00:00Z.
pub(crate) const START_MS: u64 = 1_780_300_800_000;

pub(crate) fn run(number: u64) -> RunId {
    RunId::from_hash(u64::MAX - (number << 2))
}

pub(crate) fn run_row(number: u64, name: &str) -> RunRow {
    RunRow {
        run: run(number),
        name: name.to_owned(),
        lanes: 64,
        partitions: 8,
        start: SimTime::from_unix_ms(START_MS),
        end: SimTime::from_unix_ms(START_MS + 36_000_000),
        state: "running".to_owned(),
        specification_json: format!("{{\"name\":\"{name}\"}}"),
    }
}

fn sequence(number: u64) -> Sequence {
    Sequence::try_new(number).unwrap()
}

/// A lane with every field in use; the digest has its highest bit set.
pub(crate) fn lane(number: u16, events: u64) -> LaneRow {
    let start = SimTime::from_unix_ms(START_MS + events);
    let mut row = LaneRow::unseen(run(1), LaneId::try_new(number).unwrap(), start);
    row.next = sequence(events + 6);
    row.gaps = vec![(sequence(1), sequence(2)), (sequence(3), sequence(5))];
    row.tally.events = events;
    row.tally.digest = LaneDigest::from_bits(u64::MAX - events);
    row.duplicates = 7;
    row.rejected = 2;
    row.end = Some(sequence(events + 9));
    row.failed = number % 2 == 1;
    row
}

/// The key of the `number`-th row: ten to a window.
pub(crate) fn key(number: u64) -> RowKey {
    RowKey {
        window_start: SimTime::from_unix_ms(START_MS + number / 10 * 900_000),
        home_plmn: "99901".parse().unwrap(),
        visited_plmn: if number.is_multiple_of(2) { "99902" } else { "999003" }.parse().unwrap(),
        rat: Rat::ALL[(number / 2 % 2) as usize],
        procedure: EventType::ALL[(number % 10) as usize],
        outcome: Outcome::ALL[(number % 10 % 3) as usize],
    }
}

/// Totals in which no two columns are equal.
pub(crate) fn totals(events: u64) -> Totals {
    let mut totals = Totals { events, ..Totals::default() };
    totals.latency_us = events * 3;
    for (bucket, index) in totals.latency_buckets.iter_mut().zip(100..) {
        *bucket = events + index;
    }
    totals.duration_s = events * 5;
    totals.octets_uplink = events * 7 + (1 << 40);
    totals.octets_downlink = events * 11;
    totals.charge_millionths = -13 * events.cast_signed();
    totals
}

pub(crate) fn checkpoint(partition: u16, next_offset: u64) -> Checkpoint {
    Checkpoint {
        partition,
        next_offset,
        last_record_ms: Some(START_MS + next_offset),
        lanes: vec![lane(partition, 100), lane(partition + 8, 200)],
        new_rows: Vec::new(),
        changed_rows: (0..25).map(|number| (run(1), key(number), totals(number + 1))).collect(),
        runs: vec![(run(1), SimTime::from_unix_ms(START_MS + u64::from(partition) * 1000))],
        unattributed_rejects: 3,
    }
}
