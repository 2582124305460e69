//! What reads the store.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use roaming_analytics::{LaneRow, Snapshot};
use roaming_events::{RowKey, RunId, SimDuration, SimTime, Totals};
use serde_json::json;
use sqlx::{AssertSqlSafe, Sqlite, SqlitePool, Transaction};

use super::codec::{
    Columns, KEY_COLUMNS, LATENCY_COLUMNS, SUM_COLUMNS, count, failed, run, run_number,
};
use crate::{Found, Progress, RunRow, StoreError, StoredRow, SummaryKey};

pub(super) async fn window(readers: &SqlitePool) -> Result<Option<SimDuration>, StoreError> {
    let value: Option<String> =
        sqlx::query_scalar("SELECT value FROM bindings WHERE name = 'window_ms'")
            .fetch_optional(readers)
            .await
            .map_err(failed("read the window length"))?;
    value
        .map(|value| super::codec::number("bindings", "value", &value).map(SimDuration::from_ms))
        .transpose()
}

pub(super) async fn runs(readers: &SqlitePool) -> Result<Vec<RunRow>, StoreError> {
    let rows = sqlx::query("SELECT * FROM runs ORDER BY load_order")
        .fetch_all(readers)
        .await
        .map_err(failed("read the runs"))?;
    rows.iter()
        .map(|row| {
            let columns = Columns { table: "runs", row };
            Ok(RunRow {
                run: run(columns.integer("run")?),
                name: columns.text("name")?.to_owned(),
                lanes: columns.small("lanes")?,
                partitions: columns.small("partitions")?,
                start: columns.time("start_ms")?,
                end: columns.time("end_ms")?,
                state: columns.text("state")?.to_owned(),
                specification_json: columns.text("specification")?.to_owned(),
            })
        })
        .collect()
}

/// Reads what a partition's state machine needs to go on; `partition_row` is its row.
pub(super) async fn snapshot(
    transaction: &mut Transaction<'_, Sqlite>,
    partition: u16,
    partition_row: &Columns<'_>,
) -> Result<Snapshot, StoreError> {
    let failed = failed("reload a partition");
    let rows = sqlx::query("SELECT * FROM lanes WHERE partition = ?1 ORDER BY run, lane")
        .bind(partition)
        .fetch_all(&mut **transaction)
        .await
        .map_err(&failed)?;
    let lanes: Vec<LaneRow> = rows
        .iter()
        .map(|row| Columns { table: "lanes", row }.lane_row())
        .collect::<Result<_, _>>()?;
    // One seek in the primary key for each run, where grouping would read every row.
    let rows = sqlx::query(
        "SELECT run, (SELECT max(window_start_ms) FROM aggregates
            WHERE aggregates.run = seen.run AND aggregates.partition = ?1) AS window_start_ms
         FROM (SELECT DISTINCT run FROM lanes WHERE partition = ?1) AS seen",
    )
    .bind(partition)
    .fetch_all(&mut **transaction)
    .await
    .map_err(&failed)?;
    let mut newest_windows = Vec::with_capacity(rows.len());
    for row in &rows {
        let columns = Columns { table: "aggregates", row };
        if let Some(newest) = columns.optional("window_start_ms")? {
            newest_windows.push((run(columns.integer("run")?), SimTime::from_unix_ms(newest)));
        }
    }
    Ok(Snapshot {
        next_offset: partition_row.optional("next_offset")?,
        lanes,
        newest_windows,
        unattributed_rejects: partition_row.count("unattributed_rejects")?,
    })
}

pub(super) async fn load_rows(
    readers: &SqlitePool,
    partition: u16,
    keys: &[(RunId, RowKey)],
) -> Result<Vec<StoredRow>, StoreError> {
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
    let rows = sqlx::query(
        "SELECT wanted.key AS wanted_index, aggregates.*
         FROM json_each(?1) AS wanted CROSS JOIN aggregates
         WHERE run = wanted.value ->> 0 AND partition = ?2
            AND window_start_ms = wanted.value ->> 1 AND home_plmn = wanted.value ->> 2
            AND visited_plmn = wanted.value ->> 3 AND rat = wanted.value ->> 4
            AND procedure = wanted.value ->> 5 AND outcome = wanted.value ->> 6",
    )
    .bind(json!(wanted).to_string())
    .bind(partition)
    .fetch_all(readers)
    .await
    .map_err(failed("reload aggregate rows"))?;
    let mut stored: Vec<StoredRow> = keys.iter().map(|(run, key)| (*run, *key, None)).collect();
    for row in &rows {
        let columns = Columns { table: "aggregates", row };
        let index = columns.count("wanted_index")? as usize;
        stored[index].2 = Some(columns.totals()?);
    }
    Ok(stored)
}

