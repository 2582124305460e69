//! The batch jobs; see the library.

use clap::CommandFactory;
use roaming_jobs::cli::{CHECKS, Cli};
use roaming_service::config::{Program, read};
use roaming_service::{Exit, run, telemetry};

fn main() -> Exit {
    run(program())
}

async fn program() -> Exit {
    let (cli, settings) = match read::<Cli>(Program::Jobs, Cli::command(), &CHECKS) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    match telemetry::start(&settings, cli.log_reader()) {
        Ok(()) => cli.execute(&settings).await,
        Err(error) => Exit::Usage.tell(&error),
    }
}
