//! The consumer against an in-process broker: what it reads was made by the engine itself.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod absent_broker;
mod bad_records;
mod balance;
mod command_line;
mod faulty_store;
mod harness;
mod lost_topic;
mod page;
mod postgres;
mod replay;
mod restart;
