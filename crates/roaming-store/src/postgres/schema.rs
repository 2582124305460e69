//! Versions of the schema, and the guard against a schema that is not ours.

use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::errors::{failed, within};
use super::options::PostgresOptions;
use crate::{Create, StoreError};

/// The version of the schema that this program writes.
const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// Each brings the schema from the version of its index to the next.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../migrations/postgres/0001_checkpoints.sql"),
    include_str!("../../migrations/postgres/0002_last_record.sql"),
    include_str!("../../migrations/postgres/0003_jobs.sql"),
];

/// Key of the advisory lock that lets one process migrate at a time ("roaming").
const MIGRATION_LOCK: i64 = 0x0072_6f61_6d69_6e67;

/// How long finding out the version may take.
const CHECK_LIMIT: Duration = Duration::from_secs(10);

/// How long migrating may take. A migration may have to rewrite a large table.
const MIGRATION_LIMIT: Duration = Duration::from_mins(30);

/// Checks that the schema is ours and not newer, and brings it to [`SCHEMA_VERSION`].
///
/// Any number of replicas may do so at once. Where nothing is to be migrated no right to change the
/// schema is needed.
pub(super) async fn prepare(
    connection: &mut PgConnection,
    options: &PostgresOptions,
    create: Create,
) -> Result<(), StoreError> {
    match within(CHECK_LIMIT, version(connection, options)).await? {
        0 if create == Create::Never => Err(StoreError::NotFound { store: options.to_string() }),
        found if found < SCHEMA_VERSION => {
            within(MIGRATION_LIMIT, migrate(connection, options)).await
        }
        _ => Ok(()),
    }
}

/// Migrates all of it or nothing.
///
/// In one transaction with its lock, which ends with it however it ends. The migrator of sqlx locks the
/// session instead, and leaves it locked where a migration fails.
async fn migrate(
    connection: &mut PgConnection,
    options: &PostgresOptions,
) -> Result<(), StoreError> {
    let failed = failed("make or migrate its tables");
    let mut transaction = connection.begin().await.map_err(&failed)?;
    make(&mut transaction, options).await?;
    transaction.commit().await.map_err(&failed)
}

/// Makes or migrates the tables within a transaction of the caller.
pub(super) async fn make(
    transaction: &mut PgConnection,
    options: &PostgresOptions,
) -> Result<(), StoreError> {
    let failed = failed("make or migrate its tables");
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
    // Read under the lock: another process may have migrated since the check.
    let found = version(transaction, options).await?;
    if found == 0 {
        // `IF NOT EXISTS` would ask for the right to make schemas even where there is one.
        sqlx::raw_sql(
            "DO $$ BEGIN IF to_regnamespace('roaming') IS NULL THEN CREATE SCHEMA roaming; END IF; END $$",
        )
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
    }
    for (migration, version) in MIGRATIONS.into_iter().zip(1_i64..).skip(found as usize) {
        sqlx::raw_sql(migration).execute(&mut *transaction).await.map_err(&failed)?;
        sqlx::query("INSERT INTO schema_versions (version) VALUES ($1)")
            .bind(version)
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
    }
    Ok(())
}

/// Returns the version of a schema that must be this program's.
pub(super) async fn current(
    connection: &mut PgConnection,
    options: &PostgresOptions,
) -> Result<u32, StoreError> {
    let store = options.to_string();
    match within(CHECK_LIMIT, version(connection, options)).await? {
        0 => Err(StoreError::NotFound { store }),
        found if found < SCHEMA_VERSION => {
            Err(StoreError::OlderSchema { store, found, known: SCHEMA_VERSION })
        }
        found => Ok(found),
    }
}

/// Returns the version of the schema, 0 where there is none.
async fn version(
    connection: &mut PgConnection,
    options: &PostgresOptions,
) -> Result<u32, StoreError> {
    let failed = failed("say which version its tables have");
    let (ours, occupied): (bool, bool) = sqlx::query_as(
        "SELECT to_regclass('roaming.schema_versions') IS NOT NULL,
            EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('roaming'))",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(&failed)?;
    if !ours && occupied {
        return Err(StoreError::NotAStore { store: format!("schema roaming of {options}") });
    }
    if !ours {
        return Ok(0);
    }
    let newest: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM schema_versions")
        .fetch_one(connection)
        .await
        .map_err(&failed)?;
    let found = u32::try_from(newest).unwrap_or(u32::MAX);
    if found > SCHEMA_VERSION {
        let store = options.to_string();
        return Err(StoreError::NewerSchema { store, found, known: SCHEMA_VERSION });
    }
    Ok(found)
}
