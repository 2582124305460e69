//! Each run that has ended is archived once, in full.

use std::fs;

use roaming_analytics::LaneRow;
use roaming_jobs::archive::archive;
use roaming_jobs::manifest::Manifest;
use roaming_jobs::moment::Moment;
use roaming_jobs::restore::restore;
use roaming_jobs::{JobError, PlaceError};
use roaming_store::{RunRow, SCHEMA_VERSION, Store};

use crate::sample::{Bench, End, lane, run, run_row};

fn moment() -> Moment {
    Moment::from_unix_ms(1_795_548_000_000)
}

async fn archived(bench: &Bench) -> String {
    archive(&bench.options(), &bench.place(), moment()).await.unwrap().to_string()
}

/// Where a file of a run's archive is.
fn path(bench: &Bench, number: u64, file: &str) -> std::path::PathBuf {
    bench.path(&format!("{}/{file}", run(number)))
}

fn manifest(bench: &Bench, number: u64) -> Manifest {
    let text = fs::read(path(bench, number, "manifest.json")).unwrap();
    Manifest::parse(&text, SCHEMA_VERSION).unwrap()
}

/// Returns the lines of a file of a run's archive, sorted.
fn lines(bench: &Bench, number: u64, file: &str) -> Vec<String> {
    let text = zstd::decode_all(fs::File::open(path(bench, number, file)).unwrap()).unwrap();
    let mut lines: Vec<_> = String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn a_run_that_has_ended_is_archived_in_full_and_once() {
    let bench = Bench::with_runs().await;
    let done = archived(&bench).await;
    assert!(done.starts_with("runs archived: 1, with 44 rows and "), "{done}");
    assert!(!path(&bench, 2, "").exists(), "a run is archived that goes on");
    let manifest = manifest(&bench, 1);
    let rows: Vec<_> = manifest.tables.iter().map(|file| (&*file.table, file.rows)).collect();
    assert_eq!(rows, [("aggregates", 40), ("lanes", 2), ("runs", 1), ("watermarks", 1)]);
    assert_eq!(manifest.bindings["log"], "a log");

    let rows =
        "SELECT string_agg(translate(t::text, ',()', E'\\t'), E'\\n') FROM roaming.aggregates AS t
        WHERE run = 1";
    let rows = bench.sql(rows).await;
    let mut rows: Vec<_> = rows.lines().collect();
    rows.sort_unstable();
    assert_eq!(lines(&bench, 1, "aggregates.copy.zst"), rows);
    assert!(lines(&bench, 1, "runs.copy.zst")[0].contains("\tfinished\t"));

    let done = archived(&bench).await;
    assert!(done.starts_with("runs archived: 0, "), "{done}");
    assert_eq!(
        bench.sql("SELECT archived_ms::text FROM roaming.runs WHERE run = 1").await,
        "1795548000000"
    );
}

#[tokio::test]
async fn an_archive_that_failed_half_way_is_made_again() {
    let bench = Bench::with_runs().await;
    // Nothing can be put in its place.
    let obstacle = path(&bench, 1, "lanes.copy.zst");
    fs::create_dir_all(obstacle.join("in the way")).unwrap();
    let error = archive(&bench.options(), &bench.place(), moment()).await.unwrap_err();
    assert!(matches!(error, JobError::Place(PlaceError::Failed { .. })), "{error:?}");
    assert!(path(&bench, 1, "aggregates.copy.zst").exists());
    assert!(!path(&bench, 1, "manifest.json").exists(), "what is not whole looks whole");
    fs::remove_dir_all(obstacle).unwrap();
    assert!(archived(&bench).await.starts_with("runs archived: 1, "));
    assert_eq!(manifest(&bench, 1).rows(), 44);
}

#[tokio::test]
async fn a_stopped_run_of_which_more_was_counted_is_archived_again() {
    let bench = Bench::with_runs().await;
    bench
        .store
        .put_run(&RunRow { state: "stopped".to_owned(), ..run_row(2, "odd") })
        .await
        .unwrap();
    assert!(archived(&bench).await.starts_with("runs archived: 2, "));
    let mut more: LaneRow = lane(2, 0, End::Open);
    more.tally.events += 1;
    bench.count(1, &[more], 45).await;
    assert!(archived(&bench).await.starts_with("runs archived: 1, "));
    assert_eq!(lines(&bench, 2, "aggregates.copy.zst").len(), 45);
}

#[tokio::test]
async fn an_archive_is_no_backup() {
    let (bench, target) = (Bench::with_runs().await, Bench::empty());
    archived(&bench).await;
    let error = restore(&target.options(), &bench.place(), moment).await.unwrap_err();
    assert!(matches!(error, JobError::Manifest(_)), "{error:?}");
}
