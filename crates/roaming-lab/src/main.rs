//! The whole platform in one process; see `roaming-lab --help`.

use roaming_lab::cli::Cli;
use roaming_service::config::{Program, read};
use roaming_service::telemetry::Reader;
use roaming_service::{Exit, run, telemetry};

fn main() -> Exit {
    run(program())
}

async fn program() -> Exit {
    let (cli, settings) = match read::<Cli>(Program::Lab, Cli::with_defaults(), &[]) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    match telemetry::start(&settings, Reader::Operator) {
        Ok(()) => cli.execute(&settings).await,
        Err(error) => Exit::Usage.tell(&error),
    }
}
