//! PostgreSQL: the common promises, and what only a server can do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use roaming_analytics::Snapshot;
use roaming_store::{Disposition, PostgresStore, SCHEMA_VERSION, Store, StoreError, StoreSnapshot};
use roaming_testbed::services::{Postgres, PostgresOptions as Server};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Barrier;

use crate::proxy::Proxy;
use crate::sample::{checkpoint, key, lane, run, run_row, totals};

async fn fresh() -> (PostgresStore, ()) {
    let store = new(&Postgres::shared().create_database());
    store.runs().await.unwrap();
    (store, ())
}

conformance!(fresh);

/// A store that has not connected yet.
pub(crate) fn new(dsn: &str) -> PostgresStore {
    PostgresStore::new(dsn.parse().unwrap())
}

/// Runs statements as any SQL user would; returns the text in the last one's first row.
pub(crate) async fn sql(dsn: &str, statements: &str) -> Result<String, sqlx::Error> {
    use sqlx::Row;
    let mut user = PgConnection::connect(dsn).await?;
    let rows = sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).fetch_all(&mut user).await?;
    Ok(rows.last().map_or_else(String::new, |row| row.get::<&str, _>(0).to_owned()))
}

/// A store in which partition 3 has one checkpoint, and its DSN.
async fn a_store_with_data() -> (PostgresStore, String) {
    let dsn = Postgres::shared().create_database();
    (with_data(&dsn).await, dsn)
}

async fn with_data(dsn: &str) -> PostgresStore {
    let store = new(dsn);
    store.put_run(&run_row(1, "sample")).await.unwrap();
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    store.commit(epoch, &checkpoint(3, 4711)).await.unwrap();
    store
}

/// A checkpoint with the row that the traps wait for.
fn poisoned() -> roaming_analytics::Checkpoint {
    let mut poisoned = checkpoint(3, 9999);
    poisoned.lanes = vec![lane(3, 777)];
    poisoned.new_rows.push((run(1), key(800), totals(666)));
    poisoned
}

/// Lets the server do something when a poisoned row is written, or when its transaction commits.
async fn trap(dsn: &str, moment: &str, statement: &str) {
    let kind = if moment == "commit" { "CONSTRAINT TRIGGER" } else { "TRIGGER" };
    let timing = if moment == "commit" { "DEFERRABLE INITIALLY DEFERRED" } else { "" };
    let script = format!(
        "CREATE FUNCTION roaming.spring() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN {statement}; RETURN NULL; END $$;
         CREATE {kind} trap AFTER INSERT ON roaming.aggregates {timing}
            FOR EACH ROW WHEN (new.events = 666) EXECUTE FUNCTION roaming.spring()"
    );
    sql(dsn, &script).await.unwrap();
}

const UNTRAP: &str = "DROP TRIGGER trap ON roaming.aggregates; DROP FUNCTION roaming.spring()";

/// Kills the session that springs the trap.
const KILL: &str = "PERFORM pg_terminate_backend(pg_backend_pid())";

#[track_caller]
fn check_refused(error: &StoreError, kind: fn(&StoreError) -> bool, says: &str) {
    assert!(kind(error), "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(error.disposition(), Disposition::Fatal);
}

#[tokio::test(flavor = "multi_thread")]
async fn six_replicas_make_the_tables_at_once() {
    let dsn = Postgres::shared().create_database();
    let barrier = Arc::new(Barrier::new(6));
    let replicas: Vec<_> = (0..6_u16)
        .map(|partition| {
            let (store, barrier) = (new(&dsn), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                let epoch = store.acquire(partition, "me").await?.epoch;
                store.commit(epoch, &checkpoint(partition, 1)).await
            })
        })
        .collect();
    for replica in replicas {
        replica.await.unwrap().unwrap();
    }
    let versions = sql(&dsn, "SELECT count(*)::text FROM roaming.schema_versions").await.unwrap();
    assert_eq!(versions, "3");
}

