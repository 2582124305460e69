//! SQLite's errors as ours.

use std::path::Path;

use crate::StoreError;

/// Result codes of SQLite (<https://www.sqlite.org/rescode.html>), without their extensions.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const FULL: i32 = 13;
const NOTADB: i32 = 26;

/// Says what an error of an operation on an open store means.
pub(super) fn failed(operation: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| {
        let passing = matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::Io(_));
        let source = Box::new(error);
        match result_code(&source) {
            Some(FULL) => StoreError::Full { source },
            Some(BUSY | LOCKED | IOERR) => StoreError::Unavailable { source },
            _ if passing => StoreError::Unavailable { source },
            _ => StoreError::Refused { operation, source },
        }
    }
}

/// Says what an error of COMMIT means. Where the disk is full, the frame that makes the transaction
/// count did not reach the write-ahead log, so nothing was written; no other error says as much.
pub(super) fn commit_failed(partition: u16) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| {
        let source = Box::new(error);
        match result_code(&source) {
            Some(FULL) => StoreError::Full { source },
            _ => StoreError::UnknownOutcome { partition, source },
        }
    }
}

/// Says what an error while opening means.
pub(super) fn opening(path: &Path, error: sqlx::Error) -> StoreError {
    let path = path.to_owned();
    match result_code(&error) {
        Some(NOTADB) => StoreError::NotAStore { store: path.display().to_string() },
        Some(READONLY) => StoreError::ReadOnly { path },
        Some(FULL) => StoreError::Full { source: Box::new(error) },
        Some(BUSY | LOCKED) => StoreError::Unavailable { source: Box::new(error) },
        _ => StoreError::CannotOpen { path, source: Box::new(error) },
    }
}

fn result_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, SqliteConnection};

    use super::*;

    #[tokio::test]
    async fn a_full_disk_at_commit_is_no_unknown_outcome() {
        let mut full = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let script =
            "PRAGMA max_page_count = 2; CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(9999))";
        let error = sqlx::raw_sql(script).execute(&mut full).await.unwrap_err();
        assert!(matches!(commit_failed(3)(error), StoreError::Full { .. }));
        let error = sqlx::Error::WorkerCrashed;
        assert!(matches!(commit_failed(3)(error), StoreError::UnknownOutcome { partition: 3, .. }));
    }
}
