//! Why the lab did not do what it was asked to.

use std::io;
use std::path::PathBuf;

use roaming_consumer::ConsumerError;
use roaming_consumer::verify::VerifyError;
use roaming_producer::AppError;
use roaming_producer::commands::CommandError;
use roaming_service::Exit;
use roaming_service::kafka::ClientError;
use roaming_store::StoreError;

use crate::BrokerError;

/// Why the lab did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The folder of the run cannot be made.
    #[error("folder {} cannot be made; name another with --dir", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The embedded broker does not run.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A client of the embedded broker failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The scenario could not be loaded.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The producer failed.
    #[error(transparent)]
    Producer(#[from] AppError),
    /// The consumer failed.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// The store could not be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The balance could not be drawn up.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The lab was stopped before the run was at its end.
    #[error("stopped before the end of the run")]
    Interrupted,
    /// A daemon panicked; its message is above.
    #[error("the producer or the consumer panicked; its message is above")]
    Panicked,
    /// What is printed cannot be written.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
}

impl LabError {
    /// Returns the status to end with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Command(error) => error.exit(),
            Self::Consumer(error) => error.exit(),
            Self::Store(_) | Self::Folder { .. } | Self::Producer(AppError::Bind(_)) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}
