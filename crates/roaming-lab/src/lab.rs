//! One run, from its profile to its balance.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use roaming_consumer::verify::{Verification, verify};
use roaming_consumer::{App as Consumer, Bound, Config as ConsumerConfig};
use roaming_producer::commands::{LoadArgs, load};
use roaming_producer::{App as Producer, Config as ProducerConfig, Observer};
use roaming_service::kafka::KafkaSettings;
use roaming_service::topics::{self, PARTITIONS, TopicAdmin};
use roaming_service::{Exit, control};
use roaming_store::{RunRow, SqliteStore, Store};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::progress::{Display, Shown, per_mille, per_second};
use crate::stall::{Gate, Stalling};
use crate::{EmbeddedBroker, LabError};

/// Pause between two looks at the store.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// File of the store in the run's folder.
const STORE_FILE: &str = "roaming.db";

/// What a lab can be told.
#[derive(Clone, Debug)]
pub struct LabConfig {
    /// Where the page is served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the producer's metrics are served.
    pub producer_listen: SocketAddr,
    /// Folder of the run.
    pub dir: PathBuf,
    /// How long the consumer's commits are held up in the middle of the run, if at all.
    pub stall: Option<Duration>,
}

/// A broker, a store and both daemons, of which the consumer owns every partition.
pub struct Lab {
    broker: EmbeddedBroker,
    store: SqliteStore,
    commits: watch::Sender<Gate>,
    stall: Option<Duration>,
    page: SocketAddr,
    observer: Observer,
    stop: CancellationToken,
    daemons: JoinSet<Result<(), LabError>>,
}

/// What came of a run.
pub struct Report {
    /// The balance.
    pub verification: Verification,
    /// Events that the broker acknowledged to this process.
    pub accepted: u64,
    /// From the load of the scenario to the last lane's end in the store.
    pub took: Duration,
    /// The store, for whoever wants to look.
    pub store: PathBuf,
}

impl Lab {
    /// Starts everything; returns when the consumer owns every partition.
    ///
    /// # Errors
    /// Fails where a port is taken, the store cannot be opened, or a part ends before it is ready.
    pub async fn start(config: LabConfig, stop: CancellationToken) -> Result<Self, LabError> {
        std::fs::create_dir_all(&config.dir)
            .map_err(|source| LabError::Folder { path: config.dir.clone(), source })?;
        let broker = EmbeddedBroker::start()?;
        let kafka = broker.settings();
        let consumer_config = ConsumerConfig {
            owner: "lab".to_owned(),
            ..ConsumerConfig::new(kafka.clone(), config.listen)
        };
        let bound = Bound::bind(consumer_config).await?;
        let store = SqliteStore::open(config.dir.join(STORE_FILE)).await?;
        broker.ensure(&topics::all(PARTITIONS, PARTITIONS)).await?;
        control::ensure_token(&kafka).await?;

        let (commits, gate) = watch::channel(Gate::Open);
        let stalling = Stalling::new(store.clone(), gate);
        let consumer = Consumer::on(bound, stalling);
        let page = consumer.address();
        let owned = consumer.owned();
        let (ready, gate) = watch::channel(false);
        let producer =
            Producer::build(producer_config(kafka, config.producer_listen, gate)).await?;
        let observer = producer.observer();

        let mut daemons = JoinSet::new();
        // A daemon that fails cancels its own token: the other one, and the reason, must outlive it.
        let (consume, produce) = (stop.child_token(), stop.child_token());
        daemons.spawn(async move { Ok(consumer.run(consume).await?) });
        daemons.spawn(async move { Ok(producer.run(produce).await?) });
        let mut lab =
            Self { broker, store, commits, stall: config.stall, page, observer, daemons, stop };
        lab.wait_for_consumer(owned).await?;
        // The producer has gone only where it failed, which `run` reports.
        let _ = ready.send(true);
        Ok(lab)
    }

    /// Returns where the live page is.
    pub fn page(&self) -> SocketAddr {
        self.page
    }

    /// Returns the settings with which other clients reach the broker.
    pub fn kafka(&self) -> KafkaSettings {
        self.broker.settings()
    }

    /// Loads a scenario, watches it to its end and draws up the balance.
    ///
    /// # Errors
    /// Fails where the scenario cannot be loaded, a part ends early, or the stop token is cancelled.
    pub async fn run(&mut self, scenario: &LoadArgs) -> Result<Report, LabError> {
        load(&self.kafka(), scenario, &mut std::io::stdout()).await?;
        let began = Instant::now();
        let run = self.watch(began).await?;
        let took = began.elapsed();
        let verification = verify(&self.store, &run).await?;
        Ok(Report {
            verification,
            accepted: self.observer.events_acknowledged(),
            took,
            store: self.store.path().to_owned(),
        })
    }

