//! What the batch jobs of the store did, for the metrics: a job ends, and cannot be asked itself.

use std::sync::Arc;
use std::time::Duration;

use roaming_service::telemetry::chain;
use roaming_store::Store;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::ConsumerMetrics;

/// Time between two looks at the store. Jobs run once a day.
const INTERVAL: Duration = Duration::from_secs(15);

/// Tells of the jobs for ever. Where the store is away the metrics stay as they were.
pub(crate) async fn watch<S: Store>(store: Arc<S>, metrics: ConsumerMetrics) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match store.jobs().await {
            Ok(jobs) => metrics.jobs(&jobs),
            Err(error) => {
                metrics.error(error.kind());
                warn!(error = chain(&error), "metrics of jobs stay as they were");
            }
        }
    }
}
