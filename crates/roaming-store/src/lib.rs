//! The SQL store: where a run's counts, high-water marks and offsets stand, and the transaction that
//! makes them move together.
//!
//! The path of one event: the consumer's state machine counts it in memory; a flush turns what changed
//! into a [`Checkpoint`] of absolute values; [`Store::commit`] writes it, offset included, in one
//! transaction that first checks the partition's [`Epoch`]; a restart reads it back with
//! [`Store::acquire`]; [`Store::found`] reads a whole run for the comparison with its ledger.
//!
//! This crate knows no Kafka and retries nothing: [`StoreError::disposition`] says what an error asks
//! for, and the caller decides.

mod error;
mod job;
mod postgres;
mod sql;
mod sqlite;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;

use roaming_analytics::{Checkpoint, LaneRow, Snapshot};
use roaming_events::{EventType, Outcome, PlmnId, RowKey, RunId, SimDuration, SimTime, Totals};

pub use error::{DatabaseError, Disposition, StoreError};
pub use job::{JobOutcome, JobRun, JobStanding, UnknownOutcome};
pub use postgres::{
    EndedRun, PostgresOptions, PostgresStore, Restoration, Retention, Snapshot as StoreSnapshot,
    TableFiller, TableShape,
};
pub use sqlite::{SCHEMA_VERSION, SqliteOptions, SqliteStore};

/// What to do where there is no store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// Make one: the consumer.
    IfMissing,
    /// Fail with [`StoreError::NotFound`]: whoever only reads, so that a mistyped name makes nothing.
    Never,
}

