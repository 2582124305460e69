//! All that was counted of runs that have ended, in compressed files of their own.

use roaming_store::{PostgresOptions, Retention};
use tracing::{info, warn};

use crate::moment::Moment;
use crate::place::Place;
use crate::tables::{Rows, write};
use crate::{Done, JobError};

/// Writes each run that has ended, and is not archived yet, into a folder of `to` that is named after its id:
/// the files of a backup, with the rows of that run.
///
/// # Errors
/// Fails where the store cannot be read or written, or the place not be written. The runs before are archived;
/// what was written of the one that failed is replaced by the next attempt.
pub async fn archive(options: &PostgresOptions, to: &Place, now: Moment) -> Result<Done, JobError> {
    let mut retention = Retention::open(options).await?;
    let ended = retention.ended(now.unix_ms()).await?;
    let (mut runs, mut rows, mut bytes) = (0_u64, 0, 0);
    for run in ended.iter().filter(|run| run.archived_ms.or(run.cleaned_ms).is_none()) {
        let folder = to.folder(&run.run.to_string());
        let manifest = write(options, Rows::Of(run.run), &folder, now).await?;
        if !retention.note_archive(run, now.unix_ms()).await? {
            warn!(name = run.name, run = %run.run, "more was counted meanwhile, archived again later");
            continue;
        }
        info!(name = run.name, run = %run.run, rows = manifest.rows(), "run archived");
        runs += 1;
        rows += manifest.rows();
        bytes += manifest.bytes();
    }
    Ok(Done(format!("runs archived: {runs}, with {rows} rows and {bytes} bytes, in {to}")))
}
