//! The producer as one piece: what it is made of, in the order in which it starts.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use prometheus::Registry;
use roaming_service::backoff::Backoff;
use roaming_service::health::{BindError, Health, HealthServer, Phase};
use roaming_service::kafka::{Broker, ClientError, KafkaSettings};
use roaming_service::shutdown::{ShutdownError, Tasks};
use roaming_service::telemetry::chain;
use roaming_service::topics::{self, KafkaAdmin, TopicError};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Moment;
use crate::config::Config;
use crate::fleet::TopicPartitions;
use crate::metrics::ProducerMetrics;
use crate::observer::Observer;
use crate::sender::{Sender, SenderParts};
use crate::watch::{Committed, Watch};
use crate::{follow, ownership, watch};

/// The part that holds readiness until the topics are found.
const HEALTH_PART: &str = "start";
/// Pauses between attempts to reach the broker.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
/// How long the broker may take to tell the settings of the topics before the lanes go on without.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(5);
/// Commands that may wait for the sender. It takes them between two turns; who has more waits.
const COMMANDS_MAX: usize = 64;

/// A producer that has its port and is ready to run.
pub struct App {
    config: Config,
    server: HealthServer,
    registry: Registry,
    health: Health,
    metrics: ProducerMetrics,
    observer: Observer,
}

impl App {
    /// Binds the port.
    ///
    /// # Errors
    /// Fails where the port is taken.
    pub async fn build(config: Config) -> Result<Self, AppError> {
        let server = HealthServer::bind(config.listen, config.listen_setting).await?;
        info!(address = %server.address(), "serving /metrics, /healthz and /readyz");
        let registry = Registry::new();
        let metrics = ProducerMetrics::register(&registry)?;
        let observer = Observer::new(&metrics);
        Ok(Self { config, server, registry, health: Health::default(), metrics, observer })
    }

    /// Returns the address of `/metrics`.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns a view of the producer, to be kept while it runs.
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Runs until `stop` is cancelled, and then until the lanes are at rest and handed over.
    ///
    /// # Errors
    /// Fails where a part failed, or did not end within the grace period. A broker or topic that is not
    /// there is waited for.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AppError> {
        let Self { config, server, registry, health, metrics, observer } = self;
        let tasks = Tasks::<ClientError>::new(stop);
        // The server ends last, so that `/readyz` shows the stop.
        let served = CancellationToken::new();
        let serving = tokio::spawn(server.serve(
            registry,
            health.clone(),
            Router::new(),
            served.clone().cancelled_owned(),
        ));

        let Some(partitions) = connect(&config.kafka, &health, &tasks.stop_token()).await? else {
            health.enter(Phase::Stopping);
            served.cancel();
            return Ok(());
        };
        let committed = Committed::default();
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let parts = SenderParts {
            kafka: config.kafka.clone(),
            unread_bytes_max: config.unread_bytes_max,
            committed: committed.clone(),
            metrics,
            partitions,
            health: health.clone(),
            observer,
            snapshot_way_max: (config.kafka.broker == Broker::Kafka).then_some(SNAPSHOT_WAY_MAX),
            gate: config.gate,
        };
        let sender = Sender::try_new(parts, Moment::now())?;
        tasks.spawn_thread("sender", move || sender.run(inbox))?;

        let watch = Watch {
            settings: config.kafka.clone(),
            group: config.consumer_group,
            committed,
            partitions,
            commands: commands.clone(),
            health: health.clone(),
        };
        let stop = tasks.stop_token();
        tasks.spawn_thread("watch", move || watch::run(&watch, &stop))?;

        let followed =
            follow::run(config.kafka.clone(), commands.clone(), health.clone(), tasks.stop_token());
        tasks.spawn("scenarios", followed);

        let (settings, stop, member_health) = (config.kafka, tasks.stop_token(), health.clone());
        tasks.spawn_thread("group", move || {
            ownership::run(&settings, &commands, &member_health, &stop)
        })?;

