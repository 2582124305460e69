//! Loads a run: `roaming-producer scenarios load` under a name of its own.

use clap::CommandFactory;
use roaming_producer::cli::LoadCli;
use roaming_service::config::{Program, read};
use roaming_service::telemetry::Reader;
use roaming_service::{Exit, run, telemetry};

fn main() -> Exit {
    run(program())
}

async fn program() -> Exit {
    let (cli, settings) = match read::<LoadCli>(Program::LoadScenarios, LoadCli::command(), &[]) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    match telemetry::start(&settings, Reader::Caller) {
        Ok(()) => cli.run(&settings).await,
        Err(error) => Exit::Usage.tell(&error),
    }
}
