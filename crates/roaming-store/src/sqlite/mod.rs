//! The store in one SQLite file.

mod errors;
mod schema;
mod session;

use std::collections::BTreeMap;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roaming_analytics::Checkpoint;
use roaming_events::{RowKey, RunId, SimDuration, Totals};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool};

use crate::sql;
use crate::{
    Acquired, Create, Epoch, Found, JobRun, JobStanding, Progress, RunRow, Store, StoreError,
    StoredRow, SummaryKey,
};

pub use schema::SCHEMA_VERSION;

/// How long a statement waits for another process that writes, before [`StoreError::Unavailable`].
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that read at the same time: the page, metrics, `verify` and reloads. A further reader
/// waits for one of them.
const READERS_MAX: u32 = 4;

/// A transaction that may write takes the lock at once: upgrading a read lock could fail at any later
/// statement.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// Which file, and what to do with it.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file. SQLite adds two more beside it while it is open, `…-wal` and `…-shm`.
    pub path: PathBuf,
    /// What to do where there is no such file.
    pub create: Create,
    /// The most pages of 4096 octets that the file may have; none: until the disk is full. At the limit
    /// a checkpoint fails with [`StoreError::Full`] and nothing is lost.
    pub pages_max: Option<u32>,
}

/// A [`Store`] in one SQLite file.
///
/// One connection writes and a few read; the write-ahead log lets them work at the same time.
/// `synchronous` is `NORMAL`: after a power cut the last transactions may be missing, each as a whole.
/// That loses nothing, because the offset is in the same transaction and what follows it is read from
/// the log again; `FULL` would cost a disk flush for each checkpoint and gain nothing.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the store at `path`; makes it where it does not exist, and migrates an older one.
    ///
    /// # Errors
    /// As [`SqliteStore::open_with`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        Self::open_with(SqliteOptions { path, create: Create::IfMissing, pages_max: None }).await
    }

    /// Opens the store at `path`, which must exist.
    ///
    /// # Errors
    /// As [`SqliteStore::open_with`].
    pub async fn open_existing(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        Self::open_with(SqliteOptions { path, create: Create::Never, pages_max: None }).await
    }

    /// Opens a store.
    ///
    /// # Errors
    /// Each reason has its variant of [`StoreError`], whose text says what to do. Where it fails the
    /// file is left as it was.
    pub async fn open_with(options: SqliteOptions) -> Result<Self, StoreError> {
        let SqliteOptions { path, create, pages_max } = options;
        check_file(&path, create)?;
        let connect = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(create == Create::IfMissing)
            .busy_timeout(BUSY_TIMEOUT)
            .synchronous(SqliteSynchronous::Normal)
            // Else sqlx logs the whole text of a slow statement, 512 rows of marks.
            .disable_statement_logging();
        schema::check(&connect, &path).await?;
        let mut write = connect.clone().journal_mode(SqliteJournalMode::Wal);
        if let Some(pages) = pages_max {
            write = write.pragma("max_page_count", pages.to_string());
        }
        let writer = pool(1)
            .before_acquire(|connection, _| Box::pin(ready(Ok(usable(connection)))))
            .connect_with(write)
            .await
            .map_err(|error| errors::opening(&path, error))?;
        schema::migrate(&writer, &path).await?;
        let readers = pool(READERS_MAX)
            .connect_with(connect.pragma("query_only", "ON"))
            .await
            .map_err(|error| errors::opening(&path, error))?;
        Ok(Self { path, writer, readers })
    }

    /// Returns where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn writer(&self, operation: &'static str) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.writer.acquire().await.map_err(errors::failed(operation))
    }

    async fn reader(&self, operation: &'static str) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.readers.acquire().await.map_err(errors::failed(operation))
    }
}

fn pool(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(BUSY_TIMEOUT)
        // Who waits too long is told by an error; sqlx need not warn as well.
        .acquire_slow_threshold(Duration::MAX)
}

