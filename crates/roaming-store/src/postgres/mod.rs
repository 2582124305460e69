//! The store in a PostgreSQL database, for any number of replicas.

mod backup;
mod copy;
mod errors;
mod options;
mod retention;
mod schema;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roaming_analytics::Checkpoint;
use roaming_events::{RowKey, RunId, SimDuration, Totals};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Postgres};
use tokio::sync::OnceCell;

use crate::sql;
use crate::{
    Acquired, Create, Epoch, Found, JobRun, JobStanding, Progress, RunRow, Store, StoreError,
    StoredRow, SummaryKey,
};

pub use backup::{Restoration, Snapshot, TableFiller, TableShape};
use errors::{NoAnswer, Unreached, failed, said, within};
pub use options::PostgresOptions;
pub use retention::{EndedRun, Retention};

/// Checkpoints that are written at the same time; those of further partitions wait their turn.
const WRITERS_MAX: u32 = 6;

/// Connections that read at the same time: the page, metrics, `verify` and reloads.
const READERS_MAX: u32 = 4;

/// How long a connection may take to be made, or to become free.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How long the server may take for what is asked of it each second. Its own limit is shorter, so that
/// nothing goes on there after it was given up here.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
const STATEMENT_TIMEOUT: &str = "12s";

/// The same for reading a whole run.
const READ_LIMIT: Duration = Duration::from_mins(10);
const READ_TIMEOUT: &str = "9min";

/// Lanes and rows of a run must be of the same moment.
const BEGIN_READING: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A [`Store`] in the schema `roaming` of a PostgreSQL database.
///
/// Nothing is asked of the server before the first use, which then makes or migrates the tables; so a
/// server that is away at start is an error that passes, of whatever is asked first.
///
/// Fencing rests on the lock of the partition's row: a checkpoint takes it in its first statement, an
/// acquisition waits for it. The server's `synchronous_commit` is left as it is: `off` would lose the
/// last checkpoints of a crashed server each as a whole, and what follows them would be read from the log
/// again, as long as it still holds them.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    options: PostgresOptions,
    create: Create,
    pools: Arc<OnceCell<Pools>>,
}

#[derive(Debug)]
struct Pools {
    writers: PgPool,
    readers: PgPool,
}

impl PostgresStore {
    /// Makes a store that connects at its first use; it then makes the tables where there are none.
    pub fn new(options: PostgresOptions) -> Self {
        Self { options, create: Create::IfMissing, pools: Arc::default() }
    }

    /// Connects to a database that must hold a store.
    ///
    /// # Errors
    /// Each reason has its variant of [`StoreError`], whose text says what to do.
    pub async fn open_existing(options: PostgresOptions) -> Result<Self, StoreError> {
        let store = Self { options, create: Create::Never, pools: Arc::default() };
        store.pools().await?;
        Ok(store)
    }

    async fn pools(&self) -> Result<&Pools, StoreError> {
        self.pools.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Pools, StoreError> {
        let mut connection = self.connect().await?;
        let result = schema::prepare(&mut connection, &self.options, self.create).await;
        // What it has done is done; a server that does not say goodbye is met at the next statement.
        drop(connection);
        result?;
        let connect = &*self.options.connect;
        let writing = [("statement_timeout", STATEMENT_TIMEOUT)];
        let reading =
            [("statement_timeout", READ_TIMEOUT), ("default_transaction_read_only", "on")];
        Ok(Pools {
            writers: pool(WRITERS_MAX).connect_lazy_with(connect.clone().options(writing)),
            readers: pool(READERS_MAX).connect_lazy_with(connect.clone().options(reading)),
        })
    }

    /// Makes a connection beside the pools, whose error says why it could not be made.
    async fn connect(&self) -> Result<PgConnection, StoreError> {
        connect(&self.options.connect).await
    }

    /// Does `work` on a connection of a pool, which has to bound the time that it takes. A connection on
    /// which anything failed is not used again: the server may be another one behind the same name.
    async fn on<T>(
        &self,
        pool: &PgPool,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.pooled(pool).await?;
        let result = work(&mut connection).await;
        if result.is_err() {
            connection.close_on_drop();
        }
        result
    }

    async fn pooled(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, StoreError> {
        match pool.acquire().await {
            Ok(connection) => Ok(connection),
            Err(error @ sqlx::Error::PoolTimedOut) => {
                // The pool has tried again and again and kept the reason to itself.
                self.connect().await?;
                Err(failed("open a connection")(error))
            }
            Err(error) => Err(failed("open a connection")(error)),
        }
    }
}

/// Makes a connection; where it cannot be made, the error says to which server.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let connection = async { options.connect().await.map_err(failed("open a connection")) };
    within(CONNECT_LIMIT, connection).await.map_err(|error| match error {
        StoreError::Unavailable { source } => {
            let (host, port) = (options.get_host().to_owned(), options.get_port());
            StoreError::Unavailable { source: Box::new(Unreached { host, port, source }) }
        }
        error => error,
    })
}

fn pool(connections_max: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(CONNECT_LIMIT)
        // Who waits too long is told by an error; sqlx need not warn as well.
        .acquire_slow_threshold(Duration::MAX)
}

impl Store for PostgresStore {
    async fn bind_log(&self, token: &str) -> Result<(), StoreError> {
        self.on(&self.pools().await?.writers, async |writer| {
            within(ANSWER_LIMIT, sql::bind_log(writer, token)).await
        })
        .await
    }

