//! The producer daemon and its commands; see `roaming-producer --help`.

use roaming_producer::cli::{self, Cli};
use roaming_service::Exit;

#[tokio::main]
async fn main() -> Exit {
    match cli::parse::<Cli>() {
        Ok(cli) => cli.run().await,
        Err(exit) => exit,
    }
}
