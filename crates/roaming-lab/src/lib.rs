//! Producer, consumer and live page in one process, on the embedded broker and SQLite.
//!
//! The path of a run: [`EmbeddedBroker`] starts; the consumer's `App` joins and owns every partition; only
//! then does the gate of the producer's `App` open, because this broker drops what nobody reads; the
//! scenario is loaded as a user would load it; [`Lab::run`] watches the store until every lane is
//! finished, and has the balance drawn up by the same code as `roaming-consumer verify`.
//!
//! This crate composes; it counts, sends and compares nothing itself.

mod broker;
pub mod cli;
mod error;
mod lab;
mod progress;
mod stall;

pub use broker::{BrokerError, EmbeddedBroker};
pub use error::LabError;
pub use lab::{Lab, LabConfig, Report};
pub use stall::{Gate, Stalling};
