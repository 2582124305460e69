//! The built binaries on Apache Kafka and PostgreSQL.

mod bad_days;
mod chaos;
mod compose;
mod control;
mod deaths;
mod elastic;
mod manifests;
mod names;
mod observability;
mod outages;
mod scripts;
mod security;
mod services;
mod sharing;
