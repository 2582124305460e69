//! The pure engine: profiles, subscribers, networks, procedures and the ledger.
//!
//! A [`Profile`] with a seed and a name is a [`Specification`]; its hash is the run's id. A
//! [`Simulation`] is what all lanes of the run share: tables, keys and the weather of the networks,
//! solved once and never changed. A [`Lane`] holds its share of the subscribers as small state
//! machines in a time-ordered queue. Each step wakes the subscriber whose time has come; what happens
//! to it becomes an [`Event`](roaming_events::Event), numbered without gaps, and decides when it wakes
//! again. Usage leaves a wholesale record that follows some time later. What a run must add up to is
//! computed by [`ledger`] from the specification alone.
//!
//! The stream is a function of the specification: this crate knows no clock, no file, no socket and no
//! state shared between lanes; random numbers are keyed, never drawn from a generator; no
//! floating-point number reaches an event.

pub mod control;
mod distribution;
mod identity;
mod lane;
pub mod ledger;
mod network;
mod procedure;
pub mod profile;
mod queue;
mod rating;
mod rng;
mod simulation;
mod snapshot;
mod specification;
mod subscriber;
pub mod truth;

pub use control::ControlRecord;
pub use lane::Lane;
pub use profile::{Profile, ProfileError};
pub use simulation::Simulation;
pub use snapshot::SnapshotError;
pub use specification::{STREAM_VERSION, Specification, SpecificationError};
