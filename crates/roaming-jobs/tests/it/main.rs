//! The jobs on PostgreSQL, and what the program says on the command line.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod archive;
mod backup;
mod clean_up;
mod command_line;
mod report;
mod sample;
mod schedule;
