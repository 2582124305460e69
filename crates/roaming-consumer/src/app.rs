//! The daemon, put together.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use prometheus::Registry;
use roaming_service::backoff::Backoff;
use roaming_service::health::{Health, HealthServer, Phase};
use roaming_service::kafka::ClientError;
use roaming_service::shutdown::{ShutdownError, Tasks};
use roaming_service::telemetry::chain;
use roaming_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::desk::JobError;
use crate::group::KafkaGroup;
use crate::intake::{Intake, IntakeParts};
use crate::observer::Observer;
use crate::runs::Runs;
use crate::service_desk::ServiceDesk;
use crate::{Config, ConsumerError, ConsumerMetrics, jobs, page};

/// Pauses between attempts to reach the broker and the store.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
/// The part that holds readiness until broker and store have answered.
const HEALTH_START: &str = "start";
/// The part that holds readiness while the control topic cannot be followed.
const HEALTH_SCENARIOS: &str = "scenarios";

/// A consumer whose port is bound and whose store is not open yet: a taken port leaves no empty store behind.
pub struct Bound {
    config: Config,
    server: HealthServer,
}

impl Bound {
    /// Checks the settings and binds the port.
    ///
    /// # Errors
    /// Fails where a setting cannot be used or the port is taken.
    pub async fn bind(config: Config) -> Result<Self, ConsumerError> {
        config.validate()?;
        let server = HealthServer::bind(config.listen, "--listen or ROAMING_LISTEN").await?;
        Ok(Self { config, server })
    }
}

/// One consumer: its port is bound, its store is open, and nothing is read yet.
pub struct App<S> {
    config: Config,
    store: Arc<S>,
    server: HealthServer,
    registry: Registry,
    metrics: ConsumerMetrics,
    health: Health,
    owned: watch::Sender<usize>,
}

impl<S: Store> App<S> {
    /// Checks the settings, binds the port and registers the metrics.
    ///
    /// # Errors
    /// Fails where a setting cannot be used or the port is taken.
    pub async fn build(config: Config, store: S) -> Result<Self, ConsumerError> {
        Ok(Self::on(Bound::bind(config).await?, store))
    }

    /// Registers the metrics.
    pub fn on(bound: Bound, store: S) -> Self {
        let Bound { config, server } = bound;
        let registry = Registry::new();
        let metrics = ConsumerMetrics::register(&registry)
            .expect("the names of the metrics are distinct and the registry is new");
        info!(address = %server.address(), owner = config.owner, "page and metrics are served");
        Self {
            config,
            store: Arc::new(store),
            server,
            registry,
            metrics,
            health: Health::default(),
            owned: watch::Sender::new(0),
        }
    }

    /// Returns where the page, the metrics and the health checks are served.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns what `/readyz` says; clones share it.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Returns how many partitions are being counted, as it changes.
    pub fn owned(&self) -> watch::Receiver<usize> {
        self.owned.subscribe()
    }

