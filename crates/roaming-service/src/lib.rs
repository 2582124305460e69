//! What every daemon shares: telemetry, health, shutdown, exit codes and the Kafka client settings.
//!
//! An event crosses this crate as bytes only: [`kafka`] says with which settings clients send and
//! read it, [`topics`] where it stands, [`reader`] reads a topic from its start, and [`control`] the
//! desired state of the runs. Around it stand [`telemetry`], [`health`] and [`shutdown`], which a
//! daemon composes in its `App`, and [`Exit`], which its `main` returns.
//!
//! This crate knows no engine, no store and no global state but the subscriber of `tracing`.

pub mod backoff;
pub mod config;
pub mod control;
mod exit;
pub mod health;
pub mod kafka;
pub mod reader;
mod secret;
pub mod shutdown;
pub mod telemetry;
pub mod topics;

pub use exit::{Exit, run};
pub use secret::Secret;