#[tokio::test]
async fn a_store_of_the_first_version_is_brought_to_this_one() {
    let (store, dsn) = a_store_with_data().await;
    let expected = store.acquire(3, "me").await.unwrap().snapshot;
    let undo =
        "ALTER TABLE roaming.partitions DROP COLUMN last_record_ms; DROP TABLE roaming.job_runs;
        ALTER TABLE roaming.runs DROP COLUMN ended_ms, DROP COLUMN ended_events,
            DROP COLUMN archived_ms, DROP COLUMN cleaned_ms";
    sql(&dsn, undo).await.unwrap();
    sql(&dsn, "DELETE FROM roaming.schema_versions WHERE version > 1").await.unwrap();
    let migrated = new(&dsn).acquire(3, "me").await.unwrap().snapshot;
    assert_eq!(migrated, Snapshot { last_record_ms: None, ..expected });
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let (_, dsn) = a_store_with_data().await;
    sql(&dsn, "INSERT INTO roaming.schema_versions VALUES (99)").await.unwrap();
    check_refused(
        &new(&dsn).runs().await.unwrap_err(),
        |error| matches!(error, StoreError::NewerSchema { found: 99, .. }),
        "use a newer roaming-consumer",
    );
}

#[tokio::test]
async fn a_schema_of_another_program_is_refused_and_kept() {
    let dsn = Postgres::shared().create_database();
    sql(&dsn, "CREATE SCHEMA roaming CREATE TABLE runs (shoes TEXT)").await.unwrap();
    check_refused(
        &new(&dsn).runs().await.unwrap_err(),
        |error| matches!(error, StoreError::NotAStore { .. }),
        "left as it is",
    );
    sql(&dsn, "SELECT shoes FROM roaming.runs").await.unwrap();
}

