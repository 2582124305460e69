//! What every implementation of [`Store`] must do. Each function is one fact, told of a fresh store.

use roaming_events::{SimDuration, SimTime, Totals};
use roaming_store::{
    Disposition, Epoch, JobOutcome, JobRun, JobStanding, Store, StoreError, SummaryKey,
};

use crate::sample::{START_MS, checkpoint, key, lane, run, run_row, totals};

/// Makes a test of each fact, on what `$fresh` returns: a store and what keeps it alive.
macro_rules! conformance {
    ($fresh:path: $($fact:ident)*) => {$(
        #[tokio::test]
        async fn $fact() {
            let (store, _keep) = $fresh().await;
            crate::conformance::$fact(&store).await;
        }
    )*};
    ($fresh:path) => {
        conformance! { $fresh:
            a_new_store_is_empty
            what_is_committed_comes_back
            committing_again_changes_nothing
            a_later_checkpoint_replaces_the_values
            an_older_epoch_is_fenced_and_writes_nothing
            a_partition_that_nobody_acquired_is_fenced
            owners_of_other_partitions_are_not_fenced
            rows_are_loaded_in_the_order_asked_for
            rows_are_summed_over_partitions
            a_summary_adds_up_to_the_rows
            another_log_is_refused
            another_window_length_is_refused
            runs_keep_their_order_and_only_their_state_changes
            many_rows_are_written_by_one_commit
            new_rows_come_back_and_change
            progress_is_the_lanes_and_the_earliest_watermark
            the_last_run_of_each_job_is_told_and_the_last_that_was_done
        }
    };
}

pub(crate) async fn a_new_store_is_empty(store: &impl Store) {
    assert_eq!(store.runs().await.unwrap(), []);
    assert_eq!(store.window().await.unwrap(), None);
    let acquired = store.acquire(3, "me").await.unwrap();
    assert_eq!(acquired.snapshot.next_offset, None);
    assert_eq!(acquired.snapshot.last_record_ms, None);
    assert_eq!(acquired.snapshot.lanes, []);
    assert_eq!(acquired.snapshot.newest_windows, []);
    let found = store.found(run(1)).await.unwrap();
    assert!(found.lanes.is_empty() && found.rows.is_empty());
}

pub(crate) async fn what_is_committed_comes_back(store: &impl Store) {
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    let written = checkpoint(3, 4711);
    store.commit(epoch, &written).await.unwrap();
    let snapshot = store.acquire(3, "me again").await.unwrap().snapshot;
    assert_eq!(snapshot.next_offset, Some(4711));
    assert_eq!(snapshot.last_record_ms, written.last_record_ms);
    assert_eq!(snapshot.lanes, written.lanes);
    assert_eq!(snapshot.newest_windows, [(run(1), key(24).window_start)]);
    assert_eq!(snapshot.unattributed_rejects, 3);
    let found = store.found(run(1)).await.unwrap();
    assert_eq!(found.lanes, written.lanes);
    let rows: Vec<_> = found.rows.into_iter().map(|(key, totals)| (run(1), key, totals)).collect();
    let mut expected = written.changed_rows;
    expected.sort_by_key(|(_, key, _)| *key);
    assert_eq!(rows, expected);
    assert_eq!(found.unattributed_rejects, 3);
}

pub(crate) async fn committing_again_changes_nothing(store: &impl Store) {
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    store.commit(epoch, &checkpoint(3, 4711)).await.unwrap();
    let once = store.found(run(1)).await.unwrap();
    store.commit(epoch, &checkpoint(3, 4711)).await.unwrap();
    let twice = store.found(run(1)).await.unwrap();
    assert_eq!(twice.lanes, once.lanes);
    assert_eq!(twice.rows, once.rows);
    assert_eq!(twice.unattributed_rejects, once.unattributed_rejects);
}

pub(crate) async fn a_later_checkpoint_replaces_the_values(store: &impl Store) {
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    store.commit(epoch, &checkpoint(3, 10)).await.unwrap();
    let mut later = checkpoint(3, 20);
    later.last_record_ms = None;
    later.lanes = vec![lane(3, 101)];
    later.lanes[0].gaps.clear();
    later.lanes[0].end = None;
    later.changed_rows = vec![(run(1), key(4), totals(50))];
    store.commit(epoch, &later).await.unwrap();
    let found = store.found(run(1)).await.unwrap();
    assert_eq!(found.lanes, [later.lanes[0].clone(), lane(11, 200)]);
    assert_eq!(found.rows[&key(4)], totals(50));
    assert_eq!(found.rows[&key(5)], totals(6));
    let snapshot = store.acquire(3, "me").await.unwrap().snapshot;
    assert_eq!((snapshot.next_offset, snapshot.last_record_ms), (Some(20), None));
}

