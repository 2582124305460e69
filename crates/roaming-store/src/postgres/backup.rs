//! All tables of the store as of one moment, and the way back into an empty database.
//!
//! Both work with the text format of `COPY`: it does not depend on the server's version, and every line is
//! a row, since a line break within a value is written as `\n`.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use roaming_analytics::LaneRow;
use roaming_events::{RunId, Totals};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnection, PgCopyIn};

use super::errors::{failed, within};
use super::options::PostgresOptions;
use super::{ANSWER_LIMIT, EndedRun, retention, schema};
use crate::sql::run_number;
use crate::{JobRun, NetworksKey, StoreError, sql};

/// How long the server lets a transaction wait for its client: for the place that a backup goes to or comes
/// from, which may be slow between two tables.
const IDLE_LIMIT: &str = "10min";

/// The table whose rows the migrations make.
const VERSIONS: &str = "schema_versions";

/// A table of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableShape {
    /// Its name.
    pub name: String,
    /// Its columns in their order.
    pub columns: Vec<String>,
}

impl TableShape {
    /// Returns the table with its columns, as statements name it. The names are those of our migrations.
    fn listed(&self) -> String {
        format!("{} ({})", self.name, self.columns.join(","))
    }

    /// Whether each row of the table is of a run.
    pub fn is_of_runs(&self) -> bool {
        self.columns.iter().any(|column| column == "run")
    }
}

/// The store as of one moment, whatever is written meanwhile: a transaction that reads. It ends when this is
/// dropped.
#[derive(Debug)]
pub struct Snapshot {
    connection: PgConnection,
    schema_version: u32,
}

impl Snapshot {
    /// Fixes the moment. The database must hold a store of this version.
    ///
    /// # Errors
    /// Each reason has its variant of [`StoreError`], whose text says what to do.
    pub async fn take(options: &PostgresOptions) -> Result<Self, StoreError> {
        const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let mut connection = connect(options).await?;
        within(ANSWER_LIMIT, run(&mut connection, "begin a snapshot", BEGIN)).await?;
        let schema_version = schema::current(&mut connection, options).await?;
        Ok(Self { connection, schema_version })
    }

    /// Returns the version of the schema.
    pub fn schema_version(&self) -> u32 {
        self.schema_version
    }

    /// Returns what the store is tied to: the log and the window length, by the names in table `bindings`.
    ///
    /// # Errors
    /// Fails where the server does.
    pub async fn bindings(&mut self) -> Result<BTreeMap<String, String>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT name, value FROM bindings")
            .fetch_all(&mut self.connection)
            .await
            .map_err(failed("read what the store is tied to"))?;
        Ok(rows.into_iter().collect())
    }

    /// Returns the tables, by name.
    ///
    /// # Errors
    /// Fails where the server does.
    pub async fn tables(&mut self) -> Result<Vec<TableShape>, StoreError> {
        tables(&mut self.connection).await
    }

    /// Returns the rows of a table as lines, in pieces of any length.
    ///
    /// # Errors
    /// Fails where the server does; each piece may.
    pub async fn rows(
        &mut self,
        table: &TableShape,
    ) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + Send, StoreError> {
        self.copy(table.listed()).await
    }

    /// Returns the rows of one run as [`Self::rows`] does; the table must be one of runs.
    ///
    /// # Errors
    /// Fails where the server does; each piece may.
    pub async fn rows_of(
        &mut self,
        table: &TableShape,
        run: RunId,
    ) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + Send, StoreError> {
        let (columns, name) = (table.columns.join(","), &table.name);
        let run = run_number(run);
        self.copy(format!("(SELECT {columns} FROM {name} WHERE run = {run})")).await
    }

    /// Returns the runs whose end a job has seen, the earliest first.
    ///
    /// # Errors
    /// Fails where the server does.
    pub async fn ended(&mut self) -> Result<Vec<EndedRun>, StoreError> {
        retention::ended(&mut self.connection).await
    }

    /// Returns the lanes of a run, as far as anything was seen of them.
    ///
    /// # Errors
    /// Fails where the server does.
    pub async fn lanes(&mut self, run: RunId) -> Result<Vec<LaneRow>, StoreError> {
        Ok(sql::progress(&mut self.connection, run).await?.lanes)
    }

    /// Returns a run's totals by home network, visited network and outcome.
    ///
    /// # Errors
    /// Fails where the server does.
    pub async fn networks(
        &mut self,
        run: RunId,
    ) -> Result<BTreeMap<NetworksKey, Totals>, StoreError> {
        sql::networks(&mut self.connection, run).await
    }

    /// Returns the runs of all jobs that began in a span of wall time, in milliseconds since 1970, the
    /// earliest first.
    ///
    /// # Errors
    /// Fails where the server does.
    pub async fn job_runs(&mut self, span_ms: Range<u64>) -> Result<Vec<JobRun>, StoreError> {
        sql::job_runs(&mut self.connection, span_ms).await
    }

    async fn copy(
        &mut self,
        what: String,
    ) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + Send, StoreError> {
        let statement = format!("COPY {what} TO STDOUT");
        let failed = failed("copy a table");
        let rows = self.connection.copy_out_raw(&statement).await.map_err(&failed)?;
        Ok(rows.map(move |piece| piece.map_err(&failed)))
    }
}

