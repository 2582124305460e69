//! A store whose commits can be held up, to see a run survive a consumer that stands still.

use std::collections::BTreeMap;

use roaming_analytics::Checkpoint;
use roaming_events::{RowKey, RunId, SimDuration, Totals};
use roaming_store::{
    Acquired, Epoch, Found, JobRun, JobStanding, Progress, RunRow, Store, StoreError, StoredRow,
    SummaryKey,
};
use tokio::sync::watch;

/// Wraps a store: while the gate is shut, commits wait. Everything else passes.
pub struct Stalling<S> {
    store: S,
    gate: watch::Receiver<Gate>,
}

/// Whether commits pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They do.
    Open,
    /// They wait.
    Shut,
}

impl<S: Store> Stalling<S> {
    /// Wraps `store` behind `gate`. A gate whose other end is gone stays as it was.
    pub fn new(store: S, gate: watch::Receiver<Gate>) -> Self {
        Self { store, gate }
    }
}

impl<S: Store> Store for Stalling<S> {
    async fn commit(&self, epoch: Epoch, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        // A closed channel means that nobody will ever shut the gate again.
        let _ = self.gate.clone().wait_for(|gate| *gate == Gate::Open).await;
        self.store.commit(epoch, checkpoint).await
    }

    async fn bind_log(&self, token: &str) -> Result<(), StoreError> {
        self.store.bind_log(token).await
    }

    async fn bind_window(&self, window: SimDuration) -> Result<(), StoreError> {
        self.store.bind_window(window).await
    }

    async fn window(&self) -> Result<Option<SimDuration>, StoreError> {
        self.store.window().await
    }

    async fn put_run(&self, run: &RunRow) -> Result<(), StoreError> {
        self.store.put_run(run).await
    }

    async fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.store.runs().await
    }

    async fn acquire(&self, partition: u16, owner: &str) -> Result<Acquired, StoreError> {
        self.store.acquire(partition, owner).await
    }

    async fn load_rows(
        &self,
        partition: u16,
        keys: &[(RunId, RowKey)],
    ) -> Result<Vec<StoredRow>, StoreError> {
        self.store.load_rows(partition, keys).await
    }

    async fn found(&self, run: RunId) -> Result<Found, StoreError> {
        self.store.found(run).await
    }

    async fn progress(&self, run: RunId) -> Result<Progress, StoreError> {
        self.store.progress(run).await
    }

    async fn summary(&self, run: RunId) -> Result<BTreeMap<SummaryKey, Totals>, StoreError> {
        self.store.summary(run).await
    }

    async fn put_job(&self, run: &JobRun) -> Result<(), StoreError> {
        self.store.put_job(run).await
    }

    async fn jobs(&self) -> Result<Vec<JobStanding>, StoreError> {
        self.store.jobs().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
