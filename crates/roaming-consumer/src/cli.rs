//! The command line.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use roaming_events::SimDuration;
use roaming_service::Exit;
use roaming_service::kafka::{KafkaArgs, SecurityError};
use roaming_service::shutdown::stop_on_signal;
use roaming_service::telemetry::{TelemetryArgs, chain};
use roaming_store::{PostgresOptions, PostgresStore, RunRow, SqliteStore, Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::error::store_exit;
use crate::verify::{VerifyError, find_run, verify};
use crate::{App, Config, ConsumerError};

/// Counts roaming events exactly once, and proves it
#[derive(Debug, Parser)]
#[command(name = "roaming-consumer", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Consume, count, and serve the page (the default)
    Run(RunArgs),
    /// Compare a run with its ledger: status 0 where it balances, 2 where it does not
    Verify(VerifyArgs),
    /// List the runs in the store
    Runs(StoreArgs),
}

#[derive(Clone, Debug, Args)]
struct StoreArgs {
    /// File of the store
    #[arg(long, env = "ROAMING_STORE", default_value = "roaming.db")]
    store: PathBuf,
    /// Database of the store, in place of a file: `postgres://role:password@host:5432/database`
    #[arg(long, env = "POSTGRES_DSN", hide_env_values = true)]
    postgres_dsn: Option<String>,
}

/// Where the store is.
enum Place<'a> {
    File(&'a Path),
    Postgres(PostgresOptions),
}

impl StoreArgs {
    fn place(&self) -> Result<Place<'_>, StoreError> {
        match &self.postgres_dsn {
            Some(dsn) => Ok(Place::Postgres(dsn.parse()?)),
            None => Ok(Place::File(&self.store)),
        }
    }
}

#[derive(Clone, Debug, Args)]
struct VerifyArgs {
    /// Name of the run; the last that was loaded under it
    #[arg(long)]
    run: String,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Clone, Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// Address of the page, the metrics and the health checks
    #[arg(long, env = "ROAMING_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], Config::PORT)))]
    listen: SocketAddr,
    /// Length of an aggregate window, in simulated minutes; fixed for the life of a store
    #[arg(long, env = "ROAMING_WINDOW_MINUTES", default_value_t = Config::WINDOW_MINUTES)]
    window_minutes: u16,
    /// Milliseconds between two checkpoints of a partition
    #[arg(long, env = "ROAMING_FLUSH_INTERVAL_MS", default_value_t = Config::FLUSH_INTERVAL_MS)]
    flush_interval_ms: u16,
}

impl RunArgs {
    fn config(&self) -> Result<Config, SecurityError> {
        let mut config = Config::new(self.kafka.settings()?, self.listen);
        config.window = SimDuration::from_secs(u64::from(self.window_minutes) * 60);
        config.flush_interval = Duration::from_millis(u64::from(self.flush_interval_ms));
        Ok(config)
    }
}

impl Cli {
    /// Reads the process's arguments; prints help, or what is wrong with them, and returns how to end.
    ///
    /// # Errors
    /// Returns [`Exit::Done`] after help and version, [`Exit::Usage`] after wrong arguments.
    pub fn read() -> Result<Self, Exit> {
        Self::try_parse().map_err(|error| {
            // Standard error may be closed; the status says it all the same.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Done }
        })
    }

    /// Returns how this process logs.
    pub fn telemetry(&self) -> &TelemetryArgs {
        &self.telemetry
    }

    /// Does what was asked for.
    pub async fn execute(self) -> Exit {
        match self.command {
            None => daemon(&self.run).await,
            Some(Command::Run(run)) => daemon(&run).await,
            Some(Command::Verify(args)) => print_balance(&args).await,
            Some(Command::Runs(args)) => print_runs(&args).await,
        }
    }
}

async fn daemon(args: &RunArgs) -> Exit {
    info!(version = env!("CARGO_PKG_VERSION"), "roaming-consumer");
    match consume(args).await {
        Ok(()) => Exit::Done,
        Err(error) => {
            error!(error = chain(&error), "consumer ended");
            failed(&error, error.exit())
        }
    }
}

