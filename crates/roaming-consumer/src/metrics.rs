//! What the consumer measures.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use roaming_analytics::{LaneRow, Observation, RejectReason};
use roaming_events::{Event, EventType, LATENCY_BOUNDS_US, Outcome, PlmnId};
use roaming_store::{JobOutcome, JobStanding, StoreError};

/// Reasons of `roaming_errors_total` that are not the store's.
const ERROR_KINDS: [&str; 5] =
    ["broker", "control_record", "dead_letter", "ledger", "offset_commit"];

/// All reasons of `roaming_errors_total`, registered at start.
fn error_kinds() -> impl Iterator<Item = &'static str> {
    ERROR_KINDS.into_iter().chain(StoreError::KINDS)
}

/// The job whose outcome has a metric of its own, by its name in the store.
const BACKUP: &str = "backup";

/// Seconds that a checkpoint takes: from a small one in memory to the store's busy timeout.
const WRITE_BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// The metrics of one consumer.
///
/// Whatever counts events is raised when their checkpoint is stored and not before, so that what is
/// read again after a crash is counted once: over all replicas and for one run, the counters equal the
/// run's ledger.
#[derive(Clone)]
pub struct ConsumerMetrics {
    events: IntCounterVec,
    duplicates: IntCounter,
    corrections: IntCounter,
    rejected: IntCounterVec,
    dead_letters: IntCounter,
    attaches: IntCounterVec,
    attach_latency: HistogramVec,
    checkpoints: IntCounter,
    write_seconds: Histogram,
    lag: IntGaugeVec,
    watermark_delay: IntGaugeVec,
    lanes_finished: IntGaugeVec,
    events_missing: IntGaugeVec,
    partitions: IntGauge,
    anomalies: IntCounter,
    errors: IntCounterVec,
    backup_success: IntGaugeVec,
    job_last_success: IntGaugeVec,
}

