//! Loads a run: `roaming-producer scenarios load` under a name of its own.

use roaming_producer::cli::{self, LoadCli};
use roaming_service::Exit;

#[tokio::main]
async fn main() -> Exit {
    match cli::parse::<LoadCli>() {
        Ok(cli) => cli.run().await,
        Err(exit) => exit,
    }
}
