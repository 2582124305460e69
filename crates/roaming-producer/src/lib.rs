//! The producer daemon: lanes of events onto the log, and load-scenarios.
//!
//! An event begins in the engine's lane, which [`lane::LaneSender`] owns; the sender thread
//! ([`sender`]) gives each lane its turn, and [`wire`] hands what it says to the Kafka [`client`]
//! through its [`outbox`], as far as pacing and [`flow`] control allow. The broker's acknowledgement comes back the
//! same way and becomes [`progress`] on `roaming.lanes`. Which lanes are driven follows from the group
//! ([`ownership`], [`assignment`]) and from the control records ([`follow`]), and is kept in [`fleet`]. [`App`] puts it
//! together; [`commands`] are what a person types.
//!
//! This crate knows no store and no aggregate, and decides nothing about what an event says.

mod app;
pub mod assignment;
pub mod cli;
pub mod client;
pub mod clock;
pub mod commands;
mod config;
pub mod fleet;
pub mod flow;
pub mod follow;
pub mod lane;
pub mod metrics;
mod observer;
pub mod outbox;
pub mod ownership;
pub mod progress;
pub mod sender;
pub mod snapshot;
mod snapshot_writer;
pub mod watch;
pub mod wire;

pub use app::{App, AppError};
pub use config::{Config, PORT};
pub use observer::Observer;
