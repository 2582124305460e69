//! What the two databases have in common: the statements, and the values in their columns.
//!
//! Every integer column has 64 bits and a sign in both, and both number their parameters `$1`, `$2`, …;
//! so most statements are one text. Where the databases part is [`Session`]: how a statement is run, and
//! how many rows are written or found by one.

mod columns;
mod jobs;
mod read;
mod write;

use roaming_analytics::LaneRow;
use roaming_events::{RowKey, RunId, SimTime, Totals};

use crate::StoreError;

pub(crate) use columns::{
    Cells, Columns, KEY_COLUMNS, LATENCY_COLUMNS, SUM_COLUMNS, SUMS, count, run, run_number, sums,
};
pub(crate) use jobs::{job_runs, jobs, put_job};
pub(crate) use read::{found, load_rows, networks, progress, runs, summary, window};
pub(crate) use write::{acquire, bind_log, bind_window, put_run, write_checkpoint};

/// A connection to one of the databases, in a transaction or not.
pub(crate) trait Session: Send {
    /// A row of a result.
    type Row: Cells;

    /// Runs a statement and returns its rows; `operation` says in an error what was tried.
    fn rows(
        &mut self,
        operation: &'static str,
        sql: &'static str,
        parameters: &[Parameter<'_>],
    ) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;

    /// Writes lanes of a partition, as they stand here.
    fn write_lanes(
        &mut self,
        partition: u16,
        lanes: &[LaneRow],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes the watermarks of runs in a partition.
    fn write_watermarks(
        &mut self,
        partition: u16,
        watermarks: &[(RunId, SimTime)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes aggregate rows of a partition that the store does not have yet.
    ///
    /// A database that has a faster way for them refuses one that it has.
    fn insert_rows(
        &mut self,
        partition: u16,
        rows: &[(RunId, RowKey, Totals)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.replace_rows(partition, rows)
    }

    /// Writes aggregate rows of a partition, as they stand here.
    fn replace_rows(
        &mut self,
        partition: u16,
        rows: &[(RunId, RowKey, Totals)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the aggregate rows of these keys that there are, each with its place among the keys as
    /// `wanted_index`.
    fn find_rows(
        &mut self,
        partition: u16,
        keys: &[(RunId, RowKey)],
    ) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;
}

/// The value of a parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parameter<'a> {
    /// An integer column's.
    Integer(i64),
    /// A text column's.
    Text(&'a str),
    /// An integer column's that holds nothing.
    Unknown,
}

impl From<i64> for Parameter<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<Option<i64>> for Parameter<'_> {
    fn from(value: Option<i64>) -> Self {
        value.map_or(Self::Unknown, Self::Integer)
    }
}

impl From<u16> for Parameter<'_> {
    fn from(value: u16) -> Self {
        Self::Integer(value.into())
    }
}

impl<'a> From<&'a str> for Parameter<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}
