//! The producer daemon and its commands; see `roaming-producer --help`.

use clap::CommandFactory;
use roaming_producer::cli::Cli;
use roaming_service::config::{Program, read};
use roaming_service::{Exit, run, telemetry};

fn main() -> Exit {
    run(program())
}

async fn program() -> Exit {
    let (cli, settings) = match read::<Cli>(Program::Producer, Cli::command(), &[]) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    match telemetry::start(&settings, cli.log_reader()) {
        Ok(()) => cli.run(&settings).await,
        Err(error) => Exit::Usage.tell(&error),
    }
}
