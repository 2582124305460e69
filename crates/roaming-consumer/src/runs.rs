//! The runs that this consumer knows: what `roaming.scenarios` says, and what the store remembers.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use roaming_analytics::RunView;
use roaming_events::{LaneId, RunId};
use roaming_service::control::{self, ControlEntry, ControlReader, LogToken};
use roaming_service::kafka::{ClientError, KafkaSettings};
use roaming_service::telemetry::chain;
use roaming_sim::ControlRecord;
use roaming_sim::control::RunState;
use roaming_store::{RunRow, Store, StoreError};
use tracing::{info, warn};

use crate::ConsumerMetrics;

/// Learns runs, from the control topic and from the store.
pub(crate) struct Runs<S> {
    store: Arc<S>,
    settings: KafkaSettings,
    metrics: ConsumerMetrics,
    known: KnownRuns,
}

/// Every run that the store knows; clones share them.
#[derive(Clone, Debug, Default)]
pub struct KnownRuns {
    known: Arc<RwLock<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    runs: BTreeMap<RunId, Arc<KnownRun>>,
    /// Raised by each run that is new.
    order: u64,
}

/// A run that the store knows.
#[derive(Clone, Debug)]
pub struct KnownRun {
    pub(crate) row: RunRow,
    /// Later runs have higher numbers.
    pub(crate) order: u64,
}

impl KnownRuns {
    /// Takes a run that the store knows, or another state of it.
    pub fn insert(&self, row: RunRow) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let order = match known.runs.get(&row.run) {
            Some(run) => run.order,
            None => known.order + 1,
        };
        known.order = known.order.max(order);
        known.runs.insert(row.run, Arc::new(KnownRun { row, order }));
    }

    /// Returns a run, if it is known.
    pub(crate) fn get(&self, run: RunId) -> Option<Arc<KnownRun>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).runs.get(&run).cloned()
    }

    /// Returns every known run, the newest first.
    pub(crate) fn newest(&self) -> Vec<Arc<KnownRun>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut runs: Vec<_> = known.runs.values().cloned().collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.order));
        runs
    }
}

impl KnownRun {
    /// Whether it is deleted: what is in the log of it is still counted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.row.state == RunState::Deleted.as_str()
    }

    /// Returns what a partition needs to know of it.
    pub(crate) fn view(&self) -> RunView {
        RunView {
            run: self.row.run,
            lanes: self.row.lanes,
            partitions: self.row.partitions,
            start: self.row.start,
        }
    }
}

/// Why runs could not be learned now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LearnError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl<S: Store> Runs<S> {
    pub(crate) fn new(store: Arc<S>, settings: KafkaSettings, metrics: ConsumerMetrics) -> Self {
        Self { store, settings, metrics, known: KnownRuns::default() }
    }

    /// Returns the runs that are known.
    pub(crate) fn known(&self) -> &KnownRuns {
        &self.known
    }

    /// Returns the identity of the log, where it has one.
    pub(crate) async fn token(&self) -> Result<Option<LogToken>, ClientError> {
        Ok(control::read(&self.settings).await?.token)
    }

    /// Learns what the store remembers: runs whose control record may be gone.
    pub(crate) async fn recall(&self) -> Result<(), StoreError> {
        for row in self.store.runs().await? {
            self.known.insert(row);
        }
        Ok(())
    }

    /// Reads the control topic to its end.
    pub(crate) async fn refresh(&self) -> Result<(), LearnError> {
        let state = control::read(&self.settings).await?;
        for (name, record) in &state.runs {
            self.learn(name, record).await?;
        }
        Ok(())
    }

    /// Follows the control topic; returns where that fails. Calls `up_to_date` when all is known that stood
    /// there before.
    pub(crate) async fn follow(&self, up_to_date: impl Fn()) -> Result<(), LearnError> {
        let mut reader = ControlReader::open(&self.settings).await?;
        loop {
            match reader.next().await? {
                ControlEntry::Run { name, record: Some(record) } => {
                    self.learn(&name, &record).await?;
                }
                ControlEntry::UpToDate => up_to_date(),
                ControlEntry::Run { record: None, .. } | ControlEntry::Token(_) => {}
            }
        }
    }

    /// Learns one record. The store has it before anybody else does, so that no count is stored of a run
    /// that nobody could verify.
    async fn learn(&self, name: &str, record: &[u8]) -> Result<(), StoreError> {
        let record = match read(record) {
            Ok(record) => record,
            Err(reason) => {
                self.metrics.error("control_record");
                warn!(name, reason, "control record passed over");
                return Ok(());
            }
        };
        let row = run_row(&record);
        if self.known.get(row.run).is_some_and(|known| known.row.state == row.state) {
            return Ok(());
        }
        self.store.put_run(&row).await?;
        info!(name, run = %row.run, state = row.state, "run known");
        self.known.insert(row);
        Ok(())
    }
}

/// Reads a control record, and checks what counting relies on.
fn read(record: &[u8]) -> Result<ControlRecord, String> {
    let record: ControlRecord = serde_json::from_slice(record).map_err(|error| chain(&error))?;
    let specification = &record.specification;
    if record.run != specification.run_id() {
        return Err("the run id is not that of the specification".to_owned());
    }
    if !(1..=LaneId::COUNT_MAX).contains(&specification.lanes) {
        return Err(format!("{} lanes", specification.lanes));
    }
    if specification.events_partitions == 0 {
        return Err("no partitions".to_owned());
    }
    Ok(record)
}

fn run_row(record: &ControlRecord) -> RunRow {
    let specification = &record.specification;
    RunRow {
        run: record.run,
        name: specification.name.clone(),
        lanes: specification.lanes,
        partitions: specification.events_partitions,
        start: specification.start(),
        end: specification.end(),
        state: record.state.as_str().to_owned(),
        specification_json: serde_json::to_string(specification.as_ref())
            .expect("a tree of structs, texts and integers always serialises"),
    }
}

/// Returns a run of one lane that only tests know.
#[cfg(test)]
pub(crate) fn row_named(name: &str) -> RunRow {
    RunRow {
        run: RunId::from_hash(4),
        name: name.to_owned(),
        lanes: 1,
        partitions: 1,
        start: roaming_events::SimTime::default(),
        end: roaming_events::SimTime::default(),
        state: "running".to_owned(),
        specification_json: String::new(),
    }
}
