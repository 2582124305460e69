//! Why the consumer ends.

use std::io;

use rdkafka::error::KafkaError;
use roaming_service::Exit;
use roaming_service::health::BindError;
use roaming_service::kafka::ClientError;
use roaming_service::shutdown::ShutdownError;
use roaming_store::StoreError;

use crate::ConfigError;

/// Why the consumer did not start, or does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The port cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The store refuses for good.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker refuses for good.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The log no longer holds what was to be read next.
    #[error(
        "records {next_offset} to {low} (exclusive) of partition {partition} were removed by the log's retention before they were counted; give the consumer a new store with --store to count what is left, and raise the retention of roaming.events"
    )]
    Overtaken {
        /// The partition.
        partition: u16,
        /// The first record that is gone.
        next_offset: u64,
        /// The first record that is still there.
        low: u64,
    },
    /// The log is shorter than what was already read of it.
    #[error(
        "partition {partition} ends at offset {high}, but the store has counted up to {next_offset}: the topic was made anew or lost records; give the consumer a new store with --store"
    )]
    LogTooShort {
        /// The partition.
        partition: u16,
        /// The offset to read next.
        next_offset: u64,
        /// Where the partition ends.
        high: u64,
    },
    /// The log has another record where the last one was that was counted.
    #[error(
        "record {offset} of partition {partition} is not the one that the store has counted there: the topic was made anew; give the consumer a new store with --store"
    )]
    OtherRecord {
        /// The partition.
        partition: u16,
        /// Where the record stands.
        offset: u64,
    },
    /// The store of a replay holds counts already.
    #[error(
        "the store has counted run `{run}` already, and is left as it is; name a fresh one with --store or --postgres-dsn, or go on where it stands with --from stored"
    )]
    NotFresh {
        /// The first run of which anything is counted.
        run: String,
    },
    /// The client library does not start a partition that is ours.
    #[error(
        "the client has not started partition {partition} for 30 s; start the consumer again, nothing is lost"
    )]
    NotStarted {
        /// The partition.
        partition: u16,
    },
    /// The client library refuses an operation that must work.
    #[error("the client could not {operation}")]
    Operation {
        /// What was tried.
        operation: &'static str,
        /// What the library says.
        source: KafkaError,
    },
    /// The socket of the page failed.
    #[error("the listening socket failed")]
    Serve(#[source] io::Error),
    /// The system gives no thread.
    #[error("the system gave no thread")]
    Thread(#[source] io::Error),
    /// A task panicked; its message is in the log.
    #[error("task `{task}` panicked; its message is in the log above")]
    Panicked {
        /// The task.
        task: &'static str,
    },
    /// A task did not end in time.
    #[error(transparent)]
    Hung(Box<ShutdownError<ConsumerError>>),
}

impl ConsumerError {
    /// Returns the status to end with: wrong use and configuration have one of their own.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Bind(_) | Self::NotFresh { .. } => Exit::Usage,
            Self::Store(error) => store_exit(error),
            _ => Exit::Failed,
        }
    }
}

/// Returns the status to end with where the store refuses.
pub(crate) fn store_exit(error: &StoreError) -> Exit {
    if error.is_misuse() { Exit::Usage } else { Exit::Failed }
}