async fn consume(args: &RunArgs) -> Result<(), ConsumerError> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone()).map_err(ConsumerError::Thread)?;
    let config = args.config()?;
    config.validate()?;
    match args.store.place()? {
        Place::File(path) => count(config, SqliteStore::open(path).await?, stop).await,
        // A server that is away is waited for, like the broker, once readiness can say so.
        Place::Postgres(options) => count(config, PostgresStore::new(options), stop).await,
    }
}

async fn count(
    config: Config,
    store: impl Store + Clone,
    stop: CancellationToken,
) -> Result<(), ConsumerError> {
    let result = match App::build(config, store.clone()).await {
        Ok(app) => app.run(stop).await,
        Err(error) => Err(error),
    };
    store.close().await;
    result
}

async fn print_balance(args: &VerifyArgs) -> Exit {
    match balance(args).await {
        Ok((sheet, exit)) => print(&sheet, exit),
        Err(error) => {
            let exit = match &error {
                VerifyError::UnknownRun { .. } => Exit::Usage,
                VerifyError::Store(error) => store_exit(error),
                _ => Exit::Failed,
            };
            failed(&error, exit)
        }
    }
}

async fn balance(args: &VerifyArgs) -> Result<(String, Exit), VerifyError> {
    match args.store.place()? {
        Place::File(path) => balance_in(SqliteStore::open_existing(path).await?, &args.run).await,
        Place::Postgres(options) => {
            balance_in(PostgresStore::open_existing(options).await?, &args.run).await
        }
    }
}

async fn balance_in(store: impl Store, name: &str) -> Result<(String, Exit), VerifyError> {
    let result = async {
        let run = find_run(&store, name).await?;
        let verification = verify(&store, &run).await?;
        Ok::<_, VerifyError>((run, verification))
    }
    .await;
    store.close().await;
    let (run, verification) = result?;
    let exit = if verification.holds() { Exit::Done } else { Exit::Unbalanced };
    Ok((format!("run {} ({})\n{verification}", run.name, run.run), exit))
}

async fn print_runs(args: &StoreArgs) -> Exit {
    match runs(args).await {
        Ok(list) => print(&list, Exit::Done),
        Err(error) => failed(&error, store_exit(&error)),
    }
}

async fn runs(args: &StoreArgs) -> Result<String, StoreError> {
    match args.place()? {
        Place::File(path) => runs_in(SqliteStore::open_existing(path).await?).await,
        Place::Postgres(options) => runs_in(PostgresStore::open_existing(options).await?).await,
    }
}

async fn runs_in(store: impl Store) -> Result<String, StoreError> {
    let list = list(&store).await;
    store.close().await;
    list
}

async fn list(store: &impl Store) -> Result<String, StoreError> {
    let mut list = format!(
        "{:20} {:16} {:8} {:>9} {:>14}  {}\n",
        "name", "run", "state", "lanes", "events", "counted up to"
    );
    for run in store.runs().await? {
        let progress = store.progress(run.run).await?;
        let finished = progress.lanes.iter().filter(|lane| lane.is_finished()).count();
        let events: u64 = progress.lanes.iter().map(|lane| lane.tally.events).sum();
        let _ = writeln!(
            list,
            "{:20} {:16} {:8} {:>9} {:>14}  {}",
            run.name,
            run.run.to_string(),
            state(&run, finished),
            format!("{finished}/{}", run.lanes),
            events,
            progress.watermark.unwrap_or(run.start),
        );
    }
    Ok(list)
}

/// Returns what a run does. The store has what was asked of it, which stays `running` after its last event.
fn state(run: &RunRow, finished: usize) -> &str {
    if finished == usize::from(run.lanes) { "finished" } else { &run.state }
}

/// Writes a command's result to standard output. A reader that went away has read enough.
fn print(text: &str, exit: Exit) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => exit,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit,
        Err(error) => failed(&OutputError(error), Exit::Failed),
    }
}

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the output cannot be written")]
struct OutputError(#[source] io::Error);

/// Says on standard error why a command failed.
fn failed(error: &(dyn std::error::Error + 'static), exit: Exit) -> Exit {
    // Where not even standard error can be written, the status has to do.
    let _ = writeln!(io::stderr(), "roaming-consumer: {}", chain(error));
    exit
}
