//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use roaming_producer::commands::{CommandError, LoadArgs};
use roaming_service::config::table::{CONSUMER_LISTEN, LAB_DIR, PRODUCER_LISTEN, SCENARIO_PATH};
use roaming_service::config::{ConfigArgs, Settings, integer};
use roaming_service::shutdown::stop_on_signal;
use roaming_service::topics::PARTITIONS;
use roaming_service::{Exit, control};
use roaming_sim::Simulation;
use roaming_sim::control::Speed;
use tokio_util::sync::CancellationToken;

use crate::{Lab, LabConfig, LabError};

/// Runs one scenario in one process, from its profile to its balance: producer, consumer and live page
/// on an embedded broker and SQLite. Nothing else is needed.
///
/// The status is 0 where the balance holds, and 2 where it does not.
#[derive(Debug, Parser)]
#[command(name = "roaming-lab", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    scenario: LoadArgs,
    /// Stay when the run is over, so that the page and the metrics can be looked at; Ctrl-C ends
    #[arg(long)]
    keep: bool,
    /// Fault: hold up the consumer's commits for so many seconds in the middle of the run
    #[arg(long, value_name = "SECONDS", value_parser = integer::<u16>(1, 600))]
    stall: Option<u16>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows or checks the settings, and does nothing else
    Config(ConfigArgs),
}

impl Cli {
    /// Returns the parser: the options of load-scenarios, with what one wants first of a lab.
    pub fn with_defaults() -> clap::Command {
        Self::command()
            .mut_arg("profile", |arg| arg.help("A profile's name, or a YAML file [default: demo]"))
            .mut_arg("speed", |arg| {
                arg.help("Simulated seconds per wall second, or `max` [default: max]")
            })
    }

    /// Does what was asked for.
    pub async fn execute(mut self, settings: &Settings) -> Exit {
        if let Some(Command::Config(args)) = self.command {
            return args.execute(settings);
        }
        self.scenario.look_in(settings.path(&SCENARIO_PATH));
        self.scenario.or_profile("demo");
        self.scenario.or_speed(Speed::Max);
        self.run(settings).await.unwrap_or_else(|error| error.exit().tell(&error))
    }

    async fn run(&self, settings: &Settings) -> Result<Exit, LabError> {
        // A wrong scenario is told before anything starts.
        let specification = self.scenario.specification(PARTITIONS, PARTITIONS)?;
        Simulation::try_new(Arc::new(specification)).map_err(CommandError::from)?;
        let stop = CancellationToken::new();
        stop_on_signal(stop.clone()).map_err(LabError::Output)?;
        let config = LabConfig {
            listen: settings.address(&CONSUMER_LISTEN),
            producer_listen: settings.address(&PRODUCER_LISTEN),
            dir: settings.path(&LAB_DIR).unwrap_or_else(fresh_dir),
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