pub(crate) async fn an_older_epoch_is_fenced_and_writes_nothing(store: &impl Store) {
    let old = store.acquire(3, "old").await.unwrap().epoch;
    let new = store.acquire(3, "new").await.unwrap().epoch;
    assert!(new > old);
    let error = store.commit(old, &checkpoint(3, 4711)).await.unwrap_err();
    assert!(matches!(error, StoreError::Fenced { partition: 3, .. }), "{error}");
    assert_eq!(error.disposition(), Disposition::Fence);
    let found = store.found(run(1)).await.unwrap();
    assert!(found.lanes.is_empty() && found.rows.is_empty());
    store.commit(new, &checkpoint(3, 4711)).await.unwrap();
}

pub(crate) async fn a_partition_that_nobody_acquired_is_fenced(store: &impl Store) {
    let error = store.commit(Epoch::from_number(1), &checkpoint(5, 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Fenced { partition: 5, epoch: 1 }), "{error}");
}

pub(crate) async fn owners_of_other_partitions_are_not_fenced(store: &impl Store) {
    let third = store.acquire(3, "one").await.unwrap().epoch;
    store.acquire(4, "two").await.unwrap();
    store.acquire(4, "two").await.unwrap();
    store.commit(third, &checkpoint(3, 1)).await.unwrap();
}

pub(crate) async fn rows_are_loaded_in_the_order_asked_for(store: &impl Store) {
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    store.commit(epoch, &checkpoint(3, 1)).await.unwrap();
    let keys = [(run(1), key(20)), (run(1), key(77)), (run(2), key(20)), (run(1), key(3))];
    let loaded = store.load_rows(3, &keys).await.unwrap();
    let expected = [Some(totals(21)), None, None, Some(totals(4))];
    assert_eq!(loaded.iter().map(|(run, key, _)| (*run, *key)).collect::<Vec<_>>(), keys);
    assert_eq!(loaded.iter().map(|(_, _, totals)| *totals).collect::<Vec<_>>(), expected);
    assert_eq!(store.load_rows(4, &keys[..1]).await.unwrap(), [(run(1), key(20), None)]);
    assert_eq!(store.load_rows(3, &[]).await.unwrap(), []);
}

pub(crate) async fn rows_are_summed_over_partitions(store: &impl Store) {
    for partition in [3, 4] {
        let epoch = store.acquire(partition, "me").await.unwrap().epoch;
        store.commit(epoch, &checkpoint(partition, 1)).await.unwrap();
    }
    let found = store.found(run(1)).await.unwrap();
    let mut both = totals(25);
    both.merge(&totals(25));
    assert_eq!(found.rows[&key(24)], both);
    assert_eq!(found.lanes.len(), 4);
    assert_eq!(found.unattributed_rejects, 6);
    assert!(store.found(run(2)).await.unwrap().rows.is_empty());
}

pub(crate) async fn a_summary_adds_up_to_the_rows(store: &impl Store) {
    for partition in [3, 4] {
        let epoch = store.acquire(partition, "me").await.unwrap().epoch;
        store.commit(epoch, &checkpoint(partition, 1)).await.unwrap();
    }
    let mut expected = std::collections::BTreeMap::<SummaryKey, Totals>::new();
    for (key, totals) in store.found(run(1)).await.unwrap().rows {
        let (visited_plmn, procedure, outcome) = (key.visited_plmn, key.procedure, key.outcome);
        let line = SummaryKey { visited_plmn, procedure, outcome };
        expected.entry(line).or_default().merge(&totals);
    }
    assert!(expected.len() < 25);
    assert_eq!(store.summary(run(1)).await.unwrap(), expected);
}

pub(crate) async fn another_log_is_refused(store: &impl Store) {
    store.bind_log("first").await.unwrap();
    store.bind_log("first").await.unwrap();
    let error = store.bind_log("second").await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Fatal);
    let text = error.to_string();
    assert!(text.contains("log first") && text.contains("new store with --store"), "{text}");
    store.bind_log("first").await.unwrap();
}

