use std::mem;

use roaming_analytics::LaneRow;
use roaming_events::{Sequence, schema};

use super::*;
use crate::seed::{Concern, Seed};

fn lane_row(number: u16, events: u64) -> LaneRow {
    let run = RunId::from_hash(9);
    let lane = LaneId::try_new(number).unwrap();
    let next = Sequence::try_new(events).unwrap();
    LaneRow { next, ..LaneRow::unseen(run, lane, SimTime::default()) }
}

fn checkpoint(next_offset: u64, events: u64) -> Checkpoint {
    let event = schema::examples()[0];
    let row = RowKey::of(&event, roaming_events::SimDuration::from_secs(900));
    let totals = Totals { events, ..Totals::default() };
    let run = RunId::from_hash(9);
    Checkpoint {
        partition: 1,
        next_offset,
        last_record_ms: None,
        lanes: vec![lane_row(0, events)],
        new_rows: vec![(run, row, totals)],
        changed_rows: Vec::new(),
        runs: vec![(run, event.event_time)],
        unattributed_rejects: 4,
    }
}

/// Takes the rows of a checkpoint for such as the store has.
fn changing(mut checkpoint: Checkpoint) -> Checkpoint {
    checkpoint.changed_rows = mem::take(&mut checkpoint.new_rows);
    checkpoint
}

#[test]
fn a_commit_is_what_the_next_owner_finds() {
    let mut store = MemoryStore::default();
    let (epoch, snapshot) = store.acquire(1);
    assert_eq!(snapshot, Snapshot::default());
    store.commit(epoch, &checkpoint(7, 3)).unwrap();
    store.commit(epoch, &changing(checkpoint(9, 5))).unwrap();
    let (_, snapshot) = store.acquire(1);
    let row = checkpoint(9, 5).new_rows[0];
    assert_eq!(snapshot.next_offset, Some(9));
    assert_eq!(snapshot.lanes, [lane_row(0, 5)]);
    assert_eq!(snapshot.newest_windows, [(row.0, row.1.window_start)]);
    assert_eq!(snapshot.unattributed_rejects, 4);
    assert_eq!(store.load_rows(1, &[(row.0, row.1)]), [(row.0, row.1, Some(row.2))]);
    assert_eq!(store.load_rows(0, &[(row.0, row.1)]), [(row.0, row.1, None)]);
}

#[test]
fn an_earlier_owner_is_fenced_and_changes_nothing() {
    let mut store = MemoryStore::default();
    let (earlier, _) = store.acquire(1);
    let (later, _) = store.acquire(1);
    let error = store.commit(earlier, &checkpoint(7, 3)).unwrap_err();
    assert_eq!(error.to_string(), "epoch 1 of partition 1 is over, 2 has begun");
    assert_eq!(store.stored(1).next_offset, None);
    store.commit(later, &checkpoint(7, 3)).unwrap();
}

#[test]
fn partitions_add_up() {
    let mut store = MemoryStore::default();
    for partition in [0, 1] {
        let (epoch, _) = store.acquire(partition);
        store.commit(epoch, &Checkpoint { partition, ..checkpoint(7, 3) }).unwrap();
    }
    let run = RunId::from_hash(9);
    assert_eq!(store.rows(run).values().map(|totals| totals.events).sum::<u64>(), 6);
    assert_eq!(store.lanes(run).len(), 2);
    assert_eq!(store.unattributed_rejects(), 8);
    assert!(store.rows(RunId::from_hash(1 << 40)).is_empty());
}

#[test]
#[should_panic(expected = "is not new")]
fn a_row_that_is_there_is_no_new_one() {
    let mut store = MemoryStore::default();
    let (epoch, _) = store.acquire(1);
    store.commit(epoch, &checkpoint(7, 3)).unwrap();
    store.commit(epoch, &checkpoint(9, 5)).unwrap();
}

#[test]
fn another_log_is_refused() {
    let mut store = MemoryStore::default();
    store.bind_log("a").unwrap();
    store.bind_log("a").unwrap();
    assert!(matches!(store.bind_log("b"), Err(StoreError::OtherLog { .. })));
}

fn faulty(faults: StoreFaults) -> (FaultyStore, Epoch) {
    let mut store = FaultyStore::new(
        MemoryStore::default(),
        StoreFaults::default(),
        Seed(1).stream(Concern::Store),
    );
    let (epoch, _) = store.acquire(1).unwrap();
    store.faults = faults;
    (store, epoch)
}

#[test]
fn a_store_fails_before_after_or_without_a_commit() {
    let always = 1000;
    for (faults, error, offset) in [
        (
            StoreFaults { unavailable: always, ..StoreFaults::default() },
            StoreError::Unavailable,
            None,
        ),
        (
            StoreFaults { unknown_before_commit: always, ..StoreFaults::default() },
            StoreError::UnknownOutcome,
            None,
        ),
        (
            StoreFaults { unknown_after_commit: always, ..StoreFaults::default() },
            StoreError::UnknownOutcome,
            Some(7),
        ),
    ] {
        let (mut store, epoch) = faulty(faults);
        assert_eq!(store.commit(epoch, &checkpoint(7, 3)), Err(error));
        assert_eq!(store.inner().stored(1).next_offset, offset);
        store.heal();
        let next = checkpoint(8, 4);
        let next = if offset.is_some() { changing(next) } else { next };
        store.commit(epoch, &next).unwrap();
        assert_eq!(store.inner().stored(1).next_offset, Some(8));
    }
}
