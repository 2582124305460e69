//! Values as SQLite holds them, and its errors as ours.
//!
//! SQLite's integers are signed and of 64 bits. A digest keeps its bits and may look negative; counts
//! never reach 2^63, so a negative one is damage.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use roaming_analytics::LaneRow;
use roaming_events::{
    LATENCY_BOUNDS_US, LaneDigest, LaneId, LaneTally, RowKey, RunId, Sequence, SimTime, Totals,
};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

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
        Some(NOTADB) => StoreError::NotAStore { path },
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

/// Returns a run id as stored.
pub(super) fn run_number(run: RunId) -> i64 {
    run.get().cast_signed()
}

/// Reads a run id back.
pub(super) fn run(number: i64) -> RunId {
    RunId::from_hash(number.cast_unsigned() << 2)
}

/// Returns a count as stored.
pub(super) fn count(count: u64) -> i64 {
    i64::try_from(count).expect("2^63 octets, microseconds or events are out of reach")
}

/// Reads a text that stands for a value.
pub(super) fn number<T: FromStr>(
    table: &'static str,
    column: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    text.parse().map_err(|_| damaged(table, column, text))
}

fn damaged(table: &'static str, column: &'static str, value: impl Display) -> StoreError {
    StoreError::Damaged { table, column, value: value.to_string() }
}

/// Reads columns of one row by name; a column that is no value of its kind is damage.
pub(super) struct Columns<'a> {
    pub(super) table: &'static str,
    pub(super) row: &'a SqliteRow,
}

impl Columns<'_> {
    pub(super) fn integer(&self, column: &'static str) -> Result<i64, StoreError> {
        self.row.try_get(column).map_err(|error| damaged(self.table, column, error))
    }

    pub(super) fn optional(&self, column: &'static str) -> Result<Option<u64>, StoreError> {
        let value: Option<i64> =
            self.row.try_get(column).map_err(|error| damaged(self.table, column, error))?;
        value.map(|value| self.unsigned(column, value)).transpose()
    }

    pub(super) fn count(&self, column: &'static str) -> Result<u64, StoreError> {
        self.unsigned(column, self.integer(column)?)
    }

    fn unsigned(&self, column: &'static str, value: i64) -> Result<u64, StoreError> {
        u64::try_from(value).map_err(|_| damaged(self.table, column, value))
    }

    pub(super) fn small(&self, column: &'static str) -> Result<u16, StoreError> {
        let value = self.integer(column)?;
        u16::try_from(value).map_err(|_| damaged(self.table, column, value))
    }

    pub(super) fn time(&self, column: &'static str) -> Result<SimTime, StoreError> {
        self.count(column).map(SimTime::from_unix_ms)
    }

    pub(super) fn text(&self, column: &'static str) -> Result<&str, StoreError> {
        self.row.try_get(column).map_err(|error| damaged(self.table, column, error))
    }

    pub(super) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        number(self.table, column, self.text(column)?)
    }

    fn sequence(&self, column: &'static str, value: u64) -> Result<Sequence, StoreError> {
        Sequence::try_new(value).ok_or_else(|| damaged(self.table, column, value))
    }

    pub(super) fn lane_row(&self) -> Result<LaneRow, StoreError> {
        let lane = self.small("lane")?;
        let gaps: Vec<(u64, u64)> = serde_json::from_str(self.text("gaps")?)
            .map_err(|error| damaged(self.table, "gaps", error))?;
        let gaps = gaps
            .into_iter()
            .map(|(first, next)| Ok((self.sequence("gaps", first)?, self.sequence("gaps", next)?)))
            .collect::<Result<_, StoreError>>()?;
        let end = self.optional("end_sequence")?;
        Ok(LaneRow {
            run: run(self.integer("run")?),
            lane: LaneId::try_new(lane).ok_or_else(|| damaged(self.table, "lane", lane))?,
            next: self.sequence("next_sequence", self.count("next_sequence")?)?,
            gaps,
            tally: LaneTally {
                events: self.count("events")?,
                digest: LaneDigest::from_bits(self.integer("digest")?.cast_unsigned()),
            },
            duplicates: self.count("duplicates")?,
            rejected: self.count("rejected")?,
            emission_time: self.time("emission_time_ms")?,
            end: end.map(|end| self.sequence("end_sequence", end)).transpose()?,
            failed: self.integer("failed")? != 0,
        })
    }

    pub(super) fn row_key(&self) -> Result<RowKey, StoreError> {
        Ok(RowKey {
            window_start: self.time("window_start_ms")?,
            home_plmn: self.parsed("home_plmn")?,
            visited_plmn: self.parsed("visited_plmn")?,
            rat: self.parsed("rat")?,
            procedure: self.parsed("procedure")?,
            outcome: self.parsed("outcome")?,
        })
    }

    pub(super) fn totals(&self) -> Result<Totals, StoreError> {
        let mut latency_buckets = [0; LATENCY_BOUNDS_US.len() + 1];
        for (bucket, column) in latency_buckets.iter_mut().zip(LATENCY_COLUMNS) {
            *bucket = self.count(column)?;
        }
        Ok(Totals {
            events: self.count("events")?,
            latency_us: self.count("latency_us")?,
            latency_buckets,
            duration_s: self.count("duration_s")?,
            octets_uplink: self.count("octets_uplink")?,
            octets_downlink: self.count("octets_downlink")?,
            charge_millionths: self.integer("charge_millionths")?,
        })
    }
}

/// Columns of an aggregate row that name it, after run and partition.
pub(super) const KEY_COLUMNS: [&str; 6] =
    ["window_start_ms", "home_plmn", "visited_plmn", "rat", "procedure", "outcome"];

/// Columns of an aggregate row that add up, before the latency buckets.
pub(super) const SUM_COLUMNS: [&str; 6] =
    ["events", "latency_us", "duration_s", "octets_uplink", "octets_downlink", "charge_millionths"];

/// Columns of the latency buckets, in the order of [`LATENCY_BOUNDS_US`].
pub(super) const LATENCY_COLUMNS: [&str; LATENCY_BOUNDS_US.len() + 1] = [
    "latency_le_10ms",
    "latency_le_20ms",
    "latency_le_40ms",
    "latency_le_60ms",
    "latency_le_80ms",
    "latency_le_100ms",
    "latency_le_120ms",
    "latency_le_150ms",
    "latency_le_200ms",
    "latency_le_280ms",
    "latency_le_400ms",
    "latency_le_700ms",
    "latency_le_1000ms",
    "latency_le_2000ms",
    "latency_le_5000ms",
    "latency_above",
];

#[cfg(test)]
mod tests {
    use sqlx::{Connection, SqliteConnection};

    use super::*;

    #[test]
    fn latency_columns_are_named_after_their_bounds() {
        for (bound, column) in LATENCY_BOUNDS_US.into_iter().zip(LATENCY_COLUMNS) {
            assert_eq!(column, format!("latency_le_{}ms", bound / 1000));
        }
    }

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

    #[test]
    fn run_ids_survive() {
        for hash in [0, 1 << 2, u64::MAX, 0x0123_4567_89ab_cdef] {
            let id = RunId::from_hash(hash);
            assert_eq!(run(run_number(id)), id);
        }
    }
}
