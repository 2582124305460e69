//! How long what was counted of a run is kept: when the run ended, and what is removed then.

use roaming_events::RunId;
use sqlx::postgres::PgConnection;

use super::backup::{connect, run as execute};
use super::errors::failed;
use super::options::PostgresOptions;
use super::schema;
use crate::sql::{Columns, Session, count, progress, run, run_number, runs};
use crate::{RunRow, StoreError};

/// A run that has ended. Times are wall time, in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedRun {
    /// The run.
    pub run: RunId,
    /// Its name, as given when it was loaded.
    pub name: String,
    /// When a job first saw that it has ended.
    pub ended_ms: u64,
    /// When all that was counted of it was archived.
    pub archived_ms: Option<u64>,
    /// When its aggregate rows were removed.
    pub cleaned_ms: Option<u64>,
}

/// A connection of the jobs that keep, or remove, what was counted of runs.
#[derive(Debug)]
pub struct Retention {
    connection: PgConnection,
}

impl Retention {
    /// Connects to a database that must hold a store of this version.
    ///
    /// # Errors
    /// Each reason has its variant of [`StoreError`], whose text says what to do.
    pub async fn open(options: &PostgresOptions) -> Result<Self, StoreError> {
        let mut connection = connect(options).await?;
        schema::current(&mut connection, options).await?;
        Ok(Self { connection })
    }

    /// Returns all runs that have ended, the earliest first; one that no job has seen at its end before ended
    /// at `now_ms`, and so did one of which more was counted since: what was archived of it is not all.
    ///
    /// # Errors
    /// Fails where the server does.
    pub async fn ended(&mut self, now_ms: u64) -> Result<Vec<EndedRun>, StoreError> {
        for run in runs(&mut self.connection).await? {
            self.note_end(&run, now_ms).await?;
        }
        ended(&mut self.connection).await
    }

    async fn note_end(&mut self, run: &RunRow, now_ms: u64) -> Result<(), StoreError> {
        const NOTE: &str = "UPDATE runs SET ended_ms = $2, ended_events = $3, archived_ms = NULL
             WHERE run = $1 AND ended_events IS DISTINCT FROM $3 AND cleaned_ms IS NULL";
        let lanes = progress(&mut self.connection, run.run).await?.lanes;
        if !run.has_ended(&lanes) {
            return Ok(());
        }
        let events = lanes.iter().map(|lane| lane.tally.events).sum();
        let parameters = [run_number(run.run).into(), count(now_ms).into(), count(events).into()];
        self.connection.rows("write when a run ended", NOTE, &parameters).await?;
        Ok(())
    }

    /// Writes that a run was archived at `now_ms`. Returns whether it is so: not where the run is not as
    /// [`Self::ended`] told any more.
    ///
    /// # Errors
    /// Fails where the server does.
    pub async fn note_archive(&mut self, run: &EndedRun, now_ms: u64) -> Result<bool, StoreError> {
        const NOTE: &str = "UPDATE runs SET archived_ms = $2
             WHERE run = $1 AND ended_ms = $3 AND cleaned_ms IS NULL AND ended_events =
                (SELECT coalesce(sum(events), 0) FROM lanes WHERE lanes.run = runs.run)
             RETURNING run";
        self.note("write when a run was archived", NOTE, run, now_ms).await
    }

    /// Removes the aggregate rows of a run and writes that they were removed at `now_ms`, both or neither.
    /// Returns how many there were; `None` where the run is not as [`Self::ended`] told any more: of a
    /// stopped one more was counted, or somebody else was first.
    ///
    /// # Errors
    /// Fails where the server does; then nothing was removed.
    pub async fn clean_up(
        &mut self,
        run: &EndedRun,
        now_ms: u64,
    ) -> Result<Option<u64>, StoreError> {
        // One view for both statements: nothing is removed that was counted after the check.
        const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";
        execute(&mut self.connection, "begin to clean up", BEGIN).await?;
        match self.remove(run, now_ms).await {
            Ok(removed) => {
                execute(&mut self.connection, "commit a clean-up", "COMMIT").await?;
                Ok(removed)
            }
            Err(error) => {
                // Where not even this is heard, the server rolls back when the connection is gone.
                let _ = execute(&mut self.connection, "give a clean-up up", "ROLLBACK").await;
                Err(error)
            }
        }
    }

    async fn remove(&mut self, run: &EndedRun, now_ms: u64) -> Result<Option<u64>, StoreError> {
        const MARK: &str = "UPDATE runs SET cleaned_ms = $2
             WHERE run = $1 AND ended_ms = $3 AND cleaned_ms IS NULL AND ended_events =
                (SELECT coalesce(sum(events), 0) FROM lanes WHERE lanes.run = runs.run)
             RETURNING run";
        if !self.note("mark a run as cleaned up", MARK, run, now_ms).await? {
            return Ok(None);
        }
        let removed = sqlx::query("DELETE FROM aggregates WHERE run = $1")
            .bind(run_number(run.run))
            .execute(&mut self.connection)
            .await
            .map_err(failed("remove aggregate rows"))?;
        Ok(Some(removed.rows_affected()))
    }

    /// Writes a time into the row of a run that is still as [`Self::ended`] told, and returns whether it was.
    async fn note(
        &mut self,
        operation: &'static str,
        statement: &'static str,
        run: &EndedRun,
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        let parameters =
            [run_number(run.run).into(), count(now_ms).into(), count(run.ended_ms).into()];
        Ok(!self.connection.rows(operation, statement, &parameters).await?.is_empty())
    }
}

/// Returns the runs whose end a job has seen, the earliest first.
pub(super) async fn ended(connection: &mut PgConnection) -> Result<Vec<EndedRun>, StoreError> {
    const ENDED: &str = "SELECT * FROM runs WHERE ended_ms IS NOT NULL
         ORDER BY ended_ms, load_order, run";
    let rows = connection.rows("read the runs that have ended", ENDED, &[]).await?;
    rows.iter()
        .map(|row| {
            let columns = Columns { table: "runs", row };
            Ok(EndedRun {
                run: run(columns.integer("run")?),
                name: columns.text("name")?.to_owned(),
                ended_ms: columns.count("ended_ms")?,
                archived_ms: columns.optional("archived_ms")?,
                cleaned_ms: columns.optional("cleaned_ms")?,
            })
        })
        .collect()
}
