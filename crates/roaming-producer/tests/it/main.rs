//! The producer on librdkafka's in-process broker, and its binaries.

mod broker;
mod commands;
mod control;
mod daemon;
mod rights;
