//! What changes the store.

use std::fmt::Write;
use std::sync::LazyLock;

use roaming_analytics::{Checkpoint, LaneRow};
use roaming_events::{RowKey, RunId, Totals};
use serde_json::json;
use sqlx::{AssertSqlSafe, Sqlite, SqlitePool, Transaction};

use super::codec::{
    Columns, KEY_COLUMNS, LATENCY_COLUMNS, SUM_COLUMNS, commit_failed, count, failed, run_number,
};
use super::read;
use crate::{Acquired, Epoch, RunRow, StoreError};

/// A transaction that may write takes the lock at once: upgrading a read lock could fail at any later
/// statement.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// Aggregate rows are written by statements of these many, the largest first, so that SQLite prepares
/// three statements and no more. Several rows to a statement, because each costs a way to the
/// connection's thread and back; as parameters, because one JSON text would have to be parsed.
const ROWS_PER_STATEMENT: [usize; 3] = [512, 32, 1];

static UPSERT_ROWS: LazyLock<[String; ROWS_PER_STATEMENT.len()]> =
    LazyLock::new(|| ROWS_PER_STATEMENT.map(upsert_rows));

/// Gives `name` the value `value` unless it has one, and returns the one that it has.
pub(super) async fn bind(
    writer: &SqlitePool,
    name: &str,
    value: &str,
) -> Result<String, StoreError> {
    sqlx::query_scalar(
        "INSERT INTO bindings (name, value) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET value = value RETURNING value",
    )
    .bind(name)
    .bind(value)
    .fetch_one(writer)
    .await
    .map_err(failed("tie itself to the log or window length"))
}

pub(super) async fn put_run(writer: &SqlitePool, run: &RunRow) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO runs
            (run, load_order, name, lanes, partitions, start_ms, end_ms, state, specification)
         VALUES (?1, (SELECT coalesce(max(load_order), 0) + 1 FROM runs), ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (run) DO UPDATE SET state = excluded.state",
    )
    .bind(run_number(run.run))
    .bind(&run.name)
    .bind(run.lanes)
    .bind(run.partitions)
    .bind(count(run.start.unix_ms()))
    .bind(count(run.end.unix_ms()))
    .bind(&run.state)
    .bind(&run.specification_json)
    .execute(writer)
    .await
    .map_err(failed("write a run"))?;
    Ok(())
}

pub(super) async fn acquire(
    writer: &SqlitePool,
    partition: u16,
    owner: &str,
) -> Result<Acquired, StoreError> {
    let failed = failed("acquire a partition");
    let mut transaction = writer.begin_with(BEGIN).await.map_err(&failed)?;
    let row = sqlx::query(
        "INSERT INTO partitions (partition, epoch, owner) VALUES (?1, 1, ?2)
         ON CONFLICT (partition) DO UPDATE SET epoch = epoch + 1, owner = excluded.owner
         RETURNING epoch, next_offset, unattributed_rejects",
    )
    .bind(partition)
    .bind(owner)
    .fetch_one(&mut *transaction)
    .await
    .map_err(&failed)?;
    let columns = Columns { table: "partitions", row: &row };
    let epoch = Epoch::from_number(columns.integer("epoch")?);
    let snapshot = read::snapshot(&mut transaction, partition, &columns).await?;
    transaction.commit().await.map_err(&failed)?;
    Ok(Acquired { epoch, snapshot })
}

pub(super) async fn commit(
    writer: &SqlitePool,
    epoch: Epoch,
    checkpoint: &Checkpoint,
) -> Result<(), StoreError> {
    let failed = failed("write a checkpoint");
    let partition = checkpoint.partition;
    let mut transaction = writer.begin_with(BEGIN).await.map_err(&failed)?;
    let owned = sqlx::query(
        "UPDATE partitions SET next_offset = ?3, unattributed_rejects = ?4
         WHERE partition = ?1 AND epoch = ?2",
    )
    .bind(partition)
    .bind(epoch.number())
    .bind(count(checkpoint.next_offset))
    .bind(count(checkpoint.unattributed_rejects))
    .execute(&mut *transaction)
    .await
    .map_err(&failed)?;
    if owned.rows_affected() == 0 {
        return Err(StoreError::Fenced { partition, epoch: epoch.number() });
    }
    write_lanes(&mut transaction, partition, &checkpoint.lanes).await.map_err(&failed)?;
    write_watermarks(&mut transaction, checkpoint).await.map_err(&failed)?;
    write_rows(&mut transaction, partition, &checkpoint.rows).await.map_err(&failed)?;
    transaction.commit().await.map_err(commit_failed(partition))
}

async fn write_lanes(
    transaction: &mut Transaction<'_, Sqlite>,
    partition: u16,
    lanes: &[LaneRow],
) -> Result<(), sqlx::Error> {
    if lanes.is_empty() {
        return Ok(());
    }
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
         SELECT value ->> 0, ?1, value ->> 1, value ->> 2, value -> 3, value ->> 4, value ->> 5,
            value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10
         FROM json_each(?2) WHERE true
         ON CONFLICT (run, partition, lane) DO UPDATE SET
            next_sequence = excluded.next_sequence, gaps = excluded.gaps, events = excluded.events,
            digest = excluded.digest, duplicates = excluded.duplicates,
            rejected = excluded.rejected, emission_time_ms = excluded.emission_time_ms,
            end_sequence = excluded.end_sequence, failed = excluded.failed",
    )
    .bind(partition)
    .bind(json!(values).to_string())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_watermarks(
    transaction: &mut Transaction<'_, Sqlite>,
    checkpoint: &Checkpoint,
) -> Result<(), sqlx::Error> {
    if checkpoint.runs.is_empty() {
        return Ok(());
    }
    let values: Vec<_> = checkpoint
        .runs
        .iter()
        .map(|(run, watermark)| json!([run_number(*run), count(watermark.unix_ms())]))
        .collect();
    sqlx::query(
        "INSERT INTO watermarks (run, partition, watermark_ms)
         SELECT value ->> 0, ?1, value ->> 1 FROM json_each(?2) WHERE true
         ON CONFLICT (run, partition) DO UPDATE SET watermark_ms = excluded.watermark_ms",
    )
    .bind(checkpoint.partition)
    .bind(json!(values).to_string())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn write_rows(
    transaction: &mut Transaction<'_, Sqlite>,
    partition: u16,
    mut rows: &[(RunId, RowKey, Totals)],
) -> Result<(), sqlx::Error> {
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
                    .bind(key.outcome.as_str())
                    .bind(count(totals.events))
                    .bind(count(totals.latency_us))
                    .bind(count(totals.duration_s))
                    .bind(count(totals.octets_uplink))
                    .bind(count(totals.octets_downlink))
                    .bind(totals.charge_millionths);
                for bucket in totals.latency_buckets {
                    query = query.bind(count(bucket));
                }
            }
            query.execute(&mut **transaction).await?;
            rows = rest;
        }
    }
    Ok(())
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
