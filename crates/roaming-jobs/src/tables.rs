//! Tables of the store in compressed files: what backups and archives have in common.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use roaming_events::RunId;
use roaming_store::{PostgresOptions, StoreError, StoreSnapshot, TableShape};
use tracing::info;

use crate::JobError;
use crate::file::FileWriter;
use crate::manifest::{MANIFEST, Manifest, TableFile};
use crate::moment::Moment;
use crate::place::Place;

/// Which rows are written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rows {
    /// All of every table.
    All,
    /// Those of a run, of the tables whose rows are of runs.
    Of(RunId),
}

type Lines<'a> = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send + 'a>>;

impl Rows {
    fn has(self, table: &TableShape) -> bool {
        match self {
            Self::All => true,
            Self::Of(_) => table.is_of_runs(),
        }
    }

    async fn read<'a>(
        self,
        snapshot: &'a mut StoreSnapshot,
        table: &'a TableShape,
    ) -> Result<Lines<'a>, StoreError> {
        Ok(match self {
            Self::All => Box::pin(snapshot.rows(table).await?),
            Self::Of(run) => Box::pin(snapshot.rows_of(table, run).await?),
        })
    }
}

/// Writes rows, all as of one moment, into a folder: a file for each table, and last the manifest. Where it is
/// missing, what is there is not whole.
pub(crate) async fn write(
    options: &PostgresOptions,
    rows: Rows,
    folder: &Place,
    now: Moment,
) -> Result<Manifest, JobError> {
    let mut snapshot = StoreSnapshot::take(options).await?;
    let bindings = snapshot.bindings().await?;
    let mut files = Vec::new();
    let tables = snapshot.tables().await?;
    for table in tables.iter().filter(|table| rows.has(table)) {
        let file = copy(rows.read(&mut snapshot, table).await?, table, folder).await?;
        info!(table = file.table, rows = file.rows, bytes = file.bytes, "table copied");
        files.push(file);
    }
    let manifest = Manifest::new(snapshot.schema_version(), now.to_string(), bindings, files);
    folder.put(MANIFEST, manifest.to_json()).await?;
    Ok(manifest)
}

async fn copy(
    mut lines: Lines<'_>,
    table: &TableShape,
    folder: &Place,
) -> Result<TableFile, JobError> {
    let name = TableFile::name_of(&table.name);
    let mut file = FileWriter::create(folder, &name).await?;
    while let Some(piece) = lines.try_next().await? {
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
