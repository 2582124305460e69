//! Tests of the partition state machine over the in-memory store.

mod balance;
mod bench;
mod bounds;
mod invariants;
mod lanes;
mod rejects;
mod restarts;
mod watermarks;
mod windows;