/// A place that holds checkpoints, with exactly the promises that counting exactly once needs.
///
/// Every method may be called from any task and at the same time as others. None retries; how long one
/// may block is bounded by the implementation's busy timeout (five seconds for SQLite). Dropping a
/// future before it is ready leaves either the whole effect or none.
pub trait Store: Send + Sync + 'static {
    /// Ties the store to the log named by `token`, or checks that it is tied to it.
    ///
    /// Called once, before the first partition is acquired: stored offsets mean nothing on another log.
    ///
    /// # Errors
    /// [`StoreError::OtherLog`] where the store holds another log's offsets.
    fn bind_log(&self, token: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ties the store to windows of length `window`, or checks that it is tied to them.
    ///
    /// # Errors
    /// [`StoreError::OtherWindow`] where its rows were made with another length, which would not add up.
    fn bind_window(
        &self,
        window: SimDuration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the window length that the store is tied to, if it is yet.
    fn window(&self) -> impl Future<Output = Result<Option<SimDuration>, StoreError>> + Send;

    /// Writes what is known of a run; of a run that is known already only the state changes.
    fn put_run(&self, run: &RunRow) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns every run, in the order in which they were first written. Names may repeat: the last
    /// run of a name is the one that the name means.
    fn runs(&self) -> impl Future<Output = Result<Vec<RunRow>, StoreError>> + Send;

    /// Makes `owner` the only one who may commit checkpoints of `partition`, and returns what stands
    /// there. Whoever owned it before is fenced from now on.
    fn acquire(
        &self,
        partition: u16,
        owner: &str,
    ) -> impl Future<Output = Result<Acquired, StoreError>> + Send;

    /// Writes a checkpoint, all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where the partition was acquired again since `epoch`;
    /// [`StoreError::UnknownOutcome`] where the store cannot say whether the transaction counts, and the
    /// caller must acquire and reload. After any other error nothing was written, and the same
    /// checkpoint may be committed again.
    fn commit(
        &self,
        epoch: Epoch,
        checkpoint: &Checkpoint,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns, for each key in its order, what stands in the partition's row, `None` where there is
    /// no such row.
    fn load_rows(
        &self,
        partition: u16,
        keys: &[(RunId, RowKey)],
    ) -> impl Future<Output = Result<Vec<StoredRow>, StoreError>> + Send;

    /// Returns all that was counted of a run, from one consistent view.
    fn found(&self, run: RunId) -> impl Future<Output = Result<Found, StoreError>> + Send;

    /// Returns how far a run's lanes are: cheap enough to be asked each second.
    fn progress(&self, run: RunId) -> impl Future<Output = Result<Progress, StoreError>> + Send;

    /// Returns a run's totals by visited network, procedure and outcome. Reads every row of the run
    /// (about two million rows a second).
    fn summary(
        &self,
        run: RunId,
    ) -> impl Future<Output = Result<BTreeMap<SummaryKey, Totals>, StoreError>> + Send;

    /// Writes what a batch job did.
    fn put_job(&self, run: &JobRun) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns where each batch job stands that ever ended, by name.
    fn jobs(&self) -> impl Future<Output = Result<Vec<JobStanding>, StoreError>> + Send;

    /// Waits for what is under way and closes the store. Whatever is asked of it afterwards fails.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Proof of having acquired a partition; rises with every acquisition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(i64);

impl Epoch {
    /// Makes an epoch from its number, for implementations of [`Store`].
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// Returns the number, from 1.
    pub fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What [`Store::acquire`] gives.
#[derive(Clone, Debug)]
pub struct Acquired {
    /// To be shown with every commit.
    pub epoch: Epoch,
    /// Where the state machine goes on.
    pub snapshot: Snapshot,
}

/// A row as it stands in the store, `None` where there is none.
pub type StoredRow = (RunId, RowKey, Option<Totals>);

/// What the store knows of a run besides counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// Its name, as given when it was loaded.
    pub name: String,
    /// How many lanes it has.
    pub lanes: u16,
    /// How many partitions of `roaming.events` it uses.
    pub partitions: u16,
    /// Its simulated start.
    pub start: SimTime,
    /// When every lane has ended.
    pub end: SimTime,
    /// The desired state, as in the control record: `running`, `paused`, `stopped`.
    pub state: String,
    /// The specification, from which the ledger can be recomputed.
    pub specification_json: String,
}

impl RunRow {
    /// Whether every lane of the run is finished; `lanes` are those of which anything was seen.
    pub fn is_finished(&self, lanes: &[LaneRow]) -> bool {
        let finished = lanes.iter().filter(|lane| lane.is_finished()).count();
        finished >= usize::from(self.lanes)
    }

    /// Whether the run is stopped or deleted: its producers send no more, whatever its lanes have reached.
    pub fn is_stopped(&self) -> bool {
        matches!(self.state.as_str(), "stopped" | "deleted")
    }

    /// Whether nothing more comes of the run.
    pub fn has_ended(&self, lanes: &[LaneRow]) -> bool {
        self.is_finished(lanes) || self.is_stopped()
    }
}

/// All that was counted of a run.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// By lane; a lane that nothing was seen of is absent.
    pub lanes: Vec<LaneRow>,
    /// Aggregate rows, summed over partitions.
    pub rows: BTreeMap<RowKey, Totals>,
    /// Records of the whole store that could not be attributed to any lane.
    pub unattributed_rejects: u64,
    /// When the rows were removed: wall time, in milliseconds since 1970.
    pub cleaned_ms: Option<u64>,
}

/// How far a run is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// By lane; a lane that nothing was seen of is absent.
    pub lanes: Vec<LaneRow>,
    /// The earliest watermark of the run's partitions, of those that have one.
    pub watermark: Option<SimTime>,
}

/// What a line of [`StoreSnapshot::networks`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworksKey {
    /// The home network.
    pub home_plmn: PlmnId,
    /// The visited network.
    pub visited_plmn: PlmnId,
    /// What came of the events.
    pub outcome: Outcome,
}

/// What a line of [`Store::summary`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SummaryKey {
    /// The visited network.
    pub visited_plmn: PlmnId,
    /// The type of the events.
    pub procedure: EventType,
    /// What came of them.
    pub outcome: Outcome,
}
