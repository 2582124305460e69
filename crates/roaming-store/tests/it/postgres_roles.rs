//! What `scripts/postgres-roles` gives, and what it does not.

use std::path::Path;
use std::process::Command;

use futures::TryStreamExt;
use roaming_store::{
    Disposition, JobOutcome, JobRun, PostgresStore, Retention, RunRow, Store, StoreError,
    StoreSnapshot,
};
use roaming_testbed::services::{Postgres, PostgresOptions as Server};

use crate::postgres::{new, sql};
use crate::sample::{checkpoint, key, run, run_row};

/// Runs the script, and returns the DSN of the writer, of the reader and of the jobs.
fn make_roles(server: &Postgres, database: &str) -> [String; 3] {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/postgres-roles");
    let output = Command::new(script)
        .args([&server.dsn(), database])
        .env("ROAMING_WRITER_PASSWORD", "it's a writer")
        .env("ROAMING_READER_PASSWORD", "reader")
        .env("ROAMING_JOBS_PASSWORD", "jobs")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dsn = server.dsn_of(database);
    let place = dsn.rsplit('@').next().unwrap();
    [
        format!("postgres://roaming:it's%20a%20writer@{place}"),
        format!("postgres://roaming_reader:reader@{place}"),
        format!("postgres://roaming_jobs:jobs@{place}"),
    ]
}

/// The reader who switches his own lock off, so that only the missing rights are left.
fn writable(reader: &str) -> String {
    format!("{reader}?options=-c%20default_transaction_read_only%3Doff")
}

/// Roles are the server's, so this has one of its own.
#[tokio::test]
async fn the_writer_writes_and_the_reader_reads() {
    let server = Postgres::start(&Server::default());
    let [writer, reader, _] = make_roles(&server, "roaming");
    let store = new(&writer);
    store.put_run(&run_row(1, "sample")).await.unwrap();
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    store.commit(epoch, &checkpoint(3, 4711)).await.unwrap();

    let events: String =
        sql(&reader, "SELECT sum(events)::text FROM roaming.run_rows").await.unwrap();
    assert_eq!(events, "325");
    let lanes: String = sql(&reader, "SELECT count(*)::text FROM roaming.run_lanes").await.unwrap();
    assert_eq!(lanes, "2");
    for write in [
        "DELETE FROM roaming.lanes RETURNING gaps",
        "UPDATE roaming.partitions SET epoch = 0 RETURNING owner",
        "INSERT INTO roaming.bindings VALUES ('log', 'x') RETURNING value",
    ] {
        let error = sql(&writable(&reader), write).await.unwrap_err().to_string();
        assert!(error.contains("permission denied"), "{error}");
    }

    let auditor = PostgresStore::open_existing(reader.parse().unwrap()).await.unwrap();
    assert_eq!(auditor.found(run(1)).await.unwrap().rows.len(), 25);
    assert_eq!(auditor.load_rows(3, &[(run(1), key(1))]).await.unwrap().len(), 1);
    let error = auditor.acquire(3, "auditor").await.unwrap_err();
    assert!(matches!(error, StoreError::WritesRefused { .. }), "{error:?}");

    // Again, and after the tables were made: nothing changes.
    make_roles(&server, "roaming");
    store.commit(epoch, &checkpoint(3, 4712)).await.unwrap();
    sql(&reader, "SELECT name FROM roaming.runs").await.unwrap();
}

#[tokio::test]
async fn tables_of_an_earlier_owner_become_the_writers() {
    let server = Postgres::start(&Server::default());
    let dsn = server.create_database();
    put_stopped(&new(&dsn), 1).await;
    let [writer, reader, jobs] = make_roles(&server, dsn.rsplit('/').next().unwrap());
    new(&writer).put_run(&run_row(2, "sample")).await.unwrap();
    sql(&reader, "SELECT name FROM roaming.runs").await.unwrap();
    check_jobs(&jobs).await;
}

#[tokio::test]
async fn jobs_read_all_and_remove_no_mark() {
    let server = Postgres::start(&Server::default());
    let [writer, _, jobs] = make_roles(&server, "roaming");
    let store = new(&writer);
    put_stopped(&store, 1).await;
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    store.commit(epoch, &checkpoint(3, 4711)).await.unwrap();
    check_jobs(&jobs).await;
    for write in [
        "DELETE FROM roaming.lanes RETURNING gaps",
        "UPDATE roaming.runs SET state = 'stopped' RETURNING name",
        "INSERT INTO roaming.bindings VALUES ('log', 'x') RETURNING value",
        "UPDATE roaming.job_runs SET outcome = 'done' RETURNING job",
    ] {
        let error = sql(&jobs, write).await.unwrap_err().to_string();
        assert!(error.contains("permission denied"), "{error}");
    }
}

async fn put_stopped(store: &PostgresStore, number: u64) {
    let row = RunRow { state: "stopped".to_owned(), ..run_row(number, "sample") };
    store.put_run(&row).await.unwrap();
}

/// Does as the jobs what they need to, in a store with a run that has ended.
async fn check_jobs(jobs: &str) {
    let mut snapshot = StoreSnapshot::take(&jobs.parse().unwrap()).await.unwrap();
    for table in snapshot.tables().await.unwrap() {
        let rows = snapshot.rows(&table).await.unwrap();
        rows.try_collect::<Vec<_>>().await.unwrap();
    }
    let store = PostgresStore::open_existing(jobs.parse().unwrap()).await.unwrap();
    let run = JobRun {
        job: "backup".to_owned(),
        started_ms: 1,
        ended_ms: 2,
        outcome: JobOutcome::Done,
        detail: String::new(),
    };
    store.put_job(&run).await.unwrap();
    sql(jobs, "DELETE FROM roaming.job_runs").await.unwrap();
    let mut retention = Retention::open(&jobs.parse().unwrap()).await.unwrap();
    for run in retention.ended(1).await.unwrap() {
        assert!(retention.note_archive(&run, 2).await.unwrap());
        assert!(retention.clean_up(&run, 2).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_role_without_rights_is_told_what_to_do() {
    let server = Postgres::start(&Server::default());
    let [_, reader, _] = make_roles(&server, "roaming");
    let error = new(&writable(&reader)).runs().await.unwrap_err();
    assert!(matches!(error, StoreError::NoRight { .. }), "{error:?}");
    assert_eq!(error.disposition(), Disposition::Fatal);
    assert!(error.to_string().contains("scripts/postgres-roles"), "{error}");
}
