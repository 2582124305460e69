//! Why a job was not done.

use roaming_service::Exit;
use roaming_store::StoreError;

use crate::job::Job;
use crate::manifest::ManifestError;
use crate::place::PlaceError;

/// Why a job was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// No database is named.
    #[error(
        "no database is named; give the DSN of the store with --postgres-dsn, POSTGRES_DSN or POSTGRES_DSN_FILE"
    )]
    NoDatabase,
    /// No place is named.
    #[error("no place is named; give it with {flag}, or with {variable}")]
    NoPlace {
        /// The command's option.
        flag: &'static str,
        /// The variable that holds for all commands.
        variable: &'static str,
    },
    /// The store refuses, or is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The place refuses, or is away.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The backup does not fit.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// There is no backup.
    #[error("no backup is in {place}: no folder of it has a manifest; name another place")]
    NoBackup {
        /// Where it was looked for.
        place: String,
    },
    /// A file is not the one that the manifest tells of.
    #[error(
        "{file} is not the file that was written: its length or its SHA-256 is another one; restore from another backup"
    )]
    Damaged {
        /// The file.
        file: String,
    },
    /// A table has another number of rows than the backup tells of.
    #[error(
        "table {table} has {found} rows, and the backup tells of {expected}; restore from another backup"
    )]
    OtherCount {
        /// The table.
        table: String,
        /// Rows that the manifest tells of.
        expected: u64,
        /// Rows that were restored.
        found: u64,
    },
    /// The job is done, and nobody knows.
    #[error(
        "{job} is done, but the store could not be told; see that it is reachable, and do it again"
    )]
    NotRecorded {
        /// The job.
        job: Job,
        /// Why.
        source: StoreError,
    },
}

impl JobError {
    /// Returns the status to end with: wrong use and configuration have one of their own.
    pub fn exit(&self) -> Exit {
        let is_misuse = match self {
            Self::NoDatabase | Self::NoPlace { .. } | Self::NoBackup { .. } => true,
            Self::Store(error) => error.is_misuse(),
            Self::Place(error) => error.is_misuse(),
            _ => false,
        };
        if is_misuse { Exit::Usage } else { Exit::Failed }
    }
}
