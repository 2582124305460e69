//! The whole platform in one process, as `make demo` runs it, on a smaller population.

mod bytes;
mod metrics;
mod runs;
mod setup;
