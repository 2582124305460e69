//! All tables of the store, as of one moment, in compressed files.

use roaming_store::PostgresOptions;

use crate::moment::Moment;
use crate::place::Place;
use crate::tables::{Rows, write};
use crate::{Done, JobError};

/// Writes a backup into a folder of `to` that is named after `now`.
///
/// # Errors
/// Fails where the store cannot be read or the place not be written.
pub async fn backup(options: &PostgresOptions, to: &Place, now: Moment) -> Result<Done, JobError> {
    let folder = to.folder(&now.folder());
    let manifest = write(options, Rows::All, &folder, now).await?;
    let (tables, rows, bytes) = (manifest.tables.len(), manifest.rows(), manifest.bytes());
    Ok(Done(format!("{tables} tables, {rows} rows and {bytes} bytes are in {folder}")))
}
