//! The built binaries on Apache Kafka and PostgreSQL.

mod bad_days;
mod control;
mod deaths;
mod outages;
mod services;
mod sharing;
