//! Versions of the schema, and the guard against files that are not ours.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, SqlitePool};

use super::errors;
use crate::StoreError;

/// The version of the schema that this program writes.
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// Each brings the schema from the version of its index to the next.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../migrations/sqlite/0001_checkpoints.sql"),
    include_str!("../../migrations/sqlite/0002_last_record.sql"),
    include_str!("../../migrations/sqlite/0003_jobs.sql"),
];

/// SQLite's mark of whose file it is ("roam"), so that another program's database is left alone.
const APPLICATION_ID: u32 = 0x726f_616d;

/// Looks at a file before anything is written to it.
pub(super) async fn check(connect: &SqliteConnectOptions, path: &Path) -> Result<(), StoreError> {
    let failed = |error| errors::opening(path, error);
    let mut connection = connect.connect().await.map_err(failed)?;
    let result = check_version(&mut connection, path).await;
    connection.close().await.map_err(failed)?;
    result
}

async fn check_version(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let failed = |error| errors::opening(path, error);
    let application: u32 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let objects: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if application != APPLICATION_ID && (application != 0 || objects > 0) {
        return Err(StoreError::NotAStore { store: path.display().to_string() });
    }
    let found = version(&mut *connection).await.map_err(failed)?;
    if found > SCHEMA_VERSION {
        let store = path.display().to_string();
        return Err(StoreError::NewerSchema { store, found, known: SCHEMA_VERSION });
    }
    Ok(())
}

/// Brings the schema to [`SCHEMA_VERSION`], all of it or nothing.
pub(super) async fn migrate(writer: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    let failed = |error| errors::opening(path, error);
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    // Read inside the transaction: another process may have migrated since the check.
    let found = version(&mut transaction).await.map_err(failed)?;
    for migration in MIGRATIONS.iter().skip(found as usize) {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await.map_err(failed)?;
    }
    if found < SCHEMA_VERSION {
        // A pragma takes no parameters.
        let marks = format!(
            "PRAGMA user_version = {SCHEMA_VERSION}; PRAGMA application_id = {APPLICATION_ID}"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(marks))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

async fn version(connection: &mut SqliteConnection) -> Result<u32, sqlx::Error> {
    sqlx::query_scalar("PRAGMA user_version").fetch_one(connection).await
}
