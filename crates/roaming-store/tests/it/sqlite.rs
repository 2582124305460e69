//! SQLite: the common promises, and what only a file can do.

use std::fs;
use std::path::{Path, PathBuf};

use roaming_analytics::Snapshot;
use roaming_store::{
    Create, Disposition, SCHEMA_VERSION, SqliteOptions, SqliteStore, Store, StoreError,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::TempDir;

use crate::sample::{checkpoint, key, lane, run, run_row, totals};

async fn fresh() -> (SqliteStore, TempDir) {
    let folder = TempDir::new().unwrap();
    let store = SqliteStore::open(folder.path().join("run.db")).await.unwrap();
    (store, folder)
}

conformance!(fresh);

/// Opens the file as any SQL user would.
async fn sql(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

#[track_caller]
fn check_refused(
    result: Result<SqliteStore, StoreError>,
    kind: fn(&StoreError) -> bool,
    says: &str,
) {
    let error = result.expect_err("the store must be refused");
    assert!(kind(&error), "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(error.disposition(), Disposition::Fatal);
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    check_refused(
        SqliteStore::open("/nowhere/at/all/run.db").await,
        |error| matches!(error, StoreError::FolderMissing { .. }),
        "/nowhere/at/all for the store does not exist; create it",
    );
}

#[tokio::test]
async fn a_missing_store_is_not_made_by_a_reader() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.db");
    check_refused(
        SqliteStore::open_existing(&path).await,
        |error| matches!(error, StoreError::NotFound { .. }),
        "no store at",
    );
    assert!(!path.exists());
}

#[tokio::test]
async fn a_read_only_file_is_refused_and_kept() {
    let (path, _folder) = a_store_with_data().await;
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    let before = fs::read(&path).unwrap();
    check_refused(
        SqliteStore::open(&path).await,
        |error| matches!(error, StoreError::ReadOnly { .. }),
        "write access to it and its folder, name another with --store, or name a PostgreSQL database with --postgres-dsn or POSTGRES_DSN",
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_folder_that_takes_no_files_is_refused() {
    check_refused(
        SqliteStore::open("/proc/run.db").await,
        |error| matches!(error, StoreError::CannotOpen { .. }),
        "a folder that this process may write to",
    );
}

#[tokio::test]
async fn a_folder_in_place_of_the_file_is_refused() {
    let folder = TempDir::new().unwrap();
    check_refused(
        SqliteStore::open(folder.path()).await,
        |error| matches!(error, StoreError::NotAStore { .. }),
        "is not a store of this program",
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_kept() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "my notes\n".repeat(1000);
    fs::write(&path, &text).unwrap();
    check_refused(
        SqliteStore::open(&path).await,
        |error| matches!(error, StoreError::NotAStore { .. }),
        "left as it is",
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_kept() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("other.db");
    let mut other = sql(&path).await;
    sqlx::query("CREATE TABLE runs (shoes TEXT)").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    let before = fs::read(&path).unwrap();
    check_refused(
        SqliteStore::open(&path).await,
        |error| matches!(error, StoreError::NotAStore { .. }),
        "left as it is",
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_store_of_the_first_version_is_brought_to_this_one() {
    let (path, _folder) = a_store_with_data().await;
    let store = SqliteStore::open(&path).await.unwrap();
    let expected = store.acquire(3, "me").await.unwrap().snapshot;
    store.close().await;
    let mut older = sql(&path).await;
    let undo = "ALTER TABLE partitions DROP COLUMN last_record_ms; DROP TABLE job_runs;
        ALTER TABLE runs DROP COLUMN ended_ms; ALTER TABLE runs DROP COLUMN ended_events;
        ALTER TABLE runs DROP COLUMN archived_ms; ALTER TABLE runs DROP COLUMN cleaned_ms;
        PRAGMA user_version = 1";
    sqlx::raw_sql(undo).execute(&mut older).await.unwrap();
    older.close().await.unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    let migrated = store.acquire(3, "me").await.unwrap().snapshot;
    assert_eq!(migrated, Snapshot { last_record_ms: None, ..expected });
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_kept() {
    let (path, _folder) = a_store_with_data().await;
    let mut newer = sql(&path).await;
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut newer).await.unwrap();
    newer.close().await.unwrap();
    let before = fs::read(&path).unwrap();
    check_refused(
        SqliteStore::open(&path).await,
        |error| matches!(error, StoreError::NewerSchema { found: 99, known: SCHEMA_VERSION, .. }),
        "use a newer roaming-consumer",
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_full_disk_writes_nothing_and_the_same_checkpoint_fits_later() {
    let (path, _folder) = a_store_with_data().await;
    let before = SqliteStore::open(&path).await.unwrap();
    let found = before.found(run(1)).await.unwrap();
    before.close().await;
    let pages_max = Some((fs::metadata(&path).unwrap().len() / 4096) as u32);
    let options = SqliteOptions { path: path.clone(), create: Create::Never, pages_max };
    let store = SqliteStore::open_with(options).await.unwrap();
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    let mut large = checkpoint(3, 9999);
    large.lanes = vec![lane(3, 777)];
    large.changed_rows = (0..5000).map(|number| (run(1), key(number), totals(number))).collect();

    let error = store.commit(epoch, &large).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert_eq!(error.disposition(), Disposition::Retry);
    assert!(error.to_string().contains("free space"), "{error}");
    let kept = store.found(run(1)).await.unwrap();
    assert_eq!((kept.lanes, kept.rows), (found.lanes, found.rows));
    let small = checkpoint(3, 9998);
    store.commit(epoch, &small).await.unwrap();
    store.close().await;

    let store = SqliteStore::open(&path).await.unwrap();
    store.commit(epoch, &large).await.unwrap();
    assert_eq!(store.found(run(1)).await.unwrap().rows.len(), 5000);
}

/// SQLite rolls back by itself, as on a full disk, while sqlx believes that a transaction is open.
#[tokio::test]
async fn the_store_goes_on_after_sqlite_rolled_back_by_itself() {
    let (path, _folder) = a_store_with_data().await;
    let store = SqliteStore::open(&path).await.unwrap();
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    let mut trap = sql(&path).await;
    sqlx::raw_sql(
        "CREATE TRIGGER trap_commit BEFORE INSERT ON aggregates
         BEGIN SELECT raise(ROLLBACK, 'trap'); END;
         CREATE TRIGGER trap_acquire BEFORE UPDATE ON partitions WHEN new.owner = 'trapped'
         BEGIN SELECT raise(ROLLBACK, 'trap'); END",
    )
    .execute(&mut trap)
    .await
    .unwrap();
    for _ in 0..3 {
        let error = store.commit(epoch, &checkpoint(3, 9999)).await.unwrap_err();
        assert!(format!("{error:?}").contains("trap"), "{error:?}");
        let error = store.acquire(3, "trapped").await.unwrap_err();
        assert!(format!("{error:?}").contains("trap"), "{error:?}");
    }
    store.put_run(&run_row(2, "other")).await.unwrap();
    sqlx::raw_sql("DROP TRIGGER trap_commit").execute(&mut trap).await.unwrap();
    store.commit(epoch, &checkpoint(3, 9999)).await.unwrap();
    assert_eq!(store.acquire(3, "me").await.unwrap().snapshot.next_offset, Some(9999));
}

#[tokio::test]
async fn a_commit_that_fails_at_its_very_end_is_of_unknown_outcome_and_the_store_goes_on() {
    let (path, _folder) = a_store_with_data().await;
    let store = SqliteStore::open(&path).await.unwrap();
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    let mut trap = sql(&path).await;
    sqlx::raw_sql(
        "CREATE TABLE parents (id INTEGER PRIMARY KEY);
         CREATE TABLE children
            (id INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER trap AFTER INSERT ON aggregates WHEN new.events = 666
         BEGIN INSERT INTO children VALUES (1); END",
    )
    .execute(&mut trap)
    .await
    .unwrap();
    let mut poisoned = checkpoint(3, 9999);
    poisoned.changed_rows.push((run(1), key(800), totals(666)));
    let error = store.commit(epoch, &poisoned).await.unwrap_err();
    assert!(matches!(error, StoreError::UnknownOutcome { partition: 3, .. }), "{error:?}");
    assert_eq!(error.disposition(), Disposition::Fence);
    store.commit(epoch, &checkpoint(3, 5000)).await.unwrap();
    assert_eq!(store.acquire(3, "me").await.unwrap().snapshot.next_offset, Some(5000));
}

#[tokio::test]
async fn a_commit_that_fails_in_its_last_table_leaves_nothing() {
    let (path, _folder) = a_store_with_data().await;
    let store = SqliteStore::open(&path).await.unwrap();
    let before = store.found(run(1)).await.unwrap();
    let mut trap = sql(&path).await;
    sqlx::raw_sql(
        "CREATE TRIGGER trap BEFORE INSERT ON aggregates WHEN new.events = 666
         BEGIN SELECT raise(ABORT, 'trap'); END",
    )
    .execute(&mut trap)
    .await
    .unwrap();
    let acquired = store.acquire(3, "me").await.unwrap();
    let mut poisoned = checkpoint(3, 9999);
    poisoned.lanes = vec![lane(3, 777)];
    poisoned.changed_rows.push((run(1), key(800), totals(666)));
    let error = store.commit(acquired.epoch, &poisoned).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    let after = store.found(run(1)).await.unwrap();
    assert_eq!((after.lanes, after.rows), (before.lanes, before.rows));
    let again = store.acquire(3, "me").await.unwrap().snapshot;
    assert_eq!(again.next_offset, acquired.snapshot.next_offset);
}

#[tokio::test]
async fn a_negative_count_is_damage_and_named() {
    let (path, _folder) = a_store_with_data().await;
    let mut other = sql(&path).await;
    sqlx::query("UPDATE aggregates SET duration_s = -1").execute(&mut other).await.unwrap();
    let store = SqliteStore::open_existing(&path).await.unwrap();
    let error = store.found(run(1)).await.unwrap_err();
    assert!(error.to_string().contains("aggregates holds -"), "{error}");
}

#[tokio::test]
async fn the_views_are_for_people() {
    let (path, _folder) = a_store_with_data().await;
    let mut user = sql(&path).await;
    let (name, window, events): (String, String, i64) = sqlx::query_as(
        "SELECT run_name, window_start, events FROM run_rows ORDER BY window_start, events LIMIT 1",
    )
    .fetch_one(&mut user)
    .await
    .unwrap();
    assert_eq!((name.as_str(), window.as_str(), events), ("sample", "2026-06-01T08:00:00Z", 1));
    let (id, digest, state): (String, String, String) =
        sqlx::query_as("SELECT run_id, digest, state FROM run_lanes WHERE lane = 3")
            .fetch_one(&mut user)
            .await
            .unwrap();
    assert_eq!(id, run(1).to_string());
    assert_eq!(digest, lane(3, 100).tally.digest.to_string());
    assert_eq!(state, "failed");
}

/// A closed store in which partition 3 has one checkpoint.
async fn a_store_with_data() -> (PathBuf, TempDir) {
    let (store, folder) = fresh().await;
    store.put_run(&run_row(1, "sample")).await.unwrap();
    let epoch = store.acquire(3, "me").await.unwrap().epoch;
    store.commit(epoch, &checkpoint(3, 4711)).await.unwrap();
    store.close().await;
    (folder.path().join("run.db"), folder)
}
