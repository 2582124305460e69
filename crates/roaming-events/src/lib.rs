//! The contract: what stands on the topic `roaming.events`, and what others may rely on for years.
//!
//! An event begins as an [`Event`] value in the engine, is named by its [`EventId`] (the message
//! key), becomes bytes in [`json::encode`], travels, and is read back by [`Record::decode`]. What it
//! adds to an aggregate is said once, in [`Totals::add`]; what it adds to a lane's proof, in
//! [`LaneDigest`].
//!
//! The rule for change is additive: a published field keeps its name, meaning and place; new
//! optional fields come last within an event; readers ignore what they do not know.
//!
//! This crate knows no clock, no randomness, no socket, no file.

mod digest;
mod event;
mod event_id;
mod grouped;
pub mod identifiers;
pub mod json;
mod money;
mod plmn;
mod record;
pub mod schema;
mod time;
mod totals;

pub use digest::LaneDigest;
pub use event::{
    Apn, Body, CallDirection, Cause, Decision, DetachType, Event, EventType, Outcome, PolicyRule,
    Rat, Routing, Service, Subscriber, TapRecord, UnknownName, UpdateType, Usage,
};
pub use event_id::{EventId, EventIdError, LaneId, RunId, Sequence};
pub use grouped::Grouped;
pub use identifiers::{Iccid, IdentifierError, Imei, Imsi, Msisdn};
pub use money::{Money, MoneyError};
pub use plmn::{PlmnId, Tadig};
pub use record::{End, Marker, Record, RecordError, RecordErrorReason};
pub use time::{SimDuration, SimTime, TimeError};
pub use totals::{LATENCY_BOUNDS_US, LaneTally, RowKey, Tally, Totals};
