//! All tables of the store, as of one moment, in compressed files.

use futures::TryStreamExt;
use roaming_store::{PostgresOptions, StoreSnapshot, TableShape};
use tracing::info;

use crate::file::FileWriter;
use crate::manifest::{MANIFEST, Manifest, TableFile};
use crate::moment::Moment;
use crate::place::Place;
use crate::{Done, JobError};

/// Writes a backup into a folder of `to` that is named after `now`. The manifest is written last: where it is
/// missing there is no backup.
///
/// # Errors
/// Fails where the store cannot be read or the place not be written.
pub async fn backup(options: &PostgresOptions, to: &Place, now: Moment) -> Result<Done, JobError> {
    let folder = to.folder(&now.folder());
    let mut snapshot = StoreSnapshot::take(options).await?;
    let bindings = snapshot.bindings().await?;
    let mut files = Vec::new();
    for table in snapshot.tables().await? {
        let file = copy(&mut snapshot, &table, &folder).await?;
        info!(table = file.table, rows = file.rows, bytes = file.bytes, "table copied");
        files.push(file);
    }
    let manifest = Manifest::new(snapshot.schema_version(), now.to_string(), bindings, files);
    folder.put(MANIFEST, manifest.to_json()).await?;
    let (tables, rows, bytes) = (manifest.tables.len(), manifest.rows(), manifest.bytes());
    Ok(Done(format!("{tables} tables, {rows} rows and {bytes} bytes are in {folder}")))
}

async fn copy(
    snapshot: &mut StoreSnapshot,
    table: &TableShape,
    folder: &Place,
) -> Result<TableFile, JobError> {
    let name = TableFile::name_of(&table.name);
    let mut file = FileWriter::create(folder, &name).await?;
    let mut rows = Box::pin(snapshot.rows(table).await?);
    while let Some(piece) = rows.try_next().await? {
        file.write(&piece).await?;
    }
    let (facts, rows) = file.finish().await?;
    Ok(TableFile {
        table: table.name.clone(),
        file: name,
        columns: table.columns.clone(),
        rows,
        bytes: facts.bytes,
        sha256: facts.sha256,
    })
}
