//! The consumer daemon and its commands; see the library.

use roaming_consumer::cli::Cli;
use roaming_service::Exit;
use roaming_service::telemetry::chain;

fn main() -> Exit {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    if let Err(error) = cli.telemetry().init() {
        eprintln!("roaming-consumer: {}", chain(&error));
        return Exit::Usage;
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(cli.execute()),
        Err(error) => {
            eprintln!("roaming-consumer: the runtime could not start: {error}");
            Exit::Failed
        }
    }
}
