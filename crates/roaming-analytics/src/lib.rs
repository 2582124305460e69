//! The pure partition state machine: what one consumer does with one partition of `roaming.events`.
//!
//! A record enters through [`Partition::observe`]. Its lane decides whether it is new: each lane has a
//! high-water mark and a bounded list of missing intervals, so that a repeated event is dropped and a
//! late one is not. A new event is added to its lane's proof and to its aggregate row. From time to time the
//! caller takes a [`Checkpoint`] of absolute values, writes it in one transaction together with the
//! next offset, and says so with [`Partition::committed`]. A [`Snapshot`] of what was written brings the
//! state machine back, and it then goes on as if nothing had happened.
//!
//! When a run is over, [`Balance`] compares what was found with what the ledger says, and names each lane
//! and row that differs. What must always hold is listed in [`invariant::REGISTRY`] and asserted at
//! each checkpoint.
//!
//! This crate knows no clock, no randomness, no socket, no file, no Kafka and no SQL.

mod balance;
mod checkpoint;
mod gaps;
pub mod invariant;
mod lane;
mod observation;
mod partition;
mod run;
mod window;

pub use balance::{Balance, Extent, FoundRun, LISTED_MAX, LaneFinding, LaneLine, RowLine, Sums};
pub use checkpoint::{Checkpoint, LaneRow, Snapshot};
pub use observation::{Observation, RejectReason};
pub use partition::{Partition, PartitionConfig};
pub use run::RunView;
