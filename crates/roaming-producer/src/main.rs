//! The producer daemon and its commands; see `roaming-producer --help`.

use clap::CommandFactory;
use mimalloc::MiMalloc;
use roaming_producer::cli::Cli;
use roaming_service::config::{Program, read};
use roaming_service::{Exit, run, telemetry};

/// For all that is linked in, librdkafka too: it allocates each record in the sender's thread and frees it in its own,
/// which costs an eighth of the producer's processor time more with the allocator of glibc.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