pub(crate) async fn another_window_length_is_refused(store: &impl Store) {
    let window = SimDuration::from_secs(900);
    store.bind_window(window).await.unwrap();
    store.bind_window(window).await.unwrap();
    assert_eq!(store.window().await.unwrap(), Some(window));
    let error = store.bind_window(SimDuration::from_secs(60)).await.unwrap_err();
    let expected = StoreError::OtherWindow { expected_ms: 60_000, found_ms: 900_000 };
    assert_eq!(error.to_string(), expected.to_string());
    assert_eq!(store.window().await.unwrap(), Some(window));
}

pub(crate) async fn runs_keep_their_order_and_only_their_state_changes(store: &impl Store) {
    let mut first = run_row(9, "b");
    let second = run_row(2, "a");
    store.put_run(&first).await.unwrap();
    store.put_run(&second).await.unwrap();
    "stopped".clone_into(&mut first.state);
    store.put_run(&first).await.unwrap();
    assert_eq!(store.runs().await.unwrap(), [first, second]);
}

pub(crate) async fn many_rows_are_written_by_one_commit(store: &impl Store) {
    let epoch = store.acquire(0, "me").await.unwrap().epoch;
    let mut many = checkpoint(0, 1);
    many.changed_rows = (0..1111).map(|number| (run(1), key(number), totals(number))).collect();
    store.commit(epoch, &many).await.unwrap();
    let found = store.found(run(1)).await.unwrap();
    assert_eq!(found.rows.len(), 1111);
    assert!((0..1111).all(|number| found.rows[&key(number)] == totals(number)));
}

pub(crate) async fn new_rows_come_back_and_change(store: &impl Store) {
    let epoch = store.acquire(0, "me").await.unwrap().epoch;
    let mut checkpoint = checkpoint(0, 1);
    checkpoint.changed_rows.clear();
    checkpoint.new_rows = (0..3000).map(|number| (run(1), key(number), totals(number))).collect();
    store.commit(epoch, &checkpoint).await.unwrap();
    checkpoint.new_rows = vec![(run(1), key(3000), totals(7))];
    checkpoint.changed_rows = vec![(run(1), key(2999), totals(8))];
    store.commit(epoch, &checkpoint).await.unwrap();
    let found = store.found(run(1)).await.unwrap();
    assert_eq!(found.rows.len(), 3001);
    assert!((0..2999).all(|number| found.rows[&key(number)] == totals(number)));
    assert_eq!((found.rows[&key(3000)], found.rows[&key(2999)]), (totals(7), totals(8)));
}

pub(crate) async fn progress_is_the_lanes_and_the_earliest_watermark(store: &impl Store) {
    assert_eq!(store.progress(run(1)).await.unwrap().watermark, None);
    for partition in [4, 3] {
        let epoch = store.acquire(partition, "me").await.unwrap().epoch;
        store.commit(epoch, &checkpoint(partition, 1)).await.unwrap();
    }
    let progress = store.progress(run(1)).await.unwrap();
    assert_eq!(progress.watermark, Some(SimTime::from_unix_ms(START_MS + 3000)));
    let lanes: Vec<u16> = progress.lanes.iter().map(|row| row.lane.get()).collect();
    assert_eq!(lanes, [3, 4, 11, 12]);
}

pub(crate) async fn the_last_run_of_each_job_is_told_and_the_last_that_was_done(
    store: &impl Store,
) {
    assert_eq!(store.jobs().await.unwrap(), []);
    let run = |job: &str, started_ms, outcome| JobRun {
        job: job.to_owned(),
        started_ms,
        ended_ms: started_ms + 5,
        outcome,
        detail: format!("at {started_ms}"),
    };
    let backups = [
        run("backup", 10, JobOutcome::Done),
        run("backup", 30, JobOutcome::Failed),
        run("backup", 20, JobOutcome::Done),
    ];
    let report = run("report", 15, JobOutcome::Failed);
    for run in backups.iter().chain([&report]) {
        store.put_job(run).await.unwrap();
    }
    let [_, backup, _] = backups;
    let expected = [
        JobStanding { last: backup, succeeded_ms: Some(25) },
        JobStanding { last: report, succeeded_ms: None },
    ];
    assert_eq!(store.jobs().await.unwrap(), expected);
}