/// A transaction that fills an empty store. What is not committed leaves the database as it was.
#[derive(Debug)]
pub struct Restoration {
    connection: PgConnection,
}

impl Restoration {
    /// Makes or migrates the tables, keeps everybody else away from them, and checks that they are empty.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] where a table holds a row.
    pub async fn begin(options: &PostgresOptions) -> Result<Self, StoreError> {
        let mut connection = connect(options).await?;
        let begun = async {
            run(&mut connection, "begin a restore", "BEGIN").await?;
            schema::make(&mut connection, options).await?;
            for table in tables(&mut connection).await? {
                let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", table.name);
                run(&mut connection, "lock a table", &lock).await?;
                if table.name != VERSIONS && count(&mut connection, &table.name).await? > 0 {
                    let store = options.to_string();
                    return Err(StoreError::NotEmpty { store, table: table.name });
                }
            }
            // The backup has these rows too.
            run(&mut connection, "empty a table", "DELETE FROM schema_versions").await
        };
        within(ANSWER_LIMIT, begun).await?;
        Ok(Self { connection })
    }

    /// Returns the tables, by name.
    ///
    /// # Errors
    /// Fails where the server does.
    pub async fn tables(&mut self) -> Result<Vec<TableShape>, StoreError> {
        tables(&mut self.connection).await
    }

    /// Begins to fill a table, which must be one of [`Self::tables`].
    ///
    /// # Errors
    /// Fails where the server does.
    pub async fn fill(&mut self, table: &TableShape) -> Result<TableFiller<'_>, StoreError> {
        let statement = format!("COPY {} FROM STDIN", table.listed());
        let failed = failed(FILL);
        self.connection.copy_in_raw(&statement).await.map(TableFiller).map_err(&failed)
    }

    /// Returns how many rows a table has now.
    ///
    /// # Errors
    /// Fails where the server does.
    pub async fn count(&mut self, table: &TableShape) -> Result<u64, StoreError> {
        count(&mut self.connection, &table.name).await
    }

    /// Writes that the store was restored, and makes all of it count.
    ///
    /// # Errors
    /// Fails where the server does. Where it is lost in the middle, look whether the tables have rows.
    pub async fn commit(mut self, job: &JobRun) -> Result<(), StoreError> {
        sql::put_job(&mut self.connection, job).await?;
        run(&mut self.connection, "commit a restore", "COMMIT").await
    }
}

const FILL: &str = "fill a table";

/// A table that is being filled. Dropped before its end, it leaves the transaction failed.
pub struct TableFiller<'a>(PgCopyIn<&'a mut PgConnection>);

impl TableFiller<'_> {
    /// Takes lines, in pieces of any length.
    ///
    /// # Errors
    /// Fails where the server does.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        self.0.send(piece).await.map_err(failed(FILL))?;
        Ok(())
    }

    /// Ends the table, and returns how many rows it was given.
    ///
    /// # Errors
    /// Fails where a line is no row of the table.
    pub async fn finish(self) -> Result<u64, StoreError> {
        self.0.finish().await.map_err(failed(FILL))
    }
}

/// Makes a connection for a batch job, whose statements may take long.
pub(super) async fn connect(options: &PostgresOptions) -> Result<PgConnection, StoreError> {
    let limit = [("idle_in_transaction_session_timeout", IDLE_LIMIT)];
    super::connect(&options.connect.clone().options(limit)).await
}

pub(super) async fn run(
    connection: &mut PgConnection,
    operation: &'static str,
    statement: &str,
) -> Result<(), StoreError> {
    let statement = AssertSqlSafe(statement.to_owned());
    sqlx::raw_sql(statement).execute(connection).await.map_err(failed(operation))?;
    Ok(())
}

async fn tables(connection: &mut PgConnection) -> Result<Vec<TableShape>, StoreError> {
    const TABLES: &str = "SELECT relname::text, array_agg(attname::text ORDER BY attnum)
         FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
         WHERE relnamespace = 'roaming'::regnamespace AND relkind = 'r'
         GROUP BY relname ORDER BY relname COLLATE \"C\"";
    let rows: Vec<(String, Vec<String>)> =
        sqlx::query_as(TABLES).fetch_all(connection).await.map_err(failed("list its tables"))?;
    Ok(rows.into_iter().map(|(name, columns)| TableShape { name, columns }).collect())
}

async fn count(connection: &mut PgConnection, table: &str) -> Result<u64, StoreError> {
    let statement = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    let rows: i64 = sqlx::query_scalar(statement)
        .fetch_one(connection)
        .await
        .map_err(failed("count the rows of a table"))?;
    Ok(rows.cast_unsigned())
}
