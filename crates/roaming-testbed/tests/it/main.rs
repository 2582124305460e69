//! The built binaries on Apache Kafka and PostgreSQL.

mod deaths;
mod services;
