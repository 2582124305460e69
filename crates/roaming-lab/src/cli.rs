//! The command line.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser};
use roaming_consumer::Config as ConsumerConfig;
use roaming_producer::PORT as PRODUCER_PORT;
use roaming_producer::commands::{CommandError, LoadArgs};
use roaming_service::shutdown::stop_on_signal;
use roaming_service::telemetry::{TelemetryArgs, chain};
use roaming_service::topics::PARTITIONS;
use roaming_service::{Exit, control};
use roaming_sim::Simulation;
use tokio_util::sync::CancellationToken;

use crate::{Lab, LabConfig, LabError};

/// Runs one scenario in one process, from its profile to its balance: producer, consumer and live page
/// on an embedded broker and SQLite. Nothing else is needed.
///
/// The status is 0 where the balance holds, and 2 where it does not.
#[derive(Debug, Parser)]
#[command(name = "roaming-lab", version)]
pub struct Cli {
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(flatten)]
    scenario: LoadArgs,
    /// Folder for the store; made where it is missing [default: a fresh one among the temporary files]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Stay when the run is over, so that the page and the metrics can be looked at; Ctrl-C ends
    #[arg(long)]
    keep: bool,
    /// Fault: hold up the consumer's commits for so many seconds in the middle of the run
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=600))]
    stall: Option<u16>,
    /// Address of the live page and of the consumer's metrics
    #[arg(long, env = "ROAMING_LISTEN", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, ConsumerConfig::PORT)))]
    listen: SocketAddr,
    /// Address of the producer's metrics
    #[arg(long, env = "ROAMING_PRODUCER_LISTEN", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, PRODUCER_PORT)))]
    producer_listen: SocketAddr,
}

impl Cli {
    /// Reads the process's arguments; prints help, or what is wrong with them, and returns how to end.
    ///
    /// # Errors
    /// Returns [`Exit::Done`] after help and version, [`Exit::Usage`] after wrong arguments.
    pub fn read() -> Result<Self, Exit> {
        // The same options as load-scenarios, with what one wants first of a lab.
        let command = Self::command()
            .mut_arg("profile", |arg| arg.required(false).default_value("demo"))
            .mut_arg("speed", |arg| arg.default_value("max"))
            .mut_arg("log", |arg| arg.default_value("warn"))
            .mut_arg("log_format", |arg| arg.default_value("human"));
        command.try_get_matches().and_then(|matches| Self::from_arg_matches(&matches)).map_err(
            |error| {
                // Standard error may be closed; the status says it all the same.
                let _ = error.print();
                if error.use_stderr() { Exit::Usage } else { Exit::Done }
            },
        )
    }

    /// Does what was asked for.
    pub async fn execute(self) -> Exit {
        let result = match self.telemetry.init() {
            Ok(()) => self.run().await,
            Err(error) => {
                eprintln!("roaming-lab: {}", chain(&error));
                return Exit::Usage;
            }
        };
        result.unwrap_or_else(|error| {
            eprintln!("roaming-lab: {}", chain(&error));
            error.exit()
        })
    }

    async fn run(&self) -> Result<Exit, LabError> {
        // A wrong scenario is told before anything starts.
        let specification = self.scenario.specification(PARTITIONS, PARTITIONS)?;
        Simulation::try_new(Arc::new(specification)).map_err(CommandError::from)?;
        let stop = CancellationToken::new();
        stop_on_signal(stop.clone()).map_err(LabError::Output)?;
        let config = LabConfig {
            listen: self.listen,
            producer_listen: self.producer_listen,
            dir: self.dir.clone().unwrap_or_else(fresh_dir),
            stall: self.stall.map(|seconds| Duration::from_secs(seconds.into())),
        };
        say("starting the embedded broker, the consumer and the producer (about 5 s)")?;
        let mut lab = Lab::start(config, stop.clone()).await?;
        say(&format!("live page   http://{}/", lab.page()))?;
        say(&format!("metrics     http://{}/metrics", lab.page()))?;
        say(&format!(
            "broker      {} (read along with `kcat -b … -C -t roaming.events`, never with -G)",
            lab.kafka().bootstrap_servers
        ))?;
        let result = lab.run(&self.scenario).await;
        let exit = match result {
            Ok(report) => {
                say(&report.to_string())?;
                if self.keep {
                    say("the page stays until Ctrl-C")?;
                    stop.cancelled().await;
                }
                Ok(report.exit())
            }
            Err(error) => Err(error),
        };
        let stopped = lab.stop().await;
        let exit = exit?;
        stopped?;
        Ok(exit)
    }
}

/// A folder that no earlier run has used.
fn fresh_dir() -> PathBuf {
    std::env::temp_dir().join(format!("roaming-lab-{}", control::LogToken::generate()))
}

fn say(text: &str) -> Result<(), LabError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(LabError::Output)
}
