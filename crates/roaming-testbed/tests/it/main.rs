//! The built binaries on Apache Kafka and PostgreSQL.

mod deaths;
mod outages;
mod services;
mod sharing;
