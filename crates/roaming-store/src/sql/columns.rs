//! Values as the columns hold them.
//!
//! Integers are signed and of 64 bits. A digest keeps its bits and may look negative; counts never reach
//! 2^63, so a negative one is damage.

use std::fmt::Display;
use std::str::FromStr;

use roaming_analytics::LaneRow;
use roaming_events::{
    LATENCY_BOUNDS_US, LaneDigest, LaneId, LaneTally, RowKey, RunId, Sequence, SimTime, Totals,
};
use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::StoreError;

/// A row whose columns can be read by name, of either database.
pub(crate) trait Cells: Send + Sync {
    fn integer(&self, column: &str) -> Result<Option<i64>, sqlx::Error>;
    fn text(&self, column: &str) -> Result<&str, sqlx::Error>;
    fn flag(&self, column: &str) -> Result<bool, sqlx::Error>;
}

impl<R> Cells for R
where
    R: Row,
    for<'c> &'c str: ColumnIndex<R>,
    for<'r> Option<i64>: Decode<'r, R::Database>,
    for<'r> &'r str: Decode<'r, R::Database>,
    for<'r> bool: Decode<'r, R::Database>,
    Option<i64>: Type<R::Database>,
    for<'r> &'r str: Type<R::Database>,
    bool: Type<R::Database>,
{
    fn integer(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
        self.try_get(column)
    }

    fn text(&self, column: &str) -> Result<&str, sqlx::Error> {
        self.try_get(column)
    }

    fn flag(&self, column: &str) -> Result<bool, sqlx::Error> {
        self.try_get(column)
    }
}

/// Returns a run id as stored.
pub(crate) fn run_number(run: RunId) -> i64 {
    run.get().cast_signed()
}

/// Reads a run id back.
pub(crate) fn run(number: i64) -> RunId {
    RunId::from_hash(number.cast_unsigned() << 2)
}

/// Returns a count as stored.
pub(crate) fn count(count: u64) -> i64 {
    i64::try_from(count).expect("2^63 octets, microseconds or events are out of reach")
}

/// Reads a text that stands for a value.
pub(crate) fn number<T: FromStr>(
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
pub(crate) struct Columns<'a> {
    pub(crate) table: &'static str,
    pub(crate) row: &'a dyn Cells,
}

impl Columns<'_> {
    pub(crate) fn integer(&self, column: &'static str) -> Result<i64, StoreError> {
        let value = self.row.integer(column).map_err(|error| damaged(self.table, column, error))?;
        value.ok_or_else(|| damaged(self.table, column, "NULL"))
    }

    pub(crate) fn optional(&self, column: &'static str) -> Result<Option<u64>, StoreError> {
        let value = self.row.integer(column).map_err(|error| damaged(self.table, column, error))?;
        value.map(|value| self.unsigned(column, value)).transpose()
    }

    pub(crate) fn count(&self, column: &'static str) -> Result<u64, StoreError> {
        self.unsigned(column, self.integer(column)?)
    }

    fn unsigned(&self, column: &'static str, value: i64) -> Result<u64, StoreError> {
        u64::try_from(value).map_err(|_| damaged(self.table, column, value))
    }

    pub(crate) fn small(&self, column: &'static str) -> Result<u16, StoreError> {
        let value = self.integer(column)?;
        u16::try_from(value).map_err(|_| damaged(self.table, column, value))
    }

    pub(crate) fn time(&self, column: &'static str) -> Result<SimTime, StoreError> {
        self.count(column).map(SimTime::from_unix_ms)
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<&str, StoreError> {
        self.row.text(column).map_err(|error| damaged(self.table, column, error))
    }

    fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
        self.row.flag(column).map_err(|error| damaged(self.table, column, error))
    }

    pub(crate) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        number(self.table, column, self.text(column)?)
    }

    fn sequence(&self, column: &'static str, value: u64) -> Result<Sequence, StoreError> {
        Sequence::try_new(value).ok_or_else(|| damaged(self.table, column, value))
    }

    pub(crate) fn lane_row(&self) -> Result<LaneRow, StoreError> {
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
            failed: self.flag("failed")?,
        })
    }

    pub(crate) fn row_key(&self) -> Result<RowKey, StoreError> {
        Ok(RowKey {
            window_start: self.time("window_start_ms")?,
            home_plmn: self.parsed("home_plmn")?,
            visited_plmn: self.parsed("visited_plmn")?,
            rat: self.parsed("rat")?,
            procedure: self.parsed("procedure")?,
            outcome: self.parsed("outcome")?,
        })
    }

    pub(crate) fn totals(&self) -> Result<Totals, StoreError> {
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
pub(crate) const KEY_COLUMNS: [&str; 6] =
    ["window_start_ms", "home_plmn", "visited_plmn", "rat", "procedure", "outcome"];

/// Columns of an aggregate row that add up, before the latency buckets.
pub(crate) const SUM_COLUMNS: [&str; 6] =
    ["events", "latency_us", "duration_s", "octets_uplink", "octets_downlink", "charge_millionths"];

/// Columns of the latency buckets, in the order of [`LATENCY_BOUNDS_US`].
pub(crate) const LATENCY_COLUMNS: [&str; LATENCY_BOUNDS_US.len() + 1] = [
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

/// How many columns add up.
pub(crate) const SUMS: usize = SUM_COLUMNS.len() + LATENCY_COLUMNS.len();

/// Returns the values of the columns that add up, in the order of [`SUM_COLUMNS`] and [`LATENCY_COLUMNS`].
pub(crate) fn sums(totals: &Totals) -> [i64; SUMS] {
    let mut values = [0; SUMS];
    let (sums, buckets) = values.split_at_mut(SUM_COLUMNS.len());
    sums.copy_from_slice(&[
        count(totals.events),
        count(totals.latency_us),
        count(totals.duration_s),
        count(totals.octets_uplink),
        count(totals.octets_downlink),
        totals.charge_millionths,
    ]);
    for (value, bucket) in buckets.iter_mut().zip(totals.latency_buckets) {
        *value = count(bucket);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_columns_are_named_after_their_bounds() {
        for (bound, column) in LATENCY_BOUNDS_US.into_iter().zip(LATENCY_COLUMNS) {
            assert_eq!(column, format!("latency_le_{}ms", bound / 1000));
        }
    }

    #[test]
    fn run_ids_survive() {
        for hash in [0, 1 << 2, u64::MAX, 0x0123_4567_89ab_cdef] {
            let id = RunId::from_hash(hash);
            assert_eq!(run(run_number(id)), id);
        }
    }
}