impl ConsumerMetrics {
    /// Registers every metric, with every known label at zero.
    ///
    /// # Errors
    /// Fails where a name is taken in `registry`.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let attach_latency = HistogramOpts::new(
            "roaming_attach_latency_seconds",
            "Time from a registration (location update) to its answer, by visited network, refused and failed ones included; simulated time. A network appears with its first registration.",
        )
        .buckets(LATENCY_BOUNDS_US.map(|bound| f64::from(bound) / 1e6).to_vec());
        let write_seconds = HistogramOpts::new(
            "roaming_db_write_seconds",
            "Time that a checkpoint takes to be written to the store, successful ones only; waiting for other partitions' checkpoints is included. Moves with --flush-interval-ms and the store's disk.",
        )
        .buckets(WRITE_BUCKETS.to_vec());
        let metrics = Self {
            events: counters(
                "roaming_events_processed_total",
                "Events counted and stored, by procedure and outcome. Duplicates, markers, end markers and rejected records are not in here; the sum over all replicas is what the ledger says.",
                &["procedure", "outcome"],
            )?,
            duplicates: counter(
                "roaming_duplicates_dropped_total",
                "Numbered records dropped because they had been counted before. They come from a producer or lane that was restarted, never from a restart of the consumer; 0 in an undisturbed run.",
            )?,
            corrections: counter(
                "roaming_late_events_total",
                "Events counted into a window that the watermark had closed; they are counted as processed too. 0 where the scenario delays nothing beyond a window.",
            )?,
            rejected: counters(
                "roaming_records_rejected_total",
                "Records of roaming.events that were not counted, by reason. Each is on roaming.events.dlq. 0 unless something else than the producer writes to the topic.",
                &["reason"],
            )?,
            dead_letters: counter(
                "roaming_dead_letters_total",
                "Dead letters acknowledged by the broker. More than the rejected records where a crash had them written again; their key is their origin.",
            )?,
            attaches: counters(
                "roaming_attach_total",
                "Registrations (location updates) counted and stored, by visited network and outcome; the same events as under procedure location_update of roaming_events_processed_total. A network appears, with every outcome, with its first registration.",
                &["visited_plmn", "outcome"],
            )?,
            attach_latency: HistogramVec::new(attach_latency, &["visited_plmn"])?,
            checkpoints: counter(
                "roaming_checkpoints_total",
                "Checkpoints stored, over all partitions.",
            )?,
            write_seconds: Histogram::with_opts(write_seconds)?,
            lag: gauges(
                "roaming_consumer_lag",
                "Records between the end of a partition and what is stored of it, measured each second, for the partitions of this replica.",
                &["partition"],
            )?,
            watermark_delay: gauges(
                "roaming_watermark_delay_seconds",
                "Simulated time between the furthest lane of a partition and the one that holds its windows open, the largest over all runs.",
                &["partition"],
            )?,
            lanes_finished: gauges(
                "roaming_lanes_finished",
                "Lanes whose end was reached with nothing missing, of all runs, by partition of this replica.",
                &["partition"],
            )?,
            events_missing: gauges(
                "roaming_events_missing",
                "Events missing below the high-water marks of the lanes, of all runs, by partition of this replica. Anything but 0 is a finding.",
                &["partition"],
            )?,
            partitions: IntGauge::new(
                "roaming_partitions_owned",
                "Partitions of roaming.events that this replica counts at the moment; those being acquired are not in here.",
            )?,
            anomalies: counter(
                "roaming_anomalies_total",
                "Anomalies found by detectors. Always 0 in this version, which has no detectors yet.",
            )?,
            errors: counters(
                "roaming_errors_total",
                "Errors of operations by kind. Each is either tried again or stops the consumer; none loses an event. 0 in an undisturbed run.",
                &["kind"],
            )?,
            backup_success: gauges(
                "backup_job_success",
                "Whether the last backup of the store was made (1) or failed (0), read from the store every 15 s; every replica tells the same. Absent before the first. One that was killed is not told: look at its age too.",
                &[],
            )?,
            job_last_success: gauges(
                "roaming_job_last_success_timestamp_seconds",
                "When a batch job last ended that did what it should: wall time, seconds since 1970, read from the store every 15 s; every replica tells the same. Absent for a job that never did.",
                &["batch_job"],
            )?,
        };
        metrics.preset();
        metrics.add_to(registry)?;
        Ok(metrics)
    }

    /// Makes every known label visible at zero.
    fn preset(&self) {
        for procedure in EventType::ALL {
            for outcome in Outcome::ALL {
                self.events.with_label_values(&[procedure.as_str(), outcome.as_str()]);
            }
        }
        for reason in RejectReason::ALL {
            self.rejected.with_label_values(&[reason.as_str()]);
        }
        for kind in error_kinds() {
            self.errors.with_label_values(&[kind]);
        }
    }

    fn add_to(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.events.clone()))?;
        registry.register(Box::new(self.duplicates.clone()))?;
        registry.register(Box::new(self.corrections.clone()))?;
        registry.register(Box::new(self.rejected.clone()))?;
        registry.register(Box::new(self.dead_letters.clone()))?;
        registry.register(Box::new(self.attaches.clone()))?;
        registry.register(Box::new(self.attach_latency.clone()))?;
        registry.register(Box::new(self.checkpoints.clone()))?;
        registry.register(Box::new(self.write_seconds.clone()))?;
        registry.register(Box::new(self.lag.clone()))?;
        registry.register(Box::new(self.watermark_delay.clone()))?;
        registry.register(Box::new(self.lanes_finished.clone()))?;
        registry.register(Box::new(self.events_missing.clone()))?;
        registry.register(Box::new(self.partitions.clone()))?;
        registry.register(Box::new(self.anomalies.clone()))?;
        registry.register(Box::new(self.errors.clone()))?;
        registry.register(Box::new(self.backup_success.clone()))?;
        registry.register(Box::new(self.job_last_success.clone()))
    }

    /// Counts what a stored checkpoint holds.
    pub(crate) fn stored(&self, delta: &Delta, dead_letters: usize, took: Duration) {
        for (procedure, outcomes) in EventType::ALL.iter().zip(&delta.events) {
            for (outcome, events) in Outcome::ALL.iter().zip(outcomes).filter(|(_, n)| **n > 0) {
                let labels = [procedure.as_str(), outcome.as_str()];
                self.events.with_label_values(&labels).inc_by(*events);
            }
        }
        for (visited_plmn, attaches) in &delta.attaches {
            let visited_plmn = visited_plmn.to_string();
            for (outcome, events) in Outcome::ALL.iter().zip(attaches.outcomes) {
                let labels = [visited_plmn.as_str(), outcome.as_str()];
                self.attaches.with_label_values(&labels).inc_by(events);
            }
            let latency = self.attach_latency.with_label_values(&[&visited_plmn]);
            for latency_us in &attaches.latencies_us {
                latency.observe(f64::from(*latency_us) / 1e6);
            }
        }
        for (reason, records) in RejectReason::ALL.iter().zip(delta.rejected) {
            self.rejected.with_label_values(&[reason.as_str()]).inc_by(records);
        }
        self.duplicates.inc_by(delta.duplicates);
        self.corrections.inc_by(delta.corrections);
        self.dead_letters.inc_by(dead_letters as u64);
        self.checkpoints.inc();
        self.write_seconds.observe(took.as_secs_f64());
    }

    /// Counts an error; `kind` is one of those registered at start.
    pub(crate) fn error(&self, kind: &'static str) {
        debug_assert!(error_kinds().any(|known| known == kind), "{kind}");
        self.errors.with_label_values(&[kind]).inc();
    }

    /// Says where the lanes of a partition stand.
    pub(crate) fn lanes<'a>(&self, partition: u16, lanes: impl Iterator<Item = &'a LaneRow>) {
        let (mut finished, mut missing) = (0, 0);
        let mut delay = 0;
        let mut run = None;
        for lane in lanes {
            finished += i64::from(lane.is_finished());
            missing += lane.missing();
            // Lanes come run by run; a finished lane holds nothing open.
            let time = lane.emission_time;
            let (first, last) = match run {
                Some((id, first, last)) if id == lane.run => (first, last),
                _ => (None, time),
            };
            let first =
                if lane.is_finished() { first } else { Some(first.map_or(time, |f| time.min(f))) };
            let last = last.max(time);
            delay = delay.max(first.map_or(0, |first| last.since(first).secs()));
            run = Some((lane.run, first, last));
        }
        let label = partition.to_string();
        self.lanes_finished.with_label_values(&[&label]).set(finished);
        self.events_missing.with_label_values(&[&label]).set(missing.cast_signed());
        self.watermark_delay.with_label_values(&[&label]).set(delay.cast_signed());
    }

    /// Says how many records of a partition are not stored yet.
    pub(crate) fn lag(&self, partition: u16, records: u64) {
        self.lag.with_label_values(&[&partition.to_string()]).set(records.cast_signed());
    }

    /// Says where the batch jobs stand.
    pub(crate) fn jobs(&self, jobs: &[JobStanding]) {
        let none: [&str; 0] = [];
        for JobStanding { last, succeeded_ms } in jobs {
            if last.job == BACKUP {
                let success = i64::from(last.outcome == JobOutcome::Done);
                self.backup_success.with_label_values(&none).set(success);
            }
            if let Some(ms) = succeeded_ms {
                let gauge = self.job_last_success.with_label_values(&[&last.job]);
                gauge.set((ms / 1000).cast_signed());
            }
        }
    }

    /// Says how many partitions are being counted.
    pub(crate) fn owned(&self, partitions: usize) {
        self.partitions.set(i64::try_from(partitions).unwrap_or(i64::MAX));
    }

    /// Removes what is said of a partition that another replica has now.
    pub(crate) fn forget(&self, partition: u16) {
        let label = partition.to_string();
        for gauge in [&self.lag, &self.watermark_delay, &self.lanes_finished, &self.events_missing]
        {
            // There may be none: the partition went before it was counted.
            let _ = gauge.remove_label_values(&[&label]);
        }
    }
}

