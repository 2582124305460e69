//! What is backed up comes back, all of it or nothing.

use std::fs;

use roaming_jobs::backup::backup;
use roaming_jobs::moment::Moment;
use roaming_jobs::restore::restore;
use roaming_jobs::{Done, Job, JobError, PlaceError, recorded};
use roaming_store::{JobOutcome, Store, StoreError};

use crate::sample::{Bench, run_row};

const TABLES: [&str; 8] = [
    "aggregates",
    "bindings",
    "job_runs",
    "lanes",
    "partitions",
    "runs",
    "schema_versions",
    "watermarks",
];

/// The name of the folder at 2026-11-24T19:20:00Z.
const FOLDER: &str = "2026-11-24T192000Z";

fn moment() -> Moment {
    Moment::from_unix_ms(1_795_548_000_000)
}

async fn dump(bench: &Bench, table: &str) -> String {
    let rows =
        format!("SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM roaming.{table} AS t");
    bench.sql(&rows).await
}

/// Makes a store, and a backup of it.
async fn backed_up() -> Bench {
    let source = Bench::with_runs().await;
    recorded(&source.options(), Job::Backup, async { Ok(Done("an earlier one".to_owned())) })
        .await
        .unwrap();
    backup(&source.options(), &source.place(), moment()).await.unwrap();
    source
}

/// Tries to restore into an empty database, and returns why that is refused.
async fn refused(source: &Bench) -> JobError {
    let target = Bench::empty();
    let error = restore(&target.options(), &source.place(), moment).await.unwrap_err();
    let made = target.sql("SELECT coalesce(to_regnamespace('roaming')::text, 'nothing')").await;
    assert_eq!(made, "nothing", "after {error}");
    error
}

#[tokio::test]
async fn a_restored_store_has_the_same_rows() {
    let (source, target) = (backed_up().await, Bench::empty());
    let done = restore(&target.options(), &source.place(), moment).await.unwrap();
    assert!(done.to_string().starts_with("8 tables and "), "{done}");
    for table in TABLES.into_iter().filter(|table| *table != "job_runs") {
        let rows = dump(&source, table).await;
        assert!(!rows.is_empty(), "{table} has no rows");
        assert_eq!(rows, dump(&target, table).await, "{table}");
    }
    assert_eq!(target.store.runs().await.unwrap(), source.store.runs().await.unwrap());
    // What the jobs did, and that this was restored.
    let [of_source, of_target] = [&source, &target].map(|bench| bench.store.jobs());
    let (of_source, of_target) = (of_source.await.unwrap(), of_target.await.unwrap());
    assert_eq!(of_target[..1], of_source[..]);
    assert_eq!((of_target[1].last.job.as_str(), of_target.len()), ("restore", 2));
    assert_eq!(of_target[1].succeeded_ms, Some(moment().unix_ms()));
    // A consumer goes on there.
    target.store.bind_log("a log").await.unwrap();
    assert_eq!(target.store.acquire(0, "me").await.unwrap().snapshot.next_offset, Some(100));
}

#[tokio::test]
async fn the_newest_whole_backup_is_taken_and_an_older_one_by_its_name() {
    let (source, target) = (backed_up().await, Bench::empty());
    source.store.put_run(&run_row(3, "later")).await.unwrap();
    let later = Moment::from_unix_ms(moment().unix_ms() + 1000);
    backup(&source.options(), &source.place(), later).await.unwrap();
    // One that was killed on its way.
    fs::create_dir(source.path("2027-01-01T000000Z")).unwrap();
    fs::write(source.path("2027-01-01T000000Z/runs.copy.zst"), "half").unwrap();
    restore(&target.options(), &source.place(), moment).await.unwrap();
    assert_eq!(target.store.runs().await.unwrap().len(), 3);

    let target = Bench::empty();
    restore(&target.options(), &source.place().folder(FOLDER), moment).await.unwrap();
    assert_eq!(target.store.runs().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_file_that_changed_is_refused() {
    let source = backed_up().await;
    let path = source.path(&format!("{FOLDER}/lanes.copy.zst"));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = refused(&source).await;
    assert!(matches!(error, JobError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("lanes.copy.zst"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_missing_is_refused() {
    let source = backed_up().await;
    fs::remove_file(source.path(&format!("{FOLDER}/watermarks.copy.zst"))).unwrap();
    let error = refused(&source).await;
    assert!(matches!(error, JobError::Place(PlaceError::Missing { .. })), "{error:?}");
    assert!(error.to_string().contains("watermarks.copy.zst"), "{error}");
}

/// Changes the manifest's text.
fn rewrite(source: &Bench, from: &str, to: &str) {
    let path = source.path(&format!("{FOLDER}/manifest.json"));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let source = backed_up().await;
    rewrite(&source, "\"schema_version\": 3", "\"schema_version\": 4");
    let error = refused(&source).await;
    assert!(matches!(error, JobError::Manifest(_)), "{error:?}");
    assert!(error.to_string().contains("schema version 4"), "{error}");
}

#[tokio::test]
async fn another_number_of_rows_is_refused() {
    let source = backed_up().await;
    rewrite(&source, "\"rows\": 80", "\"rows\": 81");
    let error = refused(&source).await;
    assert!(matches!(error, JobError::OtherCount { expected: 81, found: 80, .. }), "{error:?}");
}

#[tokio::test]
async fn a_folder_without_a_manifest_is_no_backup() {
    let source = backed_up().await;
    fs::remove_file(source.path(&format!("{FOLDER}/manifest.json"))).unwrap();
    assert!(matches!(refused(&source).await, JobError::NoBackup { .. }));
}

#[tokio::test]
async fn a_database_that_holds_anything_is_refused_and_kept() {
    let (source, target) = (backed_up().await, Bench::empty());
    target.store.bind_log("another log").await.unwrap();
    let error = restore(&target.options(), &source.place(), moment).await.unwrap_err();
    assert!(
        matches!(&error, JobError::Store(StoreError::NotEmpty { table, .. }) if table == "bindings"),
        "{error:?}"
    );
    assert!(error.to_string().contains("restore into a new database"), "{error}");
    assert_eq!(dump(&target, "bindings").await, "(log,\"another log\")");
    assert!(dump(&target, "schema_versions").await.contains('3'));
}

#[tokio::test]
async fn what_becomes_of_a_job_is_in_the_store() {
    let bench = Bench::with_runs().await;
    let options = bench.options();
    let place = bench.place();
    recorded(&options, Job::Backup, backup(&options, &place, moment())).await.unwrap();
    let jobs = bench.store.jobs().await.unwrap();
    assert_eq!(jobs[0].last.outcome, JobOutcome::Done);
    assert_eq!(jobs[0].succeeded_ms, Some(jobs[0].last.ended_ms));

    let failure = async { Err(JobError::NoBackup { place: "nowhere".to_owned() }) };
    recorded(&options, Job::Backup, failure).await.unwrap_err();
    let again = bench.store.jobs().await.unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].last.outcome, JobOutcome::Failed);
    assert!(again[0].last.detail.contains("nowhere"));
    assert_eq!(again[0].succeeded_ms, jobs[0].succeeded_ms);
}
