//! What others in the same process may see of a running producer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntCounter;
use roaming_events::{LaneId, RunId};

use crate::metrics::ProducerMetrics;
use crate::progress::Progress;

/// A view of a running producer; clones share it. It is brought up to date about once a second.
#[derive(Clone)]
pub struct Observer {
    acknowledged: IntCounter,
    lanes: Arc<Mutex<BTreeMap<(RunId, LaneId), Progress>>>,
}

impl Observer {
    /// Makes a view of a producer that counts in `metrics`.
    pub fn new(metrics: &ProducerMetrics) -> Self {
        Self { acknowledged: metrics.events_acknowledged.clone(), lanes: Arc::default() }
    }

    pub(crate) fn show(&self, positions: Vec<Progress>) {
        let lanes = positions.into_iter().map(|progress| ((progress.run, progress.lane), progress));
        *self.lanes.lock().unwrap_or_else(PoisonError::into_inner) = lanes.collect();
    }

    /// Returns how many events the broker acknowledged to this process, end markers left out; always
    /// current.
    pub fn events_acknowledged(&self) -> u64 {
        self.acknowledged.get()
    }

    /// Returns how far the lanes of a run are that this process owns.
    pub fn lanes(&self, run: RunId) -> Vec<Progress> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.values().filter(|progress| progress.run == run).copied().collect()
    }

    /// Returns how many lanes of a run that this process owns are finished.
    pub fn lanes_finished(&self, run: RunId) -> usize {
        self.lanes(run).iter().filter(|progress| progress.ended).count()
    }
}
