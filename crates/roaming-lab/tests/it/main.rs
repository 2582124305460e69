//! The whole platform in one process, as `make demo` runs it, on a smaller population.

mod bytes;
mod control;
mod metrics;
mod runs;
mod setup;
