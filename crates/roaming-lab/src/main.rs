//! The whole platform in one process; see `roaming-lab --help`.

use roaming_lab::cli::Cli;
use roaming_service::Exit;

#[tokio::main]
async fn main() -> Exit {
    match Cli::read() {
        Ok(cli) => cli.execute().await,
        Err(exit) => exit,
    }
}
