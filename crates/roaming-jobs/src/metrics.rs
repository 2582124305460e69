//! What the schedule measures.

use std::time::Duration;

use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};
use roaming_store::JobOutcome;

use crate::Job;

/// The metrics of `roaming-jobs schedule`. What counts for alerts is in the store, and told by the consumers:
/// it outlives this process, and is there for jobs that others start.
#[derive(Clone, Debug)]
pub(crate) struct JobMetrics {
    runs: IntCounterVec,
    duration: GaugeVec,
}

impl JobMetrics {
    /// Registers every metric, with the label of each of `jobs` at zero.
    pub(crate) fn register(registry: &Registry, jobs: &[Job]) -> prometheus::Result<Self> {
        let runs = Opts::new(
            "roaming_job_runs_total",
            "Runs of batch jobs that this process started and that ended, by outcome. Jobs that others start are not in here.",
        );
        let duration = Opts::new(
            "roaming_job_duration_seconds",
            "Time that the last run of a batch job took, of those that this process started. Absent before the first.",
        );
        let metrics = Self {
            runs: IntCounterVec::new(runs, &["batch_job", "outcome"])?,
            duration: GaugeVec::new(duration, &["batch_job"])?,
        };
        for job in jobs {
            for outcome in [JobOutcome::Done, JobOutcome::Failed] {
                metrics.runs.with_label_values(&[job.as_str(), outcome.as_str()]);
            }
        }
        registry.register(Box::new(metrics.runs.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        Ok(metrics)
    }

    /// Counts a run that ended.
    pub(crate) fn ended(&self, job: Job, outcome: JobOutcome, took: Duration) {
        self.runs.with_label_values(&[job.as_str(), outcome.as_str()]).inc();
        self.duration.with_label_values(&[job.as_str()]).set(took.as_secs_f64());
    }
}
