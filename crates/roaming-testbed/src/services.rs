//! Real services for tests: Apache Kafka and PostgreSQL, started by `scripts/services`.
//!
//! Each has loopback ports and a folder of its own. All of it is gone when the handle is dropped, and also
//! when the test process ends in any other way: every server and every folder hangs on a pipe that this
//! process holds.
//!
//! A test that cannot have its services fails; the panic says what is missing and what to install.

mod folder;
mod kafka;
mod postgres;
mod process;
mod proxy;

pub use kafka::{Kafka, KafkaOptions, Node};
pub use postgres::{Postgres, PostgresOptions};
pub use proxy::Proxy;