#[tokio::test]
async fn a_missing_store_is_not_made_by_a_reader() {
    let dsn = Postgres::shared().create_database();
    check_refused(
        &PostgresStore::open_existing(dsn.parse().unwrap()).await.unwrap_err(),
        |error| matches!(error, StoreError::NotFound { .. }),
        "no store at postgres://postgres@127.0.0.1:",
    );
    let made = sql(&dsn, "SELECT (to_regnamespace('roaming') IS NOT NULL)::text").await.unwrap();
    assert_eq!(made, "false");
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_database_are_told_apart() {
    let dsn = Postgres::shared().create_database();
    let place = dsn.rsplit('@').next().unwrap();
    check_refused(
        &new(&format!("postgres://postgres:hunter2@{place}")).runs().await.unwrap_err(),
        |error| matches!(error, StoreError::WrongIdentity { .. }),
        "check role and password",
    );
    check_refused(
        &new(&format!("{dsn}_else")).runs().await.unwrap_err(),
        |error| matches!(error, StoreError::NoDatabase { .. }),
        "name another with --postgres-dsn",
    );
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let dsn = Postgres::shared().create_database();
    check_refused(
        &new(&format!("{dsn}?sslmode=require")).runs().await.unwrap_err(),
        |error| matches!(error, StoreError::Tls { .. }),
        "no TLS connection",
    );
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_waited_for() {
    let (store, dsn) = a_store_with_data().await;
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    store.close().await;
    let name = dsn.rsplit('/').next().unwrap().to_owned();
    let alter =
        |value: &str| format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
    sql(&dsn, &alter("on")).await.unwrap();
    let store = new(&dsn);
    let error = store.commit(epoch, &checkpoint(3, 5000)).await.unwrap_err();
    assert!(matches!(error, StoreError::WritesRefused { .. }), "{error:?}");
    assert_eq!(error.disposition(), Disposition::Retry);
    assert!(error.to_string().contains("default_transaction_read_only"), "{error}");
    let server = Postgres::shared();
    server.sql("postgres", &alter("off"));
    // The same store: it has not kept the connection that refused.
    store.commit(epoch, &checkpoint(3, 5000)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_away_at_first_is_waited_for() {
    let server = Postgres::start(&Server::default());
    let store = new(&server.create_database());
    server.stop();
    let error = store.runs().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert_eq!(error.disposition(), Disposition::Retry);
    server.start_again();
    assert_eq!(store.runs().await.unwrap(), []);
}

#[tokio::test]
async fn a_proxy_without_a_server_is_waited_for() {
    // What it says before it ends a connection: nothing, or that TLS may begin.
    for (answer, tls) in [(&b""[..], "prefer"), (b"", "require"), (b"S", "require")] {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = proxy.local_addr().unwrap();
        let store = new(&format!("postgres://me:secret@{address}/any?sslmode={tls}"));
        let ending = async {
            loop {
                let (mut connection, _) = proxy.accept().await.unwrap();
                // What was asked is read, so that the end is an orderly one.
                let _ = connection.read(&mut [0; 100]).await;
                if !answer.is_empty() {
                    connection.write_all(answer).await.unwrap();
                    // What is not read makes the end one that the client's system tells as an error.
                    let _ = connection.readable().await;
                }
            }
        };
        let error = tokio::select! {
            runs = store.runs() => runs.unwrap_err(),
            () = ending => unreachable!("it accepts for ever"),
        };
        assert!(matches!(error, StoreError::Unavailable { .. }), "{answer:?}, {tls}: {error:?}");
    }
}

#[tokio::test]
async fn the_store_goes_on_after_the_server_was_stopped() {
    let server = Postgres::start(&Server::default());
    let store = with_data(&server.create_database()).await;
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    server.stop();
    let error = store.commit(epoch, &checkpoint(3, 5000)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert_eq!(error.disposition(), Disposition::Retry);
    assert!(format!("{error:?}").contains("ConnectionRefused"), "{error:?}");
    server.start_again();
    store.commit(epoch, &checkpoint(3, 5000)).await.unwrap();
    assert_eq!(store.acquire(3, "me").await.unwrap().snapshot.next_offset, Some(5000));
}

#[tokio::test]
async fn a_row_that_is_not_new_is_refused_and_nothing_is_written() {
    let (store, _dsn) = a_store_with_data().await;
    let before = store.found(run(1)).await.unwrap();
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    let mut wrong = checkpoint(3, 9999);
    wrong.lanes = vec![lane(3, 777)];
    wrong.new_rows = wrong.changed_rows.split_off(24);
    let error = store.commit(epoch, &wrong).await.unwrap_err();
    check_refused(
        &error,
        |error| matches!(error, StoreError::Refused { .. }),
        "new aggregate rows",
    );
    let after = store.found(run(1)).await.unwrap();
    assert_eq!((after.lanes, after.rows), (before.lanes, before.rows));
    wrong.changed_rows.append(&mut wrong.new_rows);
    store.commit(epoch, &wrong).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_killed_between_statements_leaves_nothing() {
    let (store, dsn) = a_store_with_data().await;
    let before = store.found(run(1)).await.unwrap();
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    trap(&dsn, "statement", KILL).await;
    let error = store.commit(epoch, &poisoned()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    let after = store.found(run(1)).await.unwrap();
    assert_eq!((after.lanes, after.rows), (before.lanes, before.rows));
    sql(&dsn, UNTRAP).await.unwrap();
    store.commit(epoch, &poisoned()).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_killed_at_commit_is_of_unknown_outcome() {
    let (store, dsn) = a_store_with_data().await;
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    trap(&dsn, "commit", KILL).await;
    let error = store.commit(epoch, &poisoned()).await.unwrap_err();
    assert!(matches!(error, StoreError::UnknownOutcome { partition: 3, .. }), "{error:?}");
    assert_eq!(error.disposition(), Disposition::Fence);
    assert_eq!(store.acquire(3, "me").await.unwrap().snapshot.next_offset, Some(4711));
}

#[tokio::test]
async fn a_commit_that_counts_and_whose_answer_is_lost_is_told_by_acquiring() {
    let dsn = Postgres::shared().create_database();
    let (identity, place) = dsn.rsplit_once('@').unwrap();
    let (server, database) = place.split_once('/').unwrap();
    let proxy = Proxy::start(server.to_owned()).await;
    let store = with_data(&format!("{identity}@{}/{database}", proxy.address)).await;
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    proxy.cut_the_next_commit();
    let error = store.commit(epoch, &checkpoint(3, 5000)).await.unwrap_err();
    assert!(matches!(error, StoreError::UnknownOutcome { partition: 3, .. }), "{error:?}");
    assert_eq!(store.acquire(3, "me").await.unwrap().snapshot.next_offset, Some(5000));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_owners_that_race_the_later_one_wins() {
    let (_, dsn) = a_store_with_data().await;
    let owners = [new(&dsn), new(&dsn)];
    for round in 0..20 {
        let barrier = Arc::new(Barrier::new(2));
        let races = owners.clone().map(|store| {
            let barrier = Arc::clone(&barrier);
            tokio::spawn(async move {
                let epoch = store.acquire(3, "me").await.unwrap().epoch;
                barrier.wait().await;
                (epoch, store.commit(epoch, &checkpoint(3, 5000 + round)).await)
            })
        });
        let [first, second] = races;
        let mut results = [first.await.unwrap(), second.await.unwrap()];
        results.sort_by_key(|(epoch, _)| *epoch);
        let [(_, early), (_, late)] = results;
        assert!(matches!(early, Err(StoreError::Fenced { partition: 3, .. })), "{early:?}");
        late.unwrap();
    }
}

#[tokio::test]
async fn a_row_that_somebody_holds_does_not_hang_a_checkpoint() {
    let (store, dsn) = a_store_with_data().await;
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    let mut holder = PgConnection::connect(&dsn).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT * FROM roaming.partitions FOR UPDATE")
        .execute(&mut holder)
        .await
        .unwrap();
    let begin = Instant::now();
    let error = store.commit(epoch, &checkpoint(3, 5000)).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    holder.close().await.unwrap();
    store.commit(epoch, &checkpoint(3, 5000)).await.unwrap();
}

/// The server itself raises what it would raise; a disk that is really full takes one of its own.
#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_ends() {
    let (store, dsn) = a_store_with_data().await;
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    for (code, expected, kind) in [
        ("53100", Disposition::Retry, "store_full"),
        ("53200", Disposition::Retry, "store_unavailable"),
        ("53300", Disposition::Retry, "store_unavailable"),
        ("40001", Disposition::Retry, "store_unavailable"),
        ("40P01", Disposition::Retry, "store_unavailable"),
        ("57P03", Disposition::Retry, "store_unavailable"),
        ("58030", Disposition::Retry, "store_unavailable"),
        ("XX000", Disposition::Retry, "store_unavailable"),
        ("25006", Disposition::Retry, "store_read_only"),
        ("42501", Disposition::Fatal, "store_refused"),
        ("23505", Disposition::Fatal, "store_refused"),
        ("XX001", Disposition::Fatal, "store_refused"),
    ] {
        trap(&dsn, "statement", &format!("RAISE EXCEPTION 'trap' USING ERRCODE = '{code}'")).await;
        let error = store.commit(epoch, &poisoned()).await.unwrap_err();
        assert_eq!((error.disposition(), error.kind()), (expected, kind), "{error:?}");
        assert!(format!("{error:?}").contains(code), "{error:?}");
        sql(&dsn, UNTRAP).await.unwrap();
    }
    assert_eq!(store.acquire(3, "me").await.unwrap().snapshot.next_offset, Some(4711));
}

#[tokio::test]
async fn the_views_are_for_people() {
    let (_, dsn) = a_store_with_data().await;
    let first = "SELECT concat_ws(' ', run_name, window_start, events) FROM roaming.run_rows
         ORDER BY window_start, events LIMIT 1";
    let utc = format!("SET timezone = 'UTC'; {first}");
    assert_eq!(sql(&dsn, &utc).await.unwrap(), "sample 2026-06-01 08:00:00+00 1");
    let lanes =
        "SELECT concat_ws(' ', run_id, digest, state) FROM roaming.run_lanes WHERE lane = 3";
    let expected = format!("{} {} failed", run(1), lane(3, 100).tally.digest);
    assert_eq!(sql(&dsn, lanes).await.unwrap(), expected);
    let undocumented = "SELECT count(*)::text FROM pg_class
         WHERE relnamespace = 'roaming'::regnamespace AND relkind = 'v'
            AND obj_description(oid, 'pg_class') IS NULL";
    assert_eq!(sql(&dsn, undocumented).await.unwrap(), "0");
}

#[tokio::test]
async fn a_snapshot_is_of_the_moment_it_was_taken() {
    let (store, dsn) = a_store_with_data().await;
    store.bind_log("a log").await.unwrap();
    let mut snapshot = StoreSnapshot::take(&dsn.parse().unwrap()).await.unwrap();
    store.put_run(&run_row(2, "later")).await.unwrap();
    let tables = snapshot.tables().await.unwrap();
    let runs = tables.iter().find(|table| table.name == "runs").unwrap();
    let rows: Vec<_> = snapshot.rows(runs).await.unwrap().try_collect().await.unwrap();
    let text = String::from_utf8(rows.concat()).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    assert_eq!(snapshot.bindings().await.unwrap()["log"], "a log");
    assert_eq!(snapshot.schema_version(), SCHEMA_VERSION);
}

#[tokio::test]
async fn a_snapshot_of_an_older_store_is_refused() {
    let (_, dsn) = a_store_with_data().await;
    sql(&dsn, "DELETE FROM roaming.schema_versions WHERE version > 2").await.unwrap();
    check_refused(
        &StoreSnapshot::take(&dsn.parse().unwrap()).await.unwrap_err(),
        |error| matches!(error, StoreError::OlderSchema { found: 2, .. }),
        "start the consumer of this release on it first",
    );
}
