//! Statements on a connection to PostgreSQL.

use std::sync::LazyLock;

use roaming_analytics::LaneRow;
use roaming_events::{RowKey, RunId, SimTime, Totals};
use serde_json::json;
use sqlx::postgres::{PgConnection, PgRow};

use super::copy;
use super::errors::failed;
use crate::StoreError;
use crate::sql::{
    KEY_COLUMNS, LATENCY_COLUMNS, Parameter, SUM_COLUMNS, SUMS, Session, count, run_number, sums,
};

/// The most aggregate rows of one statement, which bounds the octets of a message (about 2 MiB here).
const ROWS_PER_STATEMENT: usize = 8192;

static UPSERT_ROWS: LazyLock<String> = LazyLock::new(upsert_rows);
static COPY_ROWS: LazyLock<String> = LazyLock::new(copy_rows);

impl Session for PgConnection {
    type Row = PgRow;

    async fn rows(
        &mut self,
        operation: &'static str,
        sql: &'static str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<PgRow>, StoreError> {
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
        let column = |value: fn(&LaneRow) -> i64| lanes.iter().map(value).collect::<Vec<_>>();
        let ends: Vec<_> = lanes.iter().map(|lane| lane.end.map(|end| count(end.get()))).collect();
        let gaps: Vec<_> = lanes.iter().map(|lane| json!(lane.gaps).to_string()).collect();
        let failures: Vec<_> = lanes.iter().map(|lane| lane.failed).collect();
        sqlx::query(
            "INSERT INTO lanes (partition, run, lane, next_sequence, events, digest, duplicates,
                rejected, emission_time_ms, end_sequence, gaps, failed)
             SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
                $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[],
                $12::boolean[])
             ON CONFLICT (run, partition, lane) DO UPDATE SET
                next_sequence = excluded.next_sequence, gaps = excluded.gaps, events = excluded.events,
                digest = excluded.digest, duplicates = excluded.duplicates,
                rejected = excluded.rejected, emission_time_ms = excluded.emission_time_ms,
                end_sequence = excluded.end_sequence, failed = excluded.failed",
        )
        .bind(i64::from(partition))
        .bind(column(|lane| run_number(lane.run)))
        .bind(column(|lane| lane.lane.get().into()))
        .bind(column(|lane| count(lane.next.get())))
        .bind(column(|lane| count(lane.tally.events)))
        .bind(column(|lane| lane.tally.digest.bits().cast_signed()))
        .bind(column(|lane| count(lane.duplicates)))
        .bind(column(|lane| count(lane.rejected)))
        .bind(column(|lane| count(lane.emission_time.unix_ms())))
        .bind(ends)
        .bind(gaps)
        .bind(failures)
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
        let runs: Vec<_> = watermarks.iter().map(|(run, _)| run_number(*run)).collect();
        let times: Vec<_> = watermarks.iter().map(|(_, time)| count(time.unix_ms())).collect();
        sqlx::query(
            "INSERT INTO watermarks (partition, run, watermark_ms)
             SELECT $1, * FROM unnest($2::bigint[], $3::bigint[])
             ON CONFLICT (run, partition) DO UPDATE SET watermark_ms = excluded.watermark_ms",
        )
        .bind(i64::from(partition))
        .bind(runs)
        .bind(times)
        .execute(self)
        .await
        .map_err(failed("write watermarks"))?;
        Ok(())
    }

    /// Copies them: an array for each column costs the server several times as much, and looking for a
    /// row to replace as much again.
    async fn insert_rows(
        &mut self,
        partition: u16,
        rows: &[(RunId, RowKey, Totals)],
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let failed = failed("write new aggregate rows");
        let mut copy = self.copy_in_raw(COPY_ROWS.as_str()).await.map_err(&failed)?;
        for chunk in copy::encode(partition, rows) {
            copy.send(chunk).await.map_err(&failed)?;
        }
        copy.finish().await.map_err(&failed)?;
        Ok(())
    }

    async fn replace_rows(
        &mut self,
        partition: u16,
        rows: &[(RunId, RowKey, Totals)],
    ) -> Result<(), StoreError> {
        for chunk in rows.chunks(ROWS_PER_STATEMENT) {
            let keys = Keys::of(chunk.iter().map(|(run, key, _)| (*run, *key)));
            let mut columns = [const { Vec::new() }; SUMS];
            for (_, _, totals) in chunk {
                for (column, sum) in columns.iter_mut().zip(sums(totals)) {
                    column.push(sum);
                }
            }
            let mut query = keys.bind(sqlx::query(UPSERT_ROWS.as_str()).bind(i64::from(partition)));
            for column in columns {
                query = query.bind(column);
            }
            query.execute(&mut *self).await.map_err(failed("write aggregate rows"))?;
        }
        Ok(())
    }

    async fn find_rows(
        &mut self,
        partition: u16,
        keys: &[(RunId, RowKey)],
    ) -> Result<Vec<PgRow>, StoreError> {
        let query = sqlx::query(
            "SELECT wanted.place - 1 AS wanted_index, aggregates.*
             FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
                $8::text[]) WITH ORDINALITY
                AS wanted (run, window_start_ms, home_plmn, visited_plmn, rat, procedure, outcome, place)
             JOIN aggregates
                USING (run, window_start_ms, home_plmn, visited_plmn, rat, procedure, outcome)
             WHERE partition = $1",
        );
        Keys::of(keys.iter().copied())
            .bind(query.bind(i64::from(partition)))
            .fetch_all(self)
            .await
            .map_err(failed("reload aggregate rows"))
    }
}

