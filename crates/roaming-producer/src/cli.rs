//! The command line.

use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};
use roaming_service::kafka::{KafkaArgs, SecurityError};
use roaming_service::telemetry::{TelemetryArgs, chain};
use roaming_service::{Exit, shutdown};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::commands::{
    self, CommandError, GenerateArgs, LoadArgs, NameArgs, OfflineArgs, ResumeArgs, TopicsArgs,
};
use crate::{App, AppError, Config, PORT};

/// The producer of the roaming simulation: sends the events of runs to Kafka, and loads scenarios.
#[derive(Debug, Parser)]
#[command(name = "roaming-producer", version)]
pub struct Cli {
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon: sends the lanes that the group assigns, until SIGTERM
    Run(RunArgs),
    /// Prints what a run must add up to, as JSON Lines; needs no broker
    Ledger(OfflineArgs),
    /// Prints the events of a run, as JSON Lines; needs no broker
    Generate(GenerateArgs),
    /// Prints the labels of a run's faults and fraud, as JSON Lines; needs no broker
    Truth(GenerateArgs),
    /// Loads runs, and says what becomes of them
    Scenarios {
        #[command(flatten)]
        kafka: KafkaArgs,
        #[command(subcommand)]
        command: ScenariosCommand,
    },
    /// Creates and checks the topics
    Topics {
        #[command(flatten)]
        kafka: KafkaArgs,
        #[command(subcommand)]
        command: TopicsCommand,
    },
}

#[derive(Debug, Subcommand)]
enum ScenariosCommand {
    /// Loads a run; loading it twice changes nothing
    Load(LoadArgs),
    /// Lists the loaded runs
    List,
    /// Lets a run's simulated time stand still
    Pause(NameArgs),
    /// Lets a run go on from where it stands
    Resume(ResumeArgs),
    /// Ends a run early, for good
    Stop(NameArgs),
    /// Says how far the runs are, and how long they will take
    Status,
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    /// Creates what is missing; changes nothing that is there
    Create(TopicsArgs),
    /// Says whether all is there
    Check(TopicsArgs),
}

/// Loads a run into the topic roaming.scenarios: the same as `roaming-producer scenarios load`.
#[derive(Debug, Parser)]
#[command(name = "load-scenarios", version)]
pub struct LoadCli {
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, env = "ROAMING_PRODUCER_LISTEN", default_value_t = SocketAddr::from(([0, 0, 0, 0], PORT)))]
    listen: SocketAddr,
    /// MiB that may stand unread in a partition of roaming.events before its lanes wait
    #[arg(long, env = "ROAMING_PRODUCER_UNREAD_MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    unread_mib: u64,
    /// Seconds that a stop may take
    #[arg(long, env = "ROAMING_PRODUCER_GRACE_S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    grace_s: u64,
}

impl RunArgs {
    fn config(&self) -> Result<Config, SecurityError> {
        Ok(Config {
            listen: self.listen,
            unread_bytes_max: self.unread_mib << 20,
            grace: Duration::from_secs(self.grace_s),
            ..Config::new(self.kafka.settings()?)
        })
    }
}

/// Reads the command line; what is wrong with it is printed, and so are help and version.
///
/// # Errors
/// Returns the status to end with, where there is nothing to do.
pub fn parse<P: Parser>() -> Result<P, Exit> {
    P::try_parse().map_err(|error| {
        // Where not even standard error can be written, the status has to do.
        let _ = error.print();
        if error.use_stderr() { Exit::Usage } else { Exit::Done }
    })
}

impl Cli {
    /// Does what the command line asks for.
    pub async fn run(self) -> Exit {
        if let Err(error) = self.telemetry.init() {
            return usage(&error);
        }
        let out = &mut BufWriter::new(io::stdout().lock());
        let result = match self.command {
            Command::Run(args) => {
                return match args.config() {
                    Ok(config) => daemon(config).await,
                    Err(error) => usage(&error),
                };
            }
            command => command.execute(out).await,
        };
        finish(result, out)
    }
}

impl Command {
    async fn execute(self, out: &mut impl Write) -> Result<(), CommandError> {
        match self {
            Self::Run(args) => unreachable!("{args:?}"),
            Command::Ledger(args) => commands::ledger(&args, out),
            Command::Generate(args) => commands::generate(&args, out),
            Command::Truth(args) => commands::truth(&args, out),
            Command::Scenarios { kafka, command } => {
                let settings = &kafka.settings()?;
                match command {
                    ScenariosCommand::Load(args) => commands::load(settings, &args, out).await,
                    ScenariosCommand::List => commands::list(settings, out).await,
                    ScenariosCommand::Pause(args) => commands::pause(settings, &args, out).await,
                    ScenariosCommand::Resume(args) => commands::resume(settings, &args, out).await,
                    ScenariosCommand::Stop(args) => commands::stop(settings, &args, out).await,
                    ScenariosCommand::Status => commands::status(settings, out).await,
                }
            }
            Command::Topics { kafka, command } => {
                let settings = &kafka.settings()?;
                match command {
                    TopicsCommand::Create(args) => commands::create(settings, args, out).await,
                    TopicsCommand::Check(args) => commands::check(settings, args, out).await,
                }
            }
        }
    }
}

impl LoadCli {
    /// Loads the run.
    pub async fn run(self) -> Exit {
        if let Err(error) = self.telemetry.init() {
            return usage(&error);
        }
        let out = &mut io::stdout().lock();
        let result = match self.kafka.settings() {
            Ok(settings) => commands::load(&settings, &self.load, out).await,
            Err(error) => Err(error.into()),
        };
        finish(result, out)
    }
}

/// Runs the daemon until SIGTERM or SIGINT.
async fn daemon(config: Config) -> Exit {
    info!(version = env!("CARGO_PKG_VERSION"), "roaming-producer");
    match run_daemon(config).await {
        Ok(()) => Exit::Done,
        Err(error) => {
            error!(error = chain(&error), "ended");
            if matches!(error, AppError::Bind(_)) { Exit::Usage } else { Exit::Failed }
        }
    }
}

async fn run_daemon(config: Config) -> Result<(), AppError> {
    let stop = CancellationToken::new();
    shutdown::stop_on_signal(stop.clone())?;
    App::build(config).await?.run(stop).await
}

fn finish(result: Result<(), CommandError>, out: &mut impl Write) -> Exit {
    match result.and_then(|()| out.flush().map_err(CommandError::Output)) {
        Ok(()) => Exit::Done,
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            error.exit()
        }
    }
}

fn usage(error: &(dyn std::error::Error + 'static)) -> Exit {
    eprintln!("error: {}", chain(error));
    Exit::Usage
}
