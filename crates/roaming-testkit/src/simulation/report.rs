//! What came of a simulation.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use roaming_analytics::invariant::Violation;
use roaming_consumer::ConsumerError;

use super::{Kind, Options};
use crate::seed::Seed;

/// The most lines of the trace that a failure shows: the last ones.
const TRACE_LINES_MAX: usize = 60;

/// What happened, counted by name: how often each fault, each observation and each outcome.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Report {
    counts: BTreeMap<String, u64>,
}

impl Report {
    /// Counts one more of `name`.
    pub(super) fn count(&mut self, name: &str) {
        self.add(name, 1);
    }

    /// Counts `more` of `name`.
    pub(super) fn add(&mut self, name: &str, more: u64) {
        match self.counts.get_mut(name) {
            Some(count) => *count += more,
            None => {
                self.counts.insert(name.to_owned(), more);
            }
        }
    }

    /// Adds the counts of another report.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.counts {
            self.add(name, *count);
        }
    }

    /// Returns how often `name` happened.
    pub fn get(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.counts.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name} {count}")?;
        }
        Ok(())
    }
}

/// Something that must not be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// An invariant does not hold.
    #[error(transparent)]
    Invariant(#[from] Box<Violation>),
    /// A run does not balance.
    #[error("run does not balance\n{sheet}")]
    Balance {
        /// The sheet, or what is wrong with it.
        sheet: String,
    },
    /// The dead letters are not the records that were to be rejected.
    #[error("dead letters differ: missing {missing:?}, unexpected {unexpected:?}")]
    DeadLetters {
        /// Partition and offset of records that should be there.
        missing: Vec<(u16, u64)>,
        /// Partition and offset of records that should not.
        unexpected: Vec<(u16, u64)>,
    },
    /// Without faults, the system does not come to rest.
    #[error("nothing more gets done, or never all, in {ticks} ticks without faults")]
    Stuck {
        /// The ticks.
        ticks: u64,
    },
    /// The group was told of more than is stored: a producer would take it for read.
    #[error("the group was told offset {told} of partition {partition}, and {stored} is stored")]
    ToldTooMuch {
        /// The partition.
        partition: u16,
        /// The offset that the group was told.
        told: u64,
        /// The offset that is stored.
        stored: u64,
    },
    /// A producer did what it must not.
    #[error("a producer {what}")]
    Producer {
        /// What it did.
        what: String,
    },
    /// A consumer ended that should have gone on.
    #[error("a consumer ended: {0}")]
    Consumer(#[source] ConsumerError),
}

/// The outcome of a step.
pub(super) type Outcome = Result<(), Finding>;

/// A finding, and all that is needed to see it again.
#[derive(Debug)]
pub struct Failure {
    /// What was simulated.
    pub kind: Kind,
    /// The seed.
    pub seed: Seed,
    /// The options.
    pub options: Options,
    /// The tick at which it was found.
    pub tick: u64,
    /// What was found.
    pub finding: Finding,
    pub(super) trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "options: {:?}", self.options)?;
        let Self { kind, seed, tick, finding, .. } = self;
        write!(f, "seed {seed} of {} at tick {tick}: {finding}", kind.as_str())
    }
}

impl std::error::Error for Failure {}

/// The last things that happened; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    lines: Arc<Mutex<VecDeque<String>>>,
    is_printed: bool,
}

impl Trace {
    /// Makes a trace that is printed as it grows, or kept for a failure.
    pub(super) fn new(is_printed: bool) -> Self {
        Self { lines: Arc::default(), is_printed }
    }

    pub(super) fn note(&self, line: String) {
        if self.is_printed {
            println!("  {line}");
            return;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TRACE_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Returns what was kept.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Prints the seed where the code under test panics.
pub(super) struct SeedGuard<'a> {
    kind: Kind,
    seed: Seed,
    options: &'a Options,
}

impl<'a> SeedGuard<'a> {
    pub(super) fn new(kind: Kind, seed: Seed, options: &'a Options) -> Self {
        Self { kind, seed, options }
    }
}

impl Drop for SeedGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { kind, seed, options } = self;
            eprintln!(
                "options: {options:?}\nseed {seed} of {}: panicked, see above",
                kind.as_str()
            );
        }
    }
}
