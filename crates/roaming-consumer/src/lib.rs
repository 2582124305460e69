//! The consumer daemon: exactly-once aggregation, metrics and the live page.
//!
//! The path of one event: the group's client hands it over in [`group`]; [`intake`] decodes it and gives
//! it to its partition's state machine, in one thread that never waits for the store; when a flush is
//! due, [`service_desk`] writes the dead letters, then what changed and the next offset in one transaction
//! of the store; then, and only then, metrics count it and the offset is committed to Kafka, for lag tools
//! and for the producer's flow control. [`observer`] compares a run whose lanes are all finished with its
//! ledger; [`page`] shows it.
//!
//! What decides is pure and elsewhere: `roaming-analytics` says what a record means, `roaming-store` what
//! a checkpoint is. Nothing here keeps a count that the store does not have.

mod app;
mod blockage;
pub mod cli;
mod config;
mod dead_letter;
pub mod desk;
mod error;
pub mod group;
pub mod intake;
mod jobs;
mod last_record;
mod metrics;
mod observer;
mod page;
mod partition_task;
pub mod replay;
mod runs;
mod service_desk;
pub mod verify;

pub use app::{App, Bound};
pub use config::{Config, ConfigError};
pub use dead_letter::DeadLetter;
pub use error::ConsumerError;
pub use metrics::ConsumerMetrics;
pub use runs::{KnownRun, KnownRuns};
