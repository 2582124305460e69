//! The built binaries on real services: what starts them, disturbs them and reads what they left.
//!
//! A [`Platform`] is one Apache Kafka and one database with the topics made. It starts [`Daemon`]s, the
//! same processes that an operator starts, and runs their commands. What happened is read from outside:
//! how far a run is from the page's JSON ([`observed`]), who owns what from the logs ([`ownership`]), the
//! topic's bytes through kcat ([`topic`]), the balance from `roaming-consumer verify`. The crate knows
//! nothing of the product's insides but its binaries, ports, logs and event ids.
//!
//! [`trial`] puts them together: one run during which one producer and one consumer are killed. [`chaos`]
//! lets all else happen too.

pub mod binaries;
pub mod chaos;
pub mod daemon;
pub mod observed;
pub mod ownership;
pub mod platform;
pub mod profile;
pub mod retention;
pub mod services;
pub mod store;
mod tell;
pub mod topic;
pub mod trial;
pub mod wait;

pub use daemon::Daemon;
pub use platform::Platform;
