//! What reads a store.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use roaming_analytics::{LaneRow, Snapshot};
use roaming_events::{RowKey, RunId, SimDuration, SimTime, Totals};

use super::columns::{Cells, Columns, KEY_COLUMNS, LATENCY_COLUMNS, SUM_COLUMNS, run, run_number};
use super::{Parameter, Session};
use crate::{Found, NetworksKey, Progress, RunRow, StoreError, StoredRow, SummaryKey};

pub(crate) async fn window(session: &mut impl Session) -> Result<Option<SimDuration>, StoreError> {
    const VALUE: &str = "SELECT value FROM bindings WHERE name = 'window_ms'";
    let rows = session.rows("read the window length", VALUE, &[]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let columns = Columns { table: "bindings", row };
    columns.parsed("value").map(|ms| Some(SimDuration::from_ms(ms)))
}

pub(crate) async fn runs(session: &mut impl Session) -> Result<Vec<RunRow>, StoreError> {
    const RUNS: &str = "SELECT * FROM runs ORDER BY load_order, run";
    let rows = session.rows("read the runs", RUNS, &[]).await?;
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
    session: &mut impl Session,
    partition: u16,
    partition_row: &Columns<'_>,
) -> Result<Snapshot, StoreError> {
    const LANES: &str = "SELECT * FROM lanes WHERE partition = $1 ORDER BY run, lane";
    // One seek in the primary key for each run, where grouping would read every row.
    const NEWEST: &str = "SELECT run, (SELECT max(window_start_ms) FROM aggregates
            WHERE aggregates.run = seen.run AND aggregates.partition = $1) AS window_start_ms
         FROM (SELECT DISTINCT run FROM lanes WHERE partition = $1) AS seen";
    const OPERATION: &str = "reload a partition";
    let lanes = lane_rows(&session.rows(OPERATION, LANES, &[partition.into()]).await?)?;
    let rows = session.rows(OPERATION, NEWEST, &[partition.into()]).await?;
    let mut newest_windows = Vec::with_capacity(rows.len());
    for row in &rows {
        let columns = Columns { table: "aggregates", row };
        if let Some(newest) = columns.optional("window_start_ms")? {
            newest_windows.push((run(columns.integer("run")?), SimTime::from_unix_ms(newest)));
        }
    }
    Ok(Snapshot {
        next_offset: partition_row.optional("next_offset")?,
        last_record_ms: partition_row.optional("last_record_ms")?,
        lanes,
        newest_windows,
        unattributed_rejects: partition_row.count("unattributed_rejects")?,
    })
}

pub(crate) async fn load_rows(
    session: &mut impl Session,
    partition: u16,
    keys: &[(RunId, RowKey)],
) -> Result<Vec<StoredRow>, StoreError> {
    let rows = session.find_rows(partition, keys).await?;
    let mut stored: Vec<StoredRow> = keys.iter().map(|(run, key)| (*run, *key, None)).collect();
    for row in &rows {
        let columns = Columns { table: "aggregates", row };
        let index = columns.count("wanted_index")? as usize;
        stored[index].2 = Some(columns.totals()?);
    }
    Ok(stored)
}

/// Reads a run; lanes and rows are of the same moment where the session's transaction sees only one.
pub(crate) async fn found(session: &mut impl Session, run: RunId) -> Result<Found, StoreError> {
    const REJECTS: &str =
        "SELECT CAST(coalesce(sum(unattributed_rejects), 0) AS bigint) AS unattributed_rejects
         FROM partitions";
    const CLEANED: &str = "SELECT cleaned_ms FROM runs WHERE run = $1";
    const OPERATION: &str = "read a run";
    static ROWS: LazyLock<String> = LazyLock::new(|| sums_by(&KEY_COLUMNS));
    let lanes = lanes(session, run).await?;
    let rows = session.rows(OPERATION, ROWS.as_str(), &[run_number(run).into()]).await?;
    let rows = rows
        .iter()
        .map(|row| {
            let columns = Columns { table: "aggregates", row };
            Ok((columns.row_key()?, columns.totals()?))
        })
        .collect::<Result<_, StoreError>>()?;
    let sums = session.rows(OPERATION, REJECTS, &[]).await?;
    let rejects = sums.iter().map(|row| {
        let columns = Columns { table: "partitions", row };
        columns.count("unattributed_rejects")
    });
    let unattributed_rejects = rejects.sum::<Result<_, _>>()?;
    let known = session.rows(OPERATION, CLEANED, &[run_number(run).into()]).await?;
    let cleaned_ms = match known.first() {
        Some(row) => Columns { table: "runs", row }.optional("cleaned_ms")?,
        None => None,
    };
    Ok(Found { lanes, rows, unattributed_rejects, cleaned_ms })
}

pub(crate) async fn progress(
    session: &mut impl Session,
    run: RunId,
) -> Result<Progress, StoreError> {
    const WATERMARK: &str =
        "SELECT min(watermark_ms) AS watermark_ms FROM watermarks WHERE run = $1";
    let lanes = lanes(session, run).await?;
    let parameters = [run_number(run).into()];
    let rows = session.rows("read a run's progress", WATERMARK, &parameters).await?;
    let watermark = match rows.first() {
        Some(row) => Columns { table: "watermarks", row }.optional("watermark_ms")?,
        None => None,
    };
    Ok(Progress { lanes, watermark: watermark.map(SimTime::from_unix_ms) })
}

async fn lanes(session: &mut impl Session, run: RunId) -> Result<Vec<LaneRow>, StoreError> {
    const LANES: &str = "SELECT * FROM lanes WHERE run = $1 ORDER BY lane, partition";
    lane_rows(&session.rows("read lanes", LANES, &[run_number(run).into()]).await?)
}

fn lane_rows(rows: &[impl Cells]) -> Result<Vec<LaneRow>, StoreError> {
    rows.iter().map(|row| Columns { table: "lanes", row }.lane_row()).collect()
}

pub(crate) async fn summary(
    session: &mut impl Session,
    run: RunId,
) -> Result<BTreeMap<SummaryKey, Totals>, StoreError> {
    static LINES: LazyLock<String> =
        LazyLock::new(|| sums_by(&["visited_plmn", "procedure", "outcome"]));
    let parameters: [Parameter<'_>; 1] = [run_number(run).into()];
    let rows = session.rows("sum up a run", LINES.as_str(), &parameters).await?;
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

/// Returns a run's totals by networks and outcome. Reads every row of the run.
pub(crate) async fn networks(
    session: &mut impl Session,
    run: RunId,
) -> Result<BTreeMap<NetworksKey, Totals>, StoreError> {
    static LINES: LazyLock<String> =
        LazyLock::new(|| sums_by(&["home_plmn", "visited_plmn", "outcome"]));
    let parameters = [run_number(run).into()];
    let rows = session.rows("sum up a run by networks", LINES.as_str(), &parameters).await?;
    rows.iter()
        .map(|row| {
            let columns = Columns { table: "aggregates", row };
            let key = NetworksKey {
                home_plmn: columns.parsed("home_plmn")?,
                visited_plmn: columns.parsed("visited_plmn")?,
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
        // PostgreSQL's sum of 64 bits is wider, but no sum of counts is.
        .map(|column| format!("CAST(sum({column}) AS bigint) AS {column}"))
        .collect();
    format!("SELECT {keys},{} FROM aggregates WHERE run = $1 GROUP BY {keys}", sums.join(","))
}
