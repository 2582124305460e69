//! The way back of a backup into an empty database.

use futures::TryStreamExt;
use roaming_store::{JobOutcome, JobRun, PostgresOptions, Restoration, SCHEMA_VERSION, TableShape};
use tracing::info;

use crate::file::{FileFacts, Unpacker, facts};
use crate::job::Job;
use crate::manifest::{MANIFEST, Manifest, TableFile};
use crate::moment::Moment;
use crate::place::Place;
use crate::{Done, JobError};

/// Restores the backup in `from`, or the newest of those in folders of it, into an empty database.
///
/// Every file is checked before the database is touched, and all of it is one transaction: what fails leaves
/// the database as it was. The transaction also writes into `job_runs` that it was done.
///
/// # Errors
/// Fails where the database is not empty, and where the backup is of another version, damaged or not whole.
pub async fn restore(
    options: &PostgresOptions,
    from: &Place,
    now: impl Fn() -> Moment,
) -> Result<Done, JobError> {
    let started = now();
    let (folder, manifest) = find(from).await?;
    for file in &manifest.tables {
        let found = facts(&folder, &file.file).await?;
        let expected = FileFacts { bytes: file.bytes, sha256: file.sha256.clone() };
        if found != expected {
            return Err(JobError::Damaged { file: format!("{folder}/{}", file.file) });
        }
    }
    let mut restoration = Restoration::begin(options).await?;
    let tables = restoration.tables().await?;
    for (table, file) in manifest.pair(&tables)? {
        fill(&mut restoration, table, &folder, file).await?;
        let found = restoration.count(table).await?;
        if found != file.rows {
            let (table, expected) = (table.name.clone(), file.rows);
            return Err(JobError::OtherCount { table, expected, found });
        }
        info!(table = table.name, rows = found, "table restored");
    }
    let (tables, rows) = (tables.len(), manifest.rows());
    let detail = format!("{tables} tables and {rows} rows are restored from {folder}");
    let run = JobRun {
        job: Job::Restore.as_str().to_owned(),
        started_ms: started.unix_ms(),
        ended_ms: now().unix_ms(),
        outcome: JobOutcome::Done,
        detail: detail.clone(),
    };
    restoration.commit(&run).await?;
    Ok(Done(detail))
}

/// Returns the folder of the backup, and its manifest.
async fn find(from: &Place) -> Result<(Place, Manifest), JobError> {
    if let Some(text) = from.get(MANIFEST).await? {
        return Ok((from.clone(), Manifest::parse(&text, SCHEMA_VERSION)?));
    }
    for name in from.folders().await?.iter().rev() {
        let folder = from.folder(name);
        if let Some(text) = folder.get(MANIFEST).await? {
            return Ok((folder, Manifest::parse(&text, SCHEMA_VERSION)?));
        }
    }
    Err(JobError::NoBackup { place: from.to_string() })
}

async fn fill(
    restoration: &mut Restoration,
    table: &TableShape,
    folder: &Place,
    file: &TableFile,
) -> Result<(), JobError> {
    let damaged = |_| JobError::Damaged { file: format!("{folder}/{}", file.file) };
    let mut pieces = folder.read(&file.file).await?;
    let mut unpacker = Unpacker::new();
    let mut filler = restoration.fill(table).await?;
    while let Some(piece) = pieces.try_next().await? {
        filler.write(&unpacker.unpack(&piece).map_err(damaged)?).await?;
    }
    filler.finish().await?;
    Ok(())
}