pub(super) async fn found(readers: &SqlitePool, run: RunId) -> Result<Found, StoreError> {
    static ROWS: LazyLock<String> = LazyLock::new(|| sums_by(&KEY_COLUMNS));
    let failed = failed("read a run");
    // One transaction, so that lanes and rows are of the same moment.
    let mut transaction = readers.begin().await.map_err(&failed)?;
    let lanes = lanes(&mut transaction, run).await?;
    let rows = sqlx::query(AssertSqlSafe(ROWS.as_str()))
        .bind(run_number(run))
        .fetch_all(&mut *transaction)
        .await
        .map_err(&failed)?;
    let unattributed: i64 =
        sqlx::query_scalar("SELECT coalesce(sum(unattributed_rejects), 0) FROM partitions")
            .fetch_one(&mut *transaction)
            .await
            .map_err(&failed)?;
    transaction.commit().await.map_err(&failed)?;
    let rows = rows
        .iter()
        .map(|row| {
            let columns = Columns { table: "aggregates", row };
            Ok((columns.row_key()?, columns.totals()?))
        })
        .collect::<Result<_, StoreError>>()?;
    Ok(Found { lanes, rows, unattributed_rejects: unattributed.max(0).cast_unsigned() })
}

async fn lanes(
    transaction: &mut Transaction<'_, Sqlite>,
    run: RunId,
) -> Result<Vec<LaneRow>, StoreError> {
    let rows = sqlx::query("SELECT * FROM lanes WHERE run = ?1 ORDER BY lane, partition")
        .bind(run_number(run))
        .fetch_all(&mut **transaction)
        .await
        .map_err(failed("read lanes"))?;
    rows.iter().map(|row| Columns { table: "lanes", row }.lane_row()).collect()
}

pub(super) async fn progress(readers: &SqlitePool, run: RunId) -> Result<Progress, StoreError> {
    let failed = failed("read a run's progress");
    let mut transaction = readers.begin().await.map_err(&failed)?;
    let lanes = lanes(&mut transaction, run).await?;
    let row =
        sqlx::query("SELECT min(watermark_ms) AS watermark_ms FROM watermarks WHERE run = ?1")
            .bind(run_number(run))
            .fetch_one(&mut *transaction)
            .await
            .map_err(&failed)?;
    transaction.commit().await.map_err(&failed)?;
    let watermark = Columns { table: "watermarks", row: &row }.optional("watermark_ms")?;
    Ok(Progress { lanes, watermark: watermark.map(SimTime::from_unix_ms) })
}

pub(super) async fn summary(
    readers: &SqlitePool,
    run: RunId,
) -> Result<BTreeMap<SummaryKey, Totals>, StoreError> {
    static LINES: LazyLock<String> =
        LazyLock::new(|| sums_by(&["visited_plmn", "procedure", "outcome"]));
    let rows = sqlx::query(AssertSqlSafe(LINES.as_str()))
        .bind(run_number(run))
        .fetch_all(readers)
        .await
        .map_err(failed("sum up a run"))?;
    rows.iter()
        .map(|row| {
            let columns = Columns { table: "aggregates", row };
            let key = SummaryKey {
                visited_plmn: columns.parsed("visited_plmn")?,
                procedure: columns.parsed("procedure")?,
                outcome: columns.parsed("outcome")?,
            };
            Ok((key, columns.totals()?))
        })
        .collect()
}

/// Returns the query for a run's sums over all rows that have the same `keys`.
fn sums_by(keys: &[&str]) -> String {
    let keys = keys.join(",");
    let sums: Vec<_> = SUM_COLUMNS
        .into_iter()
        .chain(LATENCY_COLUMNS)
        .map(|column| format!("sum({column}) AS {column}"))
        .collect();
    format!("SELECT {keys},{} FROM aggregates WHERE run = ?1 GROUP BY {keys}", sums.join(","))
}
