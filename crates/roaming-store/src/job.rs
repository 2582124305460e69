//! What the store remembers of batch jobs.

use std::fmt;
use std::str::FromStr;

/// One run of a batch job, from its start to its end. Times are wall time in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRun {
    /// The job's name, as on the command line.
    pub job: String,
    /// When it began.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// How it ended.
    pub outcome: JobOutcome,
    /// What it did, or why it failed; without a password.
    pub detail: String,
}

/// How a batch job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// It did what it should.
    Done,
    /// It did not.
    Failed,
}

/// Where a batch job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStanding {
    /// Its last run.
    pub last: JobRun,
    /// When the last run ended that did what it should, if one ever did.
    pub succeeded_ms: Option<u64>,
}

impl JobOutcome {
    /// Returns the word that stands in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for JobOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobOutcome {
    type Err = UnknownOutcome;

    fn from_str(text: &str) -> Result<Self, UnknownOutcome> {
        [Self::Done, Self::Failed]
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or(UnknownOutcome)
    }
}

/// A word that is no outcome of a job.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no outcome of a job; known: done, failed")]
pub struct UnknownOutcome;