fn counter(name: &str, help: &str) -> prometheus::Result<IntCounter> {
    IntCounter::new(name, help)
}

fn counters(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    IntGaugeVec::new(Opts::new(name, help), labels)
}

/// What was observed since the last checkpoint was taken, not counted yet: a crash before it is stored
/// has it observed again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delta {
    events: [[u64; Outcome::ALL.len()]; EventType::ALL.len()],
    attaches: BTreeMap<PlmnId, Attaches>,
    duplicates: u64,
    corrections: u64,
    rejected: [u64; RejectReason::ALL.len()],
    /// Records of any kind.
    records: u64,
}

/// The registrations in one visited network.
#[derive(Clone, Debug, Default)]
struct Attaches {
    outcomes: [u64; Outcome::ALL.len()],
    latencies_us: Vec<u32>,
}

impl Delta {
    /// Adds a record and what came of it.
    pub(crate) fn add(&mut self, observation: Observation, event: Option<&Event>) {
        self.records += 1;
        match observation {
            Observation::Counted | Observation::Filled | Observation::Jumped => {}
            Observation::Corrected => self.corrections += 1,
            Observation::Duplicate => {
                self.duplicates += 1;
                return;
            }
            Observation::Rejected(reason) => {
                self.rejected[reason as usize] += 1;
                return;
            }
            _ => return,
        }
        let Some(event) = event else { return };
        let procedure = event.body.event_type();
        self.events[procedure as usize][event.outcome as usize] += 1;
        if procedure == EventType::LocationUpdate {
            let attaches = self.attaches.entry(event.visited_plmn).or_default();
            attaches.outcomes[event.outcome as usize] += 1;
            attaches.latencies_us.push(event.latency_us);
        }
    }