    /// Counts until `stop` is cancelled, then stores what is open and leaves the group.
    ///
    /// # Errors
    /// Fails where a person must act: the error says what to do. A broker or store that is away is waited
    /// for.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ConsumerError> {
        let tasks = Tasks::new(stop.clone());
        let grace = self.config.grace;
        let health = self.health.clone();
        let result = match self.start(&tasks, &stop).await {
            Ok(()) => tasks.wait(grace).await.map_err(explain),
            Err(error) => {
                stop.cancel();
                // What failed first is the reason; that the rest ends is not worth a second one.
                let _ = tasks.wait(grace).await;
                Err(error)
            }
        };
        health.enter(if result.is_ok() { Phase::Stopping } else { Phase::Failed });
        result
    }

    async fn start(
        self,
        tasks: &Tasks<ConsumerError>,
        stop: &CancellationToken,
    ) -> Result<(), ConsumerError> {
        let Self { config, store, server, registry, metrics, health, owned } = self;
        let runs = Arc::new(Runs::new(Arc::clone(&store), config.kafka.clone(), metrics.clone()));
        let observer = Arc::new(Observer::new(
            Arc::clone(&store),
            Arc::clone(&runs),
            config.window,
            metrics.clone(),
        ));

        let pages = page::router(Arc::clone(&observer), health.clone(), config.owner.clone());
        let served = server.serve(registry, health.clone(), pages, stop.clone().cancelled_owned());
        tasks.spawn("page", async { served.await.map_err(ConsumerError::Serve) });

        health.hold(HEALTH_START, "asking broker and store for the first time");
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
        loop {
            let connected = stop.run_until_cancelled(connect(&config, &*store, &runs)).await;
            let error = match connected {
                None => return Ok(()),
                Some(Ok(())) => break,
                Some(Err(error)) => error,
            };
            let pause = backoff.pause();
            let error = match error {
                // Who is refused at the start has other credentials than meant. A right that is lost
                // later may be given back.
                JobError::Client(error) if error.is_denial() => return Err(error.into()),
                error => error.waitable()?,
            };
            health.hold(HEALTH_START, chain(&error));
            warn!(error = chain(&error), ?pause, "not started yet, trying again after a pause");
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
        health.release(HEALTH_START);

        let watched = jobs::watch(Arc::clone(&store), metrics.clone());
        let jobs_stop = stop.clone();
        tasks.spawn("jobs", async move {
            tokio::select! {
                () = jobs_stop.cancelled() => {}
                () = watched => {}
            }
            Ok(())
        });

        let (sender, answers) = mpsc::channel();
        let desk = ServiceDesk::open(
            &config.kafka,
            store,
            Arc::clone(&runs),
            config.owner.clone(),
            sender,
        )?;
        let intake = Intake::new(IntakeParts {
            group: KafkaGroup::join(&config.kafka)?,
            config,
            desk,
            answers,
            runs: runs.known().clone(),
            metrics: metrics.clone(),
            health: health.clone(),
            owned,
        });
        let intake_stop = stop.clone();
        let intake_health = health.clone();
        tasks
            .spawn_thread("intake", move || {
                let result = intake.run(&intake_stop);
                if result.is_ok() {
                    intake_health.enter(Phase::Stopping);
                }
                result
            })
            .map_err(ConsumerError::Thread)?;

        let followed = follow(runs, metrics, health.clone());
        let follow_stop = stop.clone();
        tasks.spawn("control", async move {
            tokio::select! {
                () = follow_stop.cancelled() => {}
                () = followed => {}
            }
            Ok(())
        });
        let observer_stop = stop.clone();
        tasks.spawn("observer", async move {
            tokio::select! {
                () = observer_stop.cancelled() => {}
                () = observer.watch() => {}
            }
            Ok(())
        });
        health.enter(Phase::Running);
        Ok(())
    }
}

/// Ties the store to the log, and learns the runs.
pub(crate) async fn connect<S: Store>(
    config: &Config,
    store: &S,
    runs: &Runs<S>,
) -> Result<(), JobError> {
    store.bind_window(config.window).await?;
    let token = runs.token().await?.ok_or(ClientError::NoToken)?;
    store.bind_log(&token.to_string()).await?;
    runs.recall().await?;
    runs.refresh().await?;
    Ok(())
}

/// Follows the control topic for as long as the consumer runs, and says in `/readyz` where it cannot.
async fn follow<S: Store>(runs: Arc<Runs<S>>, metrics: ConsumerMetrics, health: Health) {
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
    while let Err(error) = runs.follow(|| health.release(HEALTH_SCENARIOS)).await {
        let error = JobError::from(error);
        metrics.error(error.kind());
        let pause = backoff.pause();
        health.hold(HEALTH_SCENARIOS, chain(&error));
        warn!(
            error = chain(&error),
            ?pause,
            "roaming.scenarios not followed, trying again after a pause"
        );
        tokio::time::sleep(pause).await;
    }
}

/// Returns the reason of an end as an error of the consumer.
fn explain(error: ShutdownError<ConsumerError>) -> ConsumerError {
    match error {
        ShutdownError::Failed(failure) => {
            let task = failure.task;
            failure.into_error().unwrap_or(ConsumerError::Panicked { task })
        }
        hung => ConsumerError::Hung(Box::new(hung)),
    }
}
