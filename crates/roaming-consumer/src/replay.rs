//! Counts the log as it stands now into a store of its own, beside the group and without a word to it.
//!
//! Dead letters are written again, under the same keys: a topic that is compacted has each once.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use prometheus::Registry;
use roaming_service::health::Health;
use roaming_service::topics;
use roaming_store::Store;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::app::connect;
use crate::desk::{Ends, JobError};
use crate::group::KafkaGroup;
use crate::intake::{Intake, IntakeParts};
use crate::runs::Runs;
use crate::service_desk::{LogEnds, ServiceDesk};
use crate::{Config, ConsumerError, ConsumerMetrics};

/// How often it is told how far the replay is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Where a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReplayFrom {
    /// The first record that the log keeps; the store must be fresh
    Beginning,
    /// What the store has counted, to go on with a replay that was stopped
    Stored,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Partitions of the log.
    pub partitions: u16,
    /// Records that are counted and stored, of those that stood in the log when it began.
    pub records: u64,
    /// How many those are.
    pub records_wanted: u64,
}

/// Counts what stands in the log when it is called, and returns how much that was; before that where `stop` is
/// cancelled. Calls `progress` now and then.
///
/// # Errors
/// Fails where the store is not fresh and should be, or broker or store cannot be used.
pub async fn replay(
    config: Config,
    store: impl Store,
    from: ReplayFrom,
    stop: CancellationToken,
    progress: impl Fn(Replayed) + Send + 'static,
) -> Result<Replayed, ConsumerError> {
    let metrics = ConsumerMetrics::register(&Registry::new())
        .expect("the names of the metrics are distinct and the registry is new");
    let store = Arc::new(store);
    let runs = Arc::new(Runs::new(Arc::clone(&store), config.kafka.clone(), metrics.clone()));
    connect(&config, &*store, &runs).await.map_err(ended_by)?;
    if from == ReplayFrom::Beginning {
        check_fresh(&*store).await?;
    }
    let settings = config.kafka.clone();
    let ends = spawn_blocking(move || ends_of_all(&LogEnds::open(&settings)?));
    let ends = ends.await.expect("asking for offsets does not panic")?;
    let (sender, answers) = mpsc::channel();
    let intake = Intake::new(IntakeParts {
        group: KafkaGroup::whole(&config.kafka, ends.len() as u16)?,
        desk: ServiceDesk::open(
            &config.kafka,
            store,
            Arc::clone(&runs),
            config.owner.clone(),
            sender,
        )?,
        config,
        answers,
        runs: runs.known().clone(),
        metrics,
        health: Health::default(),
        owned: watch::Sender::new(0),
    });
    let counted = spawn_blocking(move || {
        let (mut last, mut told) = (how_far(&ends, |_| None), Instant::now());
        intake.run_until(|intake| {
            last = how_far(&ends, |partition| intake.stored(partition));
            if told.elapsed() > PROGRESS_INTERVAL {
                told = Instant::now();
                progress(last);
            }
            last.records == last.records_wanted || stop.is_cancelled()
        })?;
        Ok(last)
    });
    counted.await.expect("counting does not panic")
}

/// Checks that nothing was counted into a store. Asked of the store's runs, so that a consumer which counts
/// into it is not disturbed.
async fn check_fresh(store: &impl Store) -> Result<(), ConsumerError> {
    for run in store.runs().await? {
        if !store.progress(run.run).await?.lanes.is_empty() {
            return Err(ConsumerError::NotFresh { run: run.name });
        }
    }
    Ok(())
}

fn ends_of_all(log: &LogEnds) -> Result<BTreeMap<u16, Ends>, ConsumerError> {
    let settings = log.settings();
    let ends = (0..topics::partitions(settings, topics::EVENTS)?).map(|partition| {
        let ends = log
            .of(partition)
            .map_err(|source| settings.explain("ask where a partition begins and ends", source))?;
        Ok((partition, ends))
    });
    ends.collect()
}

fn how_far(ends: &BTreeMap<u16, Ends>, stored: impl Fn(u16) -> Option<u64>) -> Replayed {
    let records = ends.iter().map(|(partition, Ends { low, high })| {
        stored(*partition).unwrap_or_default().clamp(*low, *high) - low
    });
    Replayed {
        partitions: ends.len() as u16,
        records: records.sum(),
        records_wanted: ends.values().map(|ends| ends.high - ends.low).sum(),
    }
}

/// Waiting is for daemons.
fn ended_by(error: JobError) -> ConsumerError {
    match error {
        JobError::Store(error) => error.into(),
        JobError::Client(error) | JobError::DeadLetters(error) => error.into(),
    }
}
