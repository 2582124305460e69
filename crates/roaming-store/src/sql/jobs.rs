//! What batch jobs did.

use std::ops::Range;

use super::columns::{Columns, count};
use super::{Parameter, Session};
use crate::{JobRun, JobStanding, StoreError};

pub(crate) async fn put_job(session: &mut impl Session, run: &JobRun) -> Result<(), StoreError> {
    const PUT: &str = "INSERT INTO job_runs (job, started_ms, ended_ms, outcome, detail)
         VALUES ($1, $2, $3, $4, $5)";
    let parameters = [
        run.job.as_str().into(),
        count(run.started_ms).into(),
        count(run.ended_ms).into(),
        run.outcome.as_str().into(),
        run.detail.as_str().into(),
    ];
    session.rows("write what a job did", PUT, &parameters).await?;
    Ok(())
}

pub(crate) async fn jobs(session: &mut impl Session) -> Result<Vec<JobStanding>, StoreError> {
    const JOBS: &str = "SELECT job_runs.*,
            (SELECT max(ended_ms) FROM job_runs AS done
             WHERE done.job = job_runs.job AND done.outcome = 'done') AS succeeded_ms
         FROM job_runs
         JOIN (SELECT job, max(started_ms) AS started_ms FROM job_runs GROUP BY job) AS latest
            ON latest.job = job_runs.job AND latest.started_ms = job_runs.started_ms
         ORDER BY job_runs.job";
    let none: [Parameter<'_>; 0] = [];
    let rows = session.rows("read what jobs did", JOBS, &none).await?;
    rows.iter()
        .map(|row| {
            let columns = Columns { table: "job_runs", row };
            let last = job_run(&columns)?;
            Ok(JobStanding { last, succeeded_ms: columns.optional("succeeded_ms")? })
        })
        .collect()
}

/// Returns the runs of all jobs that began in a span of wall time, the earliest first.
pub(crate) async fn job_runs(
    session: &mut impl Session,
    span_ms: Range<u64>,
) -> Result<Vec<JobRun>, StoreError> {
    const RUNS: &str = "SELECT * FROM job_runs WHERE started_ms >= $1 AND started_ms < $2
         ORDER BY started_ms, job";
    let parameters = [count(span_ms.start).into(), count(span_ms.end).into()];
    let rows = session.rows("read what jobs did", RUNS, &parameters).await?;
    rows.iter().map(|row| job_run(&Columns { table: "job_runs", row })).collect()
}

fn job_run(columns: &Columns<'_>) -> Result<JobRun, StoreError> {
    Ok(JobRun {
        job: columns.text("job")?.to_owned(),
        started_ms: columns.count("started_ms")?,
        ended_ms: columns.count("ended_ms")?,
        outcome: columns.parsed("outcome")?,
        detail: columns.text("detail")?.to_owned(),
    })
}
