//! What the producer measures.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

/// Upper bounds of lateness, in seconds: below the first nobody notices, above the last the machine is
/// too slow for the speed.
const LATENESS_BOUNDS: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The producer's metrics.
#[derive(Clone)]
pub struct ProducerMetrics {
    pub(crate) events_acknowledged: IntCounter,
    pub(crate) bytes_acknowledged: IntCounter,
    pub(crate) markers: IntCounter,
    pub(crate) progress_records: IntCounter,
    pub(crate) snapshot_pieces: IntCounter,
    pub(crate) delivery_failures: IntCounter,
    pub(crate) flow_waits: IntCounter,
    pub(crate) records_in_flight: IntGauge,
    pub(crate) lateness: Histogram,
    pub(crate) lanes_owned: IntGauge,
    pub(crate) lanes_finished: IntGauge,
    pub(crate) runs_refused: IntGauge,
    pub(crate) simulated_time: IntGaugeVec,
}

impl ProducerMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// Fails where the registry holds metrics of these names already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let lateness = Histogram::with_opts(
            HistogramOpts::new(
                "roaming_producer_lateness_seconds",
                "How late events leave, by the oldest event of each burst of a lane; paced runs only. Falls with less speed or more replicas.",
            )
            .buckets(LATENESS_BOUNDS.to_vec()),
        )?;
        registry.register(Box::new(lateness.clone()))?;
        let simulated_time = IntGaugeVec::new(
            Opts::new(
                "roaming_producer_simulated_time_seconds",
                "Simulated Unix time that all unfinished lanes of the run owned here have reached. One series a run on roaming.scenarios.",
            ),
            &["run"],
        )?;
        registry.register(Box::new(simulated_time.clone()))?;
        Ok(Self {
            events_acknowledged: counter(
                "roaming_producer_events_acknowledged_total",
                "Events that the broker acknowledged to this process, repeated ones included; end markers, markers and progress not.",
            )?,
            bytes_acknowledged: counter(
                "roaming_producer_acknowledged_bytes_total",
                "Octets of keys and payloads of events and end markers that the broker acknowledged, before compression.",
            )?,
            markers: counter(
                "roaming_producer_markers_total",
                "Markers sent for lanes with nothing to say; none are sent while a lane's events flow.",
            )?,
            progress_records: counter(
                "roaming_producer_progress_records_total",
                "Progress records handed to the client; about one a second for each lane that moves.",
            )?,
            snapshot_pieces: counter(
                "roaming_producer_snapshot_pieces_total",
                "Pieces of snapshots handed to the client: octets are 262144 times that at the most",
            )?,
            delivery_failures: counter(
                "roaming_producer_delivery_failures_total",
                "Clients given up because a record was not delivered; each resumes its lanes from what was acknowledged, so that events repeat and none is lost. Look at the broker.",
            )?,
            flow_waits: counter(
                "roaming_producer_flow_control_waits_total",
                "How often a partition was held because its unread bytes reached the bound. Rises where consumers are slower than the producer.",
            )?,
            records_in_flight: gauge(
                "roaming_producer_records_in_flight",
                "Records handed to the client and not acknowledged yet.",
            )?,
            lateness,
            lanes_owned: gauge(
                "roaming_producer_lanes_owned",
                "Unfinished lanes that this process owns. Moves with rebalances of the group roaming-producer.",
            )?,
            lanes_finished: gauge(
                "roaming_producer_lanes_finished",
                "Finished lanes whose progress this process holds.",
            )?,
            runs_refused: gauge(
                "roaming_producer_runs_refused",
                "Runs on roaming.scenarios that this release cannot simulate; the log says why.",
            )?,
            simulated_time,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_once() {
        let registry = Registry::new();
        ProducerMetrics::register(&registry).expect("first");
        assert!(ProducerMetrics::register(&registry).is_err());
    }
}