type Query = sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Keys of aggregate rows by column, as parameters after the partition.
#[derive(Default)]
struct Keys {
    runs: Vec<i64>,
    windows: Vec<i64>,
    homes: Vec<String>,
    visited: Vec<String>,
    rats: Vec<&'static str>,
    procedures: Vec<&'static str>,
    outcomes: Vec<&'static str>,
}

impl Keys {
    fn of(keys: impl Iterator<Item = (RunId, RowKey)>) -> Self {
        let mut columns = Self::default();
        for (run, key) in keys {
            columns.runs.push(run_number(run));
            columns.windows.push(count(key.window_start.unix_ms()));
            columns.homes.push(key.home_plmn.to_string());
            columns.visited.push(key.visited_plmn.to_string());
            columns.rats.push(key.rat.as_str());
            columns.procedures.push(key.procedure.as_str());
            columns.outcomes.push(key.outcome.as_str());
        }
        columns
    }

    fn bind(self, query: Query) -> Query {
        query
            .bind(self.runs)
            .bind(self.windows)
            .bind(self.homes)
            .bind(self.visited)
            .bind(self.rats)
            .bind(self.procedures)
            .bind(self.outcomes)
    }
}

/// Returns the statement that takes new aggregate rows in the columns' order of [`copy::encode`].
fn copy_rows() -> String {
    let columns: Vec<_> = ["partition", "run"]
        .into_iter()
        .chain(KEY_COLUMNS)
        .chain(SUM_COLUMNS)
        .chain(LATENCY_COLUMNS)
        .collect();
    format!("COPY aggregates ({}) FROM STDIN (FORMAT binary)", columns.join(","))
}

/// Returns the statement that writes aggregate rows: the partition, then an array for each other column.
fn upsert_rows() -> String {
    let sums: Vec<_> = SUM_COLUMNS.into_iter().chain(LATENCY_COLUMNS).collect();
    let keys = KEY_COLUMNS.join(",");
    let types = ["bigint", "bigint", "text", "text", "text", "text", "text"]
        .into_iter()
        .chain(sums.iter().map(|_| "bigint"));
    let arrays: Vec<_> =
        types.zip(2..).map(|(kind, number)| format!("${number}::{kind}[]")).collect();
    let updates: Vec<_> = sums.iter().map(|column| format!("{column}=excluded.{column}")).collect();
    format!(
        "INSERT INTO aggregates (partition,run,{keys},{}) SELECT $1,* FROM unnest({})
         ON CONFLICT (run,partition,{keys}) DO UPDATE SET {}",
        sums.join(","),
        arrays.join(","),
        updates.join(","),
    )
}