    /// Returns how many records are in here.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Adds what a checkpoint that was not written held: the next one has it again.
    pub(crate) fn take_back(&mut self, failed: Self) {
        let newer = std::mem::replace(self, failed);
        for (sums, more) in self.events.iter_mut().flatten().zip(newer.events.iter().flatten()) {
            *sums += more;
        }
        for (sum, more) in self.rejected.iter_mut().zip(newer.rejected) {
            *sum += more;
        }
        for (visited_plmn, more) in newer.attaches {
            let attaches = self.attaches.entry(visited_plmn).or_default();
            for (sum, more) in attaches.outcomes.iter_mut().zip(more.outcomes) {
                *sum += more;
            }
            attaches.latencies_us.extend(more.latencies_us);
        }
        self.duplicates += newer.duplicates;
        self.corrections += newer.corrections;
        self.records += newer.records;
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use roaming_events::schema;
    use roaming_store::JobRun;

    use super::*;

    fn text(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).expect("text")
    }

    #[test]
    fn jobs_are_told_once_they_ran() {
        let registry = Registry::new();
        let metrics = ConsumerMetrics::register(&registry).expect("fresh");
        let told = |registry: &Registry| {
            let all = text(registry);
            let jobs = all.lines().filter(|line| line.contains("job") && !line.starts_with('#'));
            jobs.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(told(&registry), "");
        let standing = |job: &str, outcome, succeeded_ms| JobStanding {
            last: JobRun {
                job: job.to_owned(),
                started_ms: 1,
                ended_ms: 2,
                outcome,
                detail: String::new(),
            },
            succeeded_ms,
        };
        metrics.jobs(&[
            standing("backup", JobOutcome::Failed, Some(5_999)),
            standing("report", JobOutcome::Failed, None),
        ]);
        let expected = "backup_job_success 0\nroaming_job_last_success_timestamp_seconds{batch_job=\"backup\"} 5";
        assert_eq!(told(&registry), expected);
        metrics.jobs(&[standing("backup", JobOutcome::Done, Some(7_000))]);
        assert!(told(&registry).starts_with("backup_job_success 1\n"));
    }

    #[test]
    fn zeros_are_visible_from_the_start() {
        let registry = Registry::new();
        ConsumerMetrics::register(&registry).expect("fresh");
        let text = text(&registry);
        for line in [
            r#"roaming_events_processed_total{outcome="failed",procedure="tap_in"} 0"#,
            r#"roaming_errors_total{kind="store_full"} 0"#,
            "roaming_duplicates_dropped_total 0",
            "roaming_anomalies_total 0",
            "roaming_db_write_seconds_count 0",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn indices_of_labels_are_those_of_the_enumerations() {
        for (index, procedure) in EventType::ALL.iter().enumerate() {
            assert_eq!(*procedure as usize, index);
        }
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
        }
        for (index, reason) in RejectReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }

    #[test]
    fn registrations_count_by_visited_network_with_every_outcome() {
        let registry = Registry::new();
        let metrics = ConsumerMetrics::register(&registry).expect("fresh");
        let visited = "99902".parse().expect("a PLMN");
        let registration = *schema::examples()
            .iter()
            .find(|event| event.body.event_type() == EventType::LocationUpdate)
            .expect("an example of each type");
        let (mut failed, mut newer) = (Delta::default(), Delta::default());
        for (delta, outcome) in [(&mut failed, Outcome::Success), (&mut newer, Outcome::Failed)] {
            let event = Event { visited_plmn: visited, outcome, ..registration };
            delta.add(Observation::Counted, Some(&event));
        }
        newer.take_back(failed);
        metrics.stored(&newer, 0, Duration::ZERO);
        let text = text(&registry);
        for line in [
            r#"roaming_attach_total{outcome="success",visited_plmn="99902"} 1"#,
            r#"roaming_attach_total{outcome="rejected",visited_plmn="99902"} 0"#,
            r#"roaming_attach_total{outcome="failed",visited_plmn="99902"} 1"#,
            r#"roaming_attach_latency_seconds_count{visited_plmn="99902"} 2"#,
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn what_a_failed_checkpoint_held_is_in_the_next_one() {
        let (mut failed, mut newer) = (Delta::default(), Delta::default());
        failed.add(Observation::Duplicate, None);
        newer.add(Observation::Duplicate, None);
        newer.add(Observation::Rejected(RejectReason::UnknownRun), None);
        newer.take_back(failed);
        assert_eq!((newer.duplicates, newer.records()), (2, 3));
        assert_eq!(newer.rejected[RejectReason::UnknownRun as usize], 1);
    }
}