    async fn bind_window(&self, window: SimDuration) -> Result<(), StoreError> {
        self.on(&self.pools().await?.writers, async |writer| {
            within(ANSWER_LIMIT, sql::bind_window(writer, window)).await
        })
        .await
    }

    async fn window(&self) -> Result<Option<SimDuration>, StoreError> {
        self.on(&self.pools().await?.readers, async |reader| {
            within(ANSWER_LIMIT, sql::window(reader)).await
        })
        .await
    }

    async fn put_run(&self, run: &RunRow) -> Result<(), StoreError> {
        self.on(&self.pools().await?.writers, async |writer| {
            within(ANSWER_LIMIT, sql::put_run(writer, run)).await
        })
        .await
    }

    async fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.on(&self.pools().await?.readers, async |reader| {
            within(ANSWER_LIMIT, sql::runs(reader)).await
        })
        .await
    }

    async fn acquire(&self, partition: u16, owner: &str) -> Result<Acquired, StoreError> {
        self.on(&self.pools().await?.writers, async |writer| {
            within(ANSWER_LIMIT, acquire(writer, partition, owner)).await
        })
        .await
    }

    async fn commit(&self, epoch: Epoch, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.on(&self.pools().await?.writers, async |writer| {
            commit(writer, epoch, checkpoint).await
        })
        .await
    }

    async fn load_rows(
        &self,
        partition: u16,
        keys: &[(RunId, RowKey)],
    ) -> Result<Vec<StoredRow>, StoreError> {
        self.on(&self.pools().await?.readers, async |reader| {
            within(ANSWER_LIMIT, sql::load_rows(reader, partition, keys)).await
        })
        .await
    }

    async fn found(&self, run: RunId) -> Result<Found, StoreError> {
        self.on(&self.pools().await?.readers, async |reader| {
            within(READ_LIMIT, found(reader, run)).await
        })
        .await
    }

    async fn progress(&self, run: RunId) -> Result<Progress, StoreError> {
        self.on(&self.pools().await?.readers, async |reader| {
            within(ANSWER_LIMIT, progress(reader, run)).await
        })
        .await
    }

    async fn summary(&self, run: RunId) -> Result<BTreeMap<SummaryKey, Totals>, StoreError> {
        self.on(&self.pools().await?.readers, async |reader| {
            within(READ_LIMIT, sql::summary(reader, run)).await
        })
        .await
    }

    async fn put_job(&self, run: &JobRun) -> Result<(), StoreError> {
        self.on(&self.pools().await?.writers, async |writer| {
            within(ANSWER_LIMIT, sql::put_job(writer, run)).await
        })
        .await
    }

    async fn jobs(&self) -> Result<Vec<JobStanding>, StoreError> {
        self.on(&self.pools().await?.readers, async |reader| {
            within(ANSWER_LIMIT, sql::jobs(reader)).await
        })
        .await
    }

    async fn close(&self) {
        if let Some(pools) = self.pools.get() {
            pools.readers.close().await;
            pools.writers.close().await;
        }
    }
}

async fn acquire(
    writer: &mut PgConnection,
    partition: u16,
    owner: &str,
) -> Result<Acquired, StoreError> {
    let failed = failed("acquire a partition");
    let mut transaction = writer.begin().await.map_err(&failed)?;
    let acquired = sql::acquire(&mut *transaction, partition, owner).await?;
    transaction.commit().await.map_err(&failed)?;
    Ok(acquired)
}

async fn commit(
    writer: &mut PgConnection,
    epoch: Epoch,
    checkpoint: &Checkpoint,
) -> Result<(), StoreError> {
    let written = async {
        let mut transaction = writer.begin().await.map_err(failed("write a checkpoint"))?;
        sql::write_checkpoint(&mut *transaction, epoch, checkpoint).await?;
        Ok(transaction)
    };
    let transaction = within(ANSWER_LIMIT, written).await?;
    // From here on every failure leaves open whether the transaction counts.
    let partition = checkpoint.partition;
    match tokio::time::timeout(ANSWER_LIMIT, transaction.commit()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(StoreError::UnknownOutcome { partition, source: said(error) }),
        Err(_) => {
            let source = Box::new(NoAnswer(ANSWER_LIMIT));
            Err(StoreError::UnknownOutcome { partition, source })
        }
    }
}

async fn found(reader: &mut PgConnection, run: RunId) -> Result<Found, StoreError> {
    let failed = failed("read a run");
    let mut transaction = reader.begin_with(BEGIN_READING).await.map_err(&failed)?;
    let found = sql::found(&mut *transaction, run).await?;
    transaction.commit().await.map_err(&failed)?;
    Ok(found)
}

async fn progress(reader: &mut PgConnection, run: RunId) -> Result<Progress, StoreError> {
    let failed = failed("read a run's progress");
    let mut transaction = reader.begin_with(BEGIN_READING).await.map_err(&failed)?;
    let progress = sql::progress(&mut *transaction, run).await?;
    transaction.commit().await.map_err(&failed)?;
    Ok(progress)
}
