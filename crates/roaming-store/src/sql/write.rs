//! What changes a store. Each function runs in a transaction of its caller.

use roaming_analytics::Checkpoint;
use roaming_events::SimDuration;

use super::columns::{Columns, count, number, run_number};
use super::{Session, read};
use crate::{Acquired, Epoch, RunRow, StoreError};

/// Ties the store to a log, or checks that it is tied to it.
pub(crate) async fn bind_log(session: &mut impl Session, token: &str) -> Result<(), StoreError> {
    let found = bind(session, "log", token).await?;
    if found == token {
        return Ok(());
    }
    Err(StoreError::OtherLog { expected: token.to_owned(), found })
}

/// Ties the store to a window length, or checks that it is tied to it.
pub(crate) async fn bind_window(
    session: &mut impl Session,
    window: SimDuration,
) -> Result<(), StoreError> {
    let expected_ms = window.ms();
    let found = bind(session, "window_ms", &expected_ms.to_string()).await?;
    match number("bindings", "value", &found)? {
        found_ms if found_ms == expected_ms => Ok(()),
        found_ms => Err(StoreError::OtherWindow { expected_ms, found_ms }),
    }
}

/// Gives `name` the value `value` unless it has one, and returns the one that it has.
async fn bind(session: &mut impl Session, name: &str, value: &str) -> Result<String, StoreError> {
    const BIND: &str = "INSERT INTO bindings (name, value) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET value = bindings.value RETURNING value";
    let parameters = [name.into(), value.into()];
    let rows = session.rows("tie itself to the log or window length", BIND, &parameters).await?;
    let row = rows.first().expect("an upsert returns its row");
    Columns { table: "bindings", row }.text("value").map(str::to_owned)
}

pub(crate) async fn put_run(session: &mut impl Session, run: &RunRow) -> Result<(), StoreError> {
    const PUT: &str = "INSERT INTO runs
            (run, load_order, name, lanes, partitions, start_ms, end_ms, state, specification)
         VALUES ($1, (SELECT coalesce(max(load_order), 0) + 1 FROM runs), $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (run) DO UPDATE SET state = excluded.state";
    let parameters = [
        run_number(run.run).into(),
        run.name.as_str().into(),
        run.lanes.into(),
        run.partitions.into(),
        count(run.start.unix_ms()).into(),
        count(run.end.unix_ms()).into(),
        run.state.as_str().into(),
        run.specification_json.as_str().into(),
    ];
    session.rows("write a run", PUT, &parameters).await?;
    Ok(())
}

/// Raises the partition's epoch. Where the outcome of a checkpoint is unknown, the row is locked until it
/// is known, so that what is read here is final: what the old owner wrote counts, or never will.
pub(crate) async fn acquire(
    session: &mut impl Session,
    partition: u16,
    owner: &str,
) -> Result<Acquired, StoreError> {
    const RAISE: &str = "INSERT INTO partitions (partition, epoch, owner) VALUES ($1, 1, $2)
         ON CONFLICT (partition)
            DO UPDATE SET epoch = partitions.epoch + 1, owner = excluded.owner
         RETURNING epoch, next_offset, last_record_ms, unattributed_rejects";
    let parameters = [partition.into(), owner.into()];
    let rows = session.rows("acquire a partition", RAISE, &parameters).await?;
    let row = rows.first().expect("an upsert returns its row");
    let columns = Columns { table: "partitions", row };
    let epoch = Epoch::from_number(columns.integer("epoch")?);
    let snapshot = read::snapshot(session, partition, &columns).await?;
    Ok(Acquired { epoch, snapshot })
}

/// Writes all of a checkpoint. The first statement checks the epoch and locks the partition's row, so
/// that nobody else acquires the partition before the transaction ends.
pub(crate) async fn write_checkpoint(
    session: &mut impl Session,
    epoch: Epoch,
    checkpoint: &Checkpoint,
) -> Result<(), StoreError> {
    const MOVE_ON: &str =
        "UPDATE partitions SET next_offset = $3, unattributed_rejects = $4, last_record_ms = $5
         WHERE partition = $1 AND epoch = $2 RETURNING partition";
    let partition = checkpoint.partition;
    let parameters = [
        partition.into(),
        epoch.number().into(),
        count(checkpoint.next_offset).into(),
        count(checkpoint.unattributed_rejects).into(),
        checkpoint.last_record_ms.map(count).into(),
    ];
    let owned = session.rows("write a checkpoint", MOVE_ON, &parameters).await?;
    if owned.is_empty() {
        return Err(StoreError::Fenced { partition, epoch: epoch.number() });
    }
    if !checkpoint.lanes.is_empty() {
        session.write_lanes(partition, &checkpoint.lanes).await?;
    }
    if !checkpoint.runs.is_empty() {
        session.write_watermarks(partition, &checkpoint.runs).await?;
    }
    session.insert_rows(partition, &checkpoint.new_rows).await?;
    session.replace_rows(partition, &checkpoint.changed_rows).await
}
