//! The command line.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use roaming_service::config::table::SCENARIO_PATH;
use roaming_service::config::{ConfigArgs, Settings};
use roaming_service::kafka::KafkaSettings;
use roaming_service::telemetry::Reader;
use roaming_service::{Exit, shutdown};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::commands::{
    self, CommandError, GenerateArgs, LoadArgs, NameArgs, OfflineArgs, ResumeArgs, SpeedArgs,
    TopicsArgs,
};
use crate::{App, AppError, Config};

/// The producer of the roaming simulation: sends the events of runs to Kafka, and loads scenarios.
#[derive(Debug, Parser)]
#[command(name = "roaming-producer", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon: sends the lanes that the group assigns, until SIGTERM
    Run,
    /// Prints what a run must add up to, as JSON Lines; needs no broker
    Ledger(OfflineArgs),
    /// Prints the events of a run, as JSON Lines; needs no broker
    Generate(GenerateArgs),
    /// Prints the labels of a run's faults and fraud, as JSON Lines; needs no broker
    Truth(GenerateArgs),
    /// Loads runs, and says what becomes of them
    #[command(subcommand)]
    Scenarios(ScenariosCommand),
    /// Creates and checks the topics
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Shows or checks the settings, and does nothing else
    Config(ConfigArgs),
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
    /// Gives a run another speed
    Speed(SpeedArgs),
    /// Ends a run early, for good
    Stop(NameArgs),
    /// Ends a run and has the producers forget it; what is counted of it stays
    Delete(NameArgs),
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
    load: LoadArgs,
}

impl Cli {
    /// Returns who reads the log.
    pub fn log_reader(&self) -> Reader {
        if matches!(self.command, Command::Run) { Reader::Operator } else { Reader::Caller }
    }

    /// Does what the command line asks for.
    pub async fn run(self, settings: &Settings) -> Exit {
        let kafka = KafkaSettings::of(settings);
        let out = &mut BufWriter::new(io::stdout().lock());
        let profiles = settings.path(&SCENARIO_PATH);
        let result = match self.command {
            Command::Config(args) => return args.execute(settings),
            Command::Run => return daemon(Config::of(settings)).await,
            Command::Ledger(mut args) => {
                args.look_in(profiles);
                commands::ledger(&args, out)
            }
            Command::Generate(mut args) => {
                args.look_in(profiles);
                commands::generate(&args, out)
            }
            Command::Truth(mut args) => {
                args.look_in(profiles);
                commands::truth(&args, out)
            }
            Command::Scenarios(command) => command.execute(&kafka, profiles, out).await,
            Command::Topics(TopicsCommand::Create(args)) => {
                commands::create(&kafka, args, out).await
            }
            Command::Topics(TopicsCommand::Check(args)) => commands::check(&kafka, args, out).await,
        };
        finish(result, out)
    }
}

impl ScenariosCommand {
    async fn execute(
        self,
        kafka: &KafkaSettings,
        profiles: Option<PathBuf>,
        out: &mut impl Write,
    ) -> Result<(), CommandError> {
        match self {
            Self::Load(mut args) => {
                args.look_in(profiles);
                commands::load(kafka, &args, out).await
            }
            Self::List => commands::list(kafka, out).await,
            Self::Pause(args) => commands::pause(kafka, &args, out).await,
            Self::Resume(args) => commands::resume(kafka, &args, out).await,
            Self::Speed(args) => commands::speed(kafka, &args, out).await,
            Self::Stop(args) => commands::stop(kafka, &args, out).await,
            Self::Delete(args) => commands::delete(kafka, &args, out).await,
            Self::Status => commands::status(kafka, out).await,
        }
    }
}

impl LoadCli {
    /// Loads the run.
    pub async fn run(mut self, settings: &Settings) -> Exit {
        let kafka = KafkaSettings::of(settings);
        self.load.look_in(settings.path(&SCENARIO_PATH));
        let out = &mut io::stdout().lock();
        finish(commands::load(&kafka, &self.load, out).await, out)
    }
}

/// Runs the daemon until SIGTERM or SIGINT.
async fn daemon(config: Config) -> Exit {
    info!(version = env!("CARGO_PKG_VERSION"), "roaming-producer");
    match run_daemon(config).await {
        Ok(()) => Exit::Done,
        Err(error @ AppError::Bind(_)) => Exit::Usage.log(&error),
        Err(error) => Exit::Failed.log(&error),
    }
}

async fn run_daemon(config: Config) -> Result<(), AppError> {
    let stop = CancellationToken::new();
    shutdown::stop_on_signal(stop.clone())?;
    App::build(config).await?.run(stop).await
}

fn finish(result: Result<(), CommandError>, out: &mut impl Write) -> Exit {
    // First what was found, then the error that may speak of it.
    let flushed = out.flush().map_err(CommandError::Output);
    match result.and(flushed) {
        Ok(()) => Exit::Done,
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => error.exit().tell(&error),
    }
}
