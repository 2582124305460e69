//! Statements on a connection to SQLite.

use std::fmt::Write;
use std::sync::LazyLock;

use roaming_analytics::LaneRow;
use roaming_events::{RowKey, RunId, SimTime, Totals};
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::errors::failed;
use crate::StoreError;
use crate::sql::{
    KEY_COLUMNS, LATENCY_COLUMNS, Parameter, SUM_COLUMNS, Session, count, run_number, sums,
};

/// Aggregate rows are written by statements of these many, the largest first, so that SQLite prepares
/// three statements and no more. Several rows to a statement, because each costs a way to the
/// connection's thread and back; as parameters, because one JSON text would have to be parsed.
const ROWS_PER_STATEMENT: [usize; 3] = [512, 32, 1];

static UPSERT_ROWS: LazyLock<[String; ROWS_PER_STATEMENT.len()]> =
    LazyLock::new(|| ROWS_PER_STATEMENT.map(upsert_rows));

impl Session for SqliteConnection {
    type Row = SqliteRow;

    async fn rows(
        &mut self,
        operation: &'static str,
        sql: &'static str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let mut query = sqlx::query(sql);
        for parameter in parameters {
            query = match parameter {
                Parameter::Integer(value) => query.bind(*value),
                Parameter::Text(value) => query.bind(*value),
                Parameter::Unknown => query.bind(None::<i64>),
            };
        }
        query.fetch_all(self).await.map_err(failed(operation))
    }

    async fn write_lanes(&mut self, partition: u16, lanes: &[LaneRow]) -> Result<(), StoreError> {
        let values: Vec<_> = lanes
            .iter()
            .map(|lane| {
                json!([
                    run_number(lane.run),
                    lane.lane,
                    lane.next,
                    lane.gaps,
                    count(lane.tally.events),
                    lane.tally.digest.bits().cast_signed(),
                    count(lane.duplicates),
                    count(lane.rejected),
                    count(lane.emission_time.unix_ms()),
                    lane.end,
                    i64::from(lane.failed),
                ])
            })
            .collect();
        // `WHERE true` tells SQLite's parser that ON CONFLICT is no join constraint.
        sqlx::query(
            "INSERT INTO lanes (run, partition, lane, next_sequence, gaps, events, digest, duplicates,
                rejected, emission_time_ms, end_sequence, failed)
             SELECT value ->> 0, $1, value ->> 1, value ->> 2, value -> 3, value ->> 4, value ->> 5,
                value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10
             FROM json_each($2) WHERE true
             ON CONFLICT (run, partition, lane) DO UPDATE SET
                next_sequence = excluded.next_sequence, gaps = excluded.gaps, events = excluded.events,
                digest = excluded.digest, duplicates = excluded.duplicates,
                rejected = excluded.rejected, emission_time_ms = excluded.emission_time_ms,
                end_sequence = excluded.end_sequence, failed = excluded.failed",
        )
        .bind(partition)
        .bind(json!(values).to_string())
        .execute(self)
        .await
        .map_err(failed("write lanes"))?;
        Ok(())
    }

    async fn write_watermarks(
        &mut self,
        partition: u16,
        watermarks: &[(RunId, SimTime)],
    ) -> Result<(), StoreError> {
        let values: Vec<_> = watermarks
            .iter()
            .map(|(run, watermark)| json!([run_number(*run), count(watermark.unix_ms())]))
            .collect();
        sqlx::query(
            "INSERT INTO watermarks (run, partition, watermark_ms)
             SELECT value ->> 0, $1, value ->> 1 FROM json_each($2) WHERE true
             ON CONFLICT (run, partition) DO UPDATE SET watermark_ms = excluded.watermark_ms",
        )
        .bind(partition)
        .bind(json!(values).to_string())
        .execute(self)
        .await
        .map_err(failed("write watermarks"))?;
        Ok(())
    }

    async fn replace_rows(
        &mut self,
        partition: u16,
        mut rows: &[(RunId, RowKey, Totals)],
    ) -> Result<(), StoreError> {
        for (size, statement) in ROWS_PER_STATEMENT.into_iter().zip(UPSERT_ROWS.iter()) {
            while let Some((chunk, rest)) = rows.split_at_checked(size) {
                let mut query = sqlx::query(AssertSqlSafe(statement.as_str()));
                for (run, key, totals) in chunk {
                    query = query
                        .bind(run_number(*run))
                        .bind(partition)
                        .bind(count(key.window_start.unix_ms()))
                        .bind(key.home_plmn.to_string())
                        .bind(key.visited_plmn.to_string())
                        .bind(key.rat.as_str())
                        .bind(key.procedure.as_str())
                        .bind(key.outcome.as_str());
                    for sum in sums(totals) {
                        query = query.bind(sum);
                    }
                }
                query.execute(&mut *self).await.map_err(failed("write aggregate rows"))?;
                rows = rest;
            }
        }
        Ok(())
    }

    async fn find_rows(
        &mut self,
        partition: u16,
        keys: &[(RunId, RowKey)],
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let wanted: Vec<_> = keys
            .iter()
            .map(|(run, key)| {
                json!([
                    run_number(*run),
                    count(key.window_start.unix_ms()),
                    key.home_plmn,
                    key.visited_plmn,
                    key.rat,
                    key.procedure,
                    key.outcome,
                ])
            })
            .collect();
        sqlx::query(
            "SELECT wanted.key AS wanted_index, aggregates.*
             FROM json_each($1) AS wanted CROSS JOIN aggregates
             WHERE run = wanted.value ->> 0 AND partition = $2
                AND window_start_ms = wanted.value ->> 1 AND home_plmn = wanted.value ->> 2
                AND visited_plmn = wanted.value ->> 3 AND rat = wanted.value ->> 4
                AND procedure = wanted.value ->> 5 AND outcome = wanted.value ->> 6",
        )
        .bind(json!(wanted).to_string())
        .bind(partition)
        .fetch_all(self)
        .await
        .map_err(failed("reload aggregate rows"))
    }
}

/// Returns the statement that writes `rows` aggregate rows.
fn upsert_rows(rows: usize) -> String {
    let keys = ["run", "partition"].into_iter().chain(KEY_COLUMNS).collect::<Vec<_>>();
    let sums = SUM_COLUMNS.into_iter().chain(LATENCY_COLUMNS).collect::<Vec<_>>();
    let marks = vec!["?"; keys.len() + sums.len()].join(",");
    let values = vec![format!("({marks})"); rows].join(",");
    let mut statement = format!(
        "INSERT INTO aggregates ({},{}) VALUES {values} ON CONFLICT ({}) DO UPDATE SET ",
        keys.join(","),
        sums.join(","),
        keys.join(","),
    );
    for (index, column) in sums.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(statement, "{comma}{column}=excluded.{column}").expect("a String takes every text");
    }
    statement
}