    /// Stops both daemons, and returns what went wrong with either.
    ///
    /// # Errors
    /// Fails where one of them did not end well.
    pub async fn stop(mut self) -> Result<(), LabError> {
        self.stop.cancel();
        let mut result = Ok(());
        while let Some(ended) = self.daemons.join_next().await {
            result = result.and(ended.unwrap_or(Err(LabError::Panicked)));
        }
        self.store.close().await;
        result
    }

    async fn wait_for_consumer(
        &mut self,
        mut owned: watch::Receiver<usize>,
    ) -> Result<(), LabError> {
        tokio::select! {
            // The channel closes where the consumer has ended; the other branch says why.
            Ok(_) = owned.wait_for(|owned| *owned == usize::from(PARTITIONS)) => Ok(()),
            ended = ended(&mut self.daemons) => Err(ended),
            () = self.stop.cancelled() => Err(LabError::Interrupted),
        }
    }

    /// Looks at the store until every lane is finished there.
    async fn watch(&mut self, began: Instant) -> Result<RunRow, LabError> {
        let mut display = Display::new(began);
        let mut pending_stall = self.stall;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                ended = ended(&mut self.daemons) => return Err(ended),
                () = self.stop.cancelled() => return Err(LabError::Interrupted),
            }
            let Some(run) = self.store.runs().await?.pop() else { continue };
            let progress = self.store.progress(run.run).await?;
            let accepted = self.observer.events_acknowledged();
            display.show(&Shown { run: &run, progress: &progress, accepted });
            let finished = progress.lanes.iter().filter(|lane| lane.is_finished()).count();
            if finished == usize::from(run.lanes) {
                display.clear();
                return Ok(run);
            }
            if per_mille(&run, &progress, finished) >= 500
                && let Some(stall) = pending_stall.take()
            {
                display.say(&format!("the consumer stands still for {} s", stall.as_secs_f32()));
                self.hold_commits(stall);
            }
        }
    }

    /// Shuts the gate of the store's commits for a time.
    fn hold_commits(&self, time: Duration) {
        let commits = self.commits.clone();
        let stop = self.stop.clone();
        tokio::spawn(async move {
            commits.send_replace(Gate::Shut);
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = stop.cancelled() => {}
            }
            commits.send_replace(Gate::Open);
        });
    }
}

/// Returns why one of the daemons ended.
async fn ended(daemons: &mut JoinSet<Result<(), LabError>>) -> LabError {
    match daemons.join_next().await {
        Some(Ok(Err(error))) => error,
        Some(Ok(Ok(()))) | None => LabError::Interrupted,
        Some(Err(_)) => LabError::Panicked,
    }
}

fn producer_config(
    kafka: KafkaSettings,
    listen: SocketAddr,
    gate: watch::Receiver<bool>,
) -> ProducerConfig {
    ProducerConfig {
        listen,
        listen_setting: "--producer-listen or ROAMING_PRODUCER_LISTEN",
        gate: Some(gate),
        ..ProducerConfig::new(kafka)
    }
}

impl Report {
    /// Returns the status to end with.
    pub fn exit(&self) -> Exit {
        if self.verification.holds() { Exit::Done } else { Exit::Unbalanced }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sums = self.verification.balance.sums();
        let rate = per_second(sums.found.events, self.took);
        write!(f, "{}", self.verification)?;
        writeln!(f)?;
        writeln!(
            f,
            "accepted by the broker  {:>12} events from this process",
            HumanCount(self.accepted).to_string()
        )?;
        writeln!(
            f,
            "counted in the store    {:>12} events",
            HumanCount(sums.found.events).to_string()
        )?;
        writeln!(f, "duplicates dropped      {:>12}", HumanCount(sums.duplicates).to_string())?;
        writeln!(f, "gaps                    {:>12}", sums.gaps)?;
        writeln!(f, "lanes finished          {:>12} of {}", sums.lanes_finished, sums.lanes)?;
        writeln!(
            f,
            "time                    {:>10.1} s, {} events/s",
            self.took.as_secs_f64(),
            HumanCount(rate)
        )?;
        write!(f, "store                   {}", self.store.display())
    }
}
