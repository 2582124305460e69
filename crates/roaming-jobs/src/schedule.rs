//! The jobs by the clock, for where nothing else starts them: a daemon that does what is due.
//!
//! What is due it reads from the store, so that neither a restart nor a job that somebody started by hand
//! makes it do anything twice. One at a time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use prometheus::Registry;
use roaming_service::health::{BindError, Health, HealthServer, Phase};
use roaming_service::shutdown::{ShutdownError, Tasks};
use roaming_service::telemetry::chain;
use roaming_store::{JobOutcome, JobStanding, PostgresOptions, PostgresStore, Store, StoreError};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::due::due;
use crate::metrics::JobMetrics;
use crate::moment::Moment;
use crate::{Done, Job, JobError};

/// Time between two looks at the store.
const INTERVAL: Duration = Duration::from_secs(10);

/// Time that a job gets when the daemon is asked to stop; then it is given up, and nothing of it counts.
const GRACE: Duration = Duration::from_secs(20);

/// The part that holds readiness while the store cannot be read.
const HEALTH_STORE: &str = "store";

/// Does jobs and writes into the store what became of them.
pub trait Worker: Send + Sync + 'static {
    /// Returns the jobs that are to be done by the clock, in the order in which they are done where several are
    /// due.
    fn jobs(&self) -> Vec<Job>;

    /// Does a job. Called for one job at a time.
    fn work(&self, job: Job) -> impl Future<Output = Result<Done, JobError>> + Send;
}

/// A schedule whose port is bound.
pub struct Schedule<W> {
    server: HealthServer,
    options: PostgresOptions,
    worker: W,
    health: Health,
}

impl<W: Worker> Schedule<W> {
    /// Binds the port of `/metrics`, `/healthz` and `/readyz`.
    ///
    /// # Errors
    /// Fails where it is taken.
    pub async fn bind(
        listen: SocketAddr,
        options: PostgresOptions,
        worker: W,
    ) -> Result<Self, ScheduleError> {
        let server = HealthServer::bind(listen, "--listen or ROAMING_JOBS_LISTEN").await?;
        info!(address = %server.address(), "metrics are served");
        Ok(Self { server, options, worker, health: Health::default() })
    }

    /// Returns where metrics and health checks are served.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Does what is due until `stop` is cancelled. A store that is away, or not made yet, is waited for.
    ///
    /// # Errors
    /// Fails where a task does.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ScheduleError> {
        let Self { server, options, worker, health } = self;
        let registry = Registry::new();
        let metrics = JobMetrics::register(&registry, &worker.jobs())
            .expect("the names of the metrics are distinct and the registry is new");
        let tasks = Tasks::new(stop.clone());
        let stopped = stop.clone().cancelled_owned();
        let served = server.serve(registry, health.clone(), Router::new(), stopped);
        tasks.spawn("metrics", async { served.await.map_err(ScheduleError::Serve) });
        health.enter(Phase::Running);
        health.hold(HEALTH_STORE, "was not read yet");
        let (jobs_stop, jobs_health) = (stop.clone(), health.clone());
        tasks.spawn("jobs", async move {
            tokio::select! {
                () = jobs_stop.cancelled() => {}
                () = look(&options, &worker, &metrics, &jobs_health) => {}
            }
            Ok(())
        });
        let result = tasks.wait(GRACE).await;
        health.enter(if result.is_ok() { Phase::Stopping } else { Phase::Failed });
        result.map_err(|error| ScheduleError::Tasks(Box::new(error)))
    }
}

/// Does what is due, for ever.
async fn look(
    options: &PostgresOptions,
    worker: &impl Worker,
    metrics: &JobMetrics,
    health: &Health,
) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match standings(options).await {
            Ok(standings) => {
                health.release(HEALTH_STORE);
                for job in due(&worker.jobs(), &standings, Moment::now()) {
                    perform(job, worker, metrics).await;
                }
            }
            Err(error) => health.hold(HEALTH_STORE, chain(&error)),
        }
    }
}

async fn standings(options: &PostgresOptions) -> Result<Vec<JobStanding>, StoreError> {
    let store = PostgresStore::open_existing(options.clone()).await?;
    let standings = store.jobs().await;
    store.close().await;
    standings
}

async fn perform(job: Job, worker: &impl Worker, metrics: &JobMetrics) {
    let began = Instant::now();
    let result = worker.work(job).await;
    let took = began.elapsed();
    match result {
        Ok(done) => {
            metrics.ended(job, JobOutcome::Done, took);
            info!(%job, ?took, detail = %done, "job done");
        }
        Err(error) => {
            metrics.ended(job, JobOutcome::Failed, took);
            error!(%job, ?took, error = chain(&error), "job failed, trying again later");
        }
    }
}

/// Why the schedule ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The port cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The socket failed.
    #[error("the listening socket failed")]
    Serve(#[source] std::io::Error),
    /// A task failed or hung.
    #[error(transparent)]
    Tasks(Box<ShutdownError<ScheduleError>>),
}
