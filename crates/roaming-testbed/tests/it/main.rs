//! The built binaries on Apache Kafka and PostgreSQL.

mod bad_days;
mod deaths;
mod outages;
mod services;
mod sharing;