        health.enter(Phase::Running);
        let stopping = tasks.stop_token();
        let health_at_stop = health.clone();
        tokio::spawn(async move {
            stopping.cancelled().await;
            health_at_stop.enter(Phase::Stopping);
        });
        let ended = tasks.wait(config.grace).await;
        if ended.is_err() {
            health.enter(Phase::Failed);
        }
        served.cancel();
        // The answers that are being written end by themselves, or with the process.
        drop(serving);
        Ok(ended?)
    }
}

/// After how many events a lane of few subscribers gets a snapshot: the engine goes through them in 30 ms. The
/// embedded broker, which keeps few octets, would keep snapshots in place of progress.
const SNAPSHOT_WAY_MAX: u64 = 100_000;

/// Topics that the producer's promises rest on.
const TOPICS: [&str; 3] = [topics::EVENTS, topics::LANES, topics::SCENARIOS];

/// Looks at the settings of the topics, where this client may see them.
async fn check_settings(kafka: &KafkaSettings) -> Result<(), StartError> {
    // The embedded broker's topics have no settings.
    if kafka.broker == Broker::Embedded {
        return Ok(());
    }
    let used: Vec<_> =
        topics::all(1, 1).into_iter().filter(|topic| TOPICS.contains(&topic.name)).collect();
    let admin = KafkaAdmin::try_new(kafka)?;
    // It may lack the right, and not every broker with Kafka's protocol tells settings.
    let go_on = |error: &(dyn Error + 'static)| {
        warn!(error = chain(error), "the settings of the topics are not known, going on");
        Ok(())
    };
    let faults = match tokio::time::timeout(SETTINGS_TIMEOUT, admin.inspect(&used)).await {
        Ok(Ok(faults)) => faults,
        Ok(Err(error)) => return go_on(&error),
        Err(late) => return go_on(&late),
    };
    // What only survives less is for `topics check` to tell; it lets the lanes go on.
    let unsafe_ones = faults.iter().filter(|fault| !matches!(fault, TopicError::Replicas { .. }));
    let reasons: Vec<_> = unsafe_ones.map(|fault| chain(fault)).collect();
    if reasons.is_empty() { Ok(()) } else { Err(StartError::Unsafe { reasons }) }
}

/// Why the producer has not started yet.
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// It could not ask.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The topics do not keep what they are given.
    #[error("the topics are not safe: {}", reasons.join("; "))]
    Unsafe { reasons: Vec<String> },
}

/// Waits until the broker answers and has the topics, with safe settings; `None` where `stop` came first.
///
/// Daemons, brokers and whoever makes the topics start in any order.
async fn connect(
    settings: &KafkaSettings,
    health: &Health,
    stop: &CancellationToken,
) -> Result<Option<TopicPartitions>, ClientError> {
    health.hold(HEALTH_PART, "asking the broker for the first time");
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
    loop {
        let (kafka, runtime) = (settings.clone(), Handle::current());
        let look = move || -> Result<TopicPartitions, StartError> {
            let found = TopicPartitions {
                events: topics::partitions(&kafka, topics::EVENTS)?,
                lanes: topics::partitions(&kafka, topics::LANES)?,
            };
            runtime.block_on(check_settings(&kafka))?;
            Ok(found)
        };
        let looked = tokio::select! {
            looked = tokio::task::spawn_blocking(look) => looked,
            () = stop.cancelled() => return Ok(None),
        };
        match looked.expect("asking for metadata does not panic") {
            Ok(found) => {
                let TopicPartitions { events, lanes } = found;
                info!(brokers = settings.bootstrap_servers, events, lanes, "topics found");
                health.release(HEALTH_PART);
                return Ok(Some(found));
            }
            Err(StartError::Client(error)) if error.is_denial() => return Err(error),
            Err(error) => {
                let pause = backoff.pause();
                health.hold(HEALTH_PART, chain(&error));
                warn!(error = chain(&error), ?pause, "not started yet, trying again after a pause");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return Ok(None),
                }
            }
        }
    }
}

/// Why the producer did not run, or not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// The port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The broker does not let this client in, or the client library refuses the settings.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Two metrics have one name.
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The system gives no thread.
    #[error("a thread cannot be started")]
    Thread(#[from] std::io::Error),
    /// A part failed or hung.
    #[error(transparent)]
    Shutdown(#[from] ShutdownError<ClientError>),
}
