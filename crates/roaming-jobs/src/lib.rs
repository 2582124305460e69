//! The batch jobs: what is done to a store from time to time, by a command that does it and ends.
//!
//! The path of one row: [`backup`](backup::backup) reads it in a snapshot of PostgreSQL, compresses it into
//! the file of its table at a [`Place`], and lists the file in the [`Manifest`](manifest::Manifest);
//! [`restore`](restore::restore) checks the file and copies it into an empty database. Each job ends with a
//! line in the store's table `job_runs`, which the consumers' metrics tell of. When a run has ended, its rows take
//! the same way into its own folder ([`archive`](archive::archive)), and some days later
//! [`clean_up`](clean_up::clean_up) removes them.
//!
//! This crate knows no Kafka, and no SQL: `roaming-store` has the statements. It reads the clock in one place
//! ([`moment::Moment::now`]) and passes it on as a value.

pub mod archive;
pub mod backup;
pub mod clean_up;
pub mod cli;
mod due;
mod error;
mod file;
mod job;
pub mod manifest;
mod metrics;
pub mod moment;
mod place;
pub mod report;
pub mod restore;
pub mod schedule;
mod signing;
mod tables;
mod week;

pub use error::JobError;
pub use job::{Done, Job, recorded};
pub use place::{Place, PlaceError, S3Options};
