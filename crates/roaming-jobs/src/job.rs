//! The jobs, and how the store learns what became of one.

use std::fmt;

use roaming_service::telemetry::chain;
use roaming_store::{JobOutcome, JobRun, PostgresOptions, PostgresStore, Store, StoreError};
use tracing::warn;

use crate::JobError;
use crate::moment::Moment;

/// A batch job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Writes all tables to a place.
    Backup,
    /// Fills an empty database from a backup.
    Restore,
    /// Writes runs that have ended to a place.
    Archive,
    /// Removes the rows of runs that ended long ago.
    CleanUp,
    /// Tells of the last week.
    Report,
}

impl Job {
    /// Returns the name, as on the command line and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Archive => "archive",
            Self::CleanUp => "clean-up",
            Self::Report => "report",
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a job did, in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done(pub String);

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Does a job, and writes into the store what became of it.
///
/// # Errors
/// Fails where the job does, and where it is done but the store cannot be told. That a failure could not be
/// told is logged.
pub async fn recorded(
    options: &PostgresOptions,
    job: Job,
    work: impl Future<Output = Result<Done, JobError>>,
) -> Result<Done, JobError> {
    let started = Moment::now();
    let result = work.await;
    let (outcome, detail) = match &result {
        Ok(done) => (JobOutcome::Done, done.to_string()),
        Err(error) => (JobOutcome::Failed, chain(error)),
    };
    let run = JobRun {
        job: job.as_str().to_owned(),
        started_ms: started.unix_ms(),
        ended_ms: Moment::now().unix_ms(),
        outcome,
        detail,
    };
    match (put(options, &run).await, result) {
        (Ok(()), result) => result,
        (Err(source), Ok(_)) => Err(JobError::NotRecorded { job, source }),
        (Err(unrecorded), Err(error)) => {
            warn!(%job, error = chain(&unrecorded), "the store was not told of the failure");
            Err(error)
        }
    }
}

async fn put(options: &PostgresOptions, run: &JobRun) -> Result<(), StoreError> {
    let store = PostgresStore::open_existing(options.clone()).await?;
    let result = store.put_job(run).await;
    store.close().await;
    result
}
