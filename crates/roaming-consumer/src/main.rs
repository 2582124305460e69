//! The consumer daemon and its commands; see the library.

use roaming_consumer::cli::Cli;
use roaming_service::Exit;
use tracing::info;

fn main() -> Exit {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    if let Err(error) = cli.telemetry().init() {
        eprintln!("roaming-consumer: {error}");
        return Exit::Usage;
    }
    info!(version = env!("CARGO_PKG_VERSION"), "roaming-consumer");
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(cli.execute()),
        Err(error) => {
            eprintln!("roaming-consumer: the runtime could not start: {error}");
            Exit::Failed
        }
    }
}
