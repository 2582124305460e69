//! For tests only: an in-memory log and store, fault plans, seeds, and a deterministic simulation of the
//! whole way from a lane's owner to the store.
//!
//! Everything follows from one [`Seed`]: which faults happen and when ([`Faults`]), who runs next, what is
//! lost, repeated or late. [`simulation::simulate`] drives a [`Scenario`]'s senders and replicas of the
//! consumer over a [`Log`] and a [`MemoryStore`], first with faults and then without, and compares what the
//! store holds with what the scenario says. The senders are replicas of the producer, or of sample lanes a
//! model of it.
//!
//! This crate knows no clock, no thread, no socket and no randomness but its seed.

pub mod engine;
pub mod fault;
pub mod log;
pub mod sample;
pub mod scenario;
pub mod seed;
pub mod simulation;
pub mod store;

pub use fault::{Disaster, Faults};
pub use log::Log;
pub use scenario::Scenario;
pub use seed::{Concern, Seed, Stream};
pub use store::{Epoch, FaultyStore, MemoryStore, StoreError};
