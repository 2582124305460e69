//! The promises of the store, checked on each implementation.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[macro_use]
mod conformance;
mod postgres;
mod postgres_roles;
mod proxy;
mod retention;
mod sample;
mod sqlite;