/// Tells whether the writer may be used again; the pool replaces one that may not.
///
/// Where the disk is full, SQLite may roll a transaction back by itself. The ROLLBACK of sqlx then
/// fails, and sqlx believes for ever that the transaction is open and refuses to begin another.
/// Asked here, and not where a write fails, so that it also holds for a write that was cancelled.
fn usable(writer: &SqliteConnection) -> bool {
    !writer.is_in_transaction()
}

/// Finds what SQLite would only call "unable to open".
fn check_file(path: &Path, create: Create) -> Result<(), StoreError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(StoreError::FolderMissing { folder: folder.to_owned() });
    }
    match path.metadata() {
        // Root may write to a read-only file, and should not where somebody protected it.
        Ok(file) if file.permissions().readonly() => {
            Err(StoreError::ReadOnly { path: path.to_owned() })
        }
        Ok(file) if !file.is_file() => {
            Err(StoreError::NotAStore { store: path.display().to_string() })
        }
        Err(_) if create == Create::Never => {
            Err(StoreError::NotFound { store: path.display().to_string() })
        }
        _ => Ok(()),
    }
}

impl Store for SqliteStore {
    async fn bind_log(&self, token: &str) -> Result<(), StoreError> {
        sql::bind_log(&mut *self.writer("tie itself to the log").await?, token).await
    }

    async fn bind_window(&self, window: SimDuration) -> Result<(), StoreError> {
        let mut writer = self.writer("tie itself to the window length").await?;
        sql::bind_window(&mut *writer, window).await
    }

    async fn window(&self) -> Result<Option<SimDuration>, StoreError> {
        sql::window(&mut *self.reader("read the window length").await?).await
    }

    async fn put_run(&self, run: &RunRow) -> Result<(), StoreError> {
        sql::put_run(&mut *self.writer("write a run").await?, run).await
    }

    async fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        sql::runs(&mut *self.reader("read the runs").await?).await
    }

    async fn acquire(&self, partition: u16, owner: &str) -> Result<Acquired, StoreError> {
        let failed = errors::failed("acquire a partition");
        let mut transaction = self.writer.begin_with(BEGIN).await.map_err(&failed)?;
        let acquired = sql::acquire(&mut *transaction, partition, owner).await?;
        transaction.commit().await.map_err(&failed)?;
        Ok(acquired)
    }

    async fn commit(&self, epoch: Epoch, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let failed = errors::failed("write a checkpoint");
        let mut transaction = self.writer.begin_with(BEGIN).await.map_err(failed)?;
        sql::write_checkpoint(&mut *transaction, epoch, checkpoint).await?;
        transaction.commit().await.map_err(errors::commit_failed(checkpoint.partition))
    }

    async fn load_rows(
        &self,
        partition: u16,
        keys: &[(RunId, RowKey)],
    ) -> Result<Vec<StoredRow>, StoreError> {
        let mut reader = self.reader("reload aggregate rows").await?;
        sql::load_rows(&mut *reader, partition, keys).await
    }

    async fn found(&self, run: RunId) -> Result<Found, StoreError> {
        // One transaction, so that lanes and rows are of the same moment.
        let failed = errors::failed("read a run");
        let mut transaction = self.readers.begin().await.map_err(&failed)?;
        let found = sql::found(&mut *transaction, run).await?;
        transaction.commit().await.map_err(&failed)?;
        Ok(found)
    }

    async fn progress(&self, run: RunId) -> Result<Progress, StoreError> {
        let failed = errors::failed("read a run's progress");
        let mut transaction = self.readers.begin().await.map_err(&failed)?;
        let progress = sql::progress(&mut *transaction, run).await?;
        transaction.commit().await.map_err(&failed)?;
        Ok(progress)
    }

    async fn summary(&self, run: RunId) -> Result<BTreeMap<SummaryKey, Totals>, StoreError> {
        sql::summary(&mut *self.reader("sum up a run").await?, run).await
    }

    async fn put_job(&self, run: &JobRun) -> Result<(), StoreError> {
        sql::put_job(&mut *self.writer("write what a job did").await?, run).await
    }

    async fn jobs(&self) -> Result<Vec<JobStanding>, StoreError> {
        sql::jobs(&mut *self.reader("read what jobs did").await?).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
