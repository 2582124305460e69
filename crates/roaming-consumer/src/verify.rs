//! The proof of a run: its ledger, made anew from the specification alone, against what the store holds.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fmt, thread};

use roaming_analytics::{Balance, Extent, FoundRun, LaneRow};
use roaming_events::{LaneId, Sequence, SimDuration, SimTime, Tally};
use roaming_service::telemetry::chain;
use roaming_sim::{Simulation, Specification, SpecificationError, ledger};
use roaming_store::{Found, RunRow, Store, StoreError};
use tokio::task::spawn_blocking;
use tracing::debug;

/// A run's balance, and how much of the run it is about.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The balance.
    pub balance: Balance,
    /// How far the run is.
    pub completeness: Completeness,
}

/// How much of a run there is to verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Every lane must be finished.
    Whole,
    /// The run was stopped or deleted: each lane is compared up to where it stopped.
    Stopped,
    /// The run is still going on, or its consumer is behind: each lane is compared up to where it is.
    Unfinished {
        /// Lanes that are finished.
        finished: usize,
        /// Lanes of the run.
        lanes: u16,
    },
}

impl Verification {
    /// Whether the run is complete, or was stopped, and balances.
    pub fn holds(&self) -> bool {
        self.balance.holds() && !matches!(self.completeness, Completeness::Unfinished { .. })
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.balance)?;
        match self.completeness {
            Completeness::Whole => Ok(()),
            Completeness::Stopped => {
                writeln!(f, "the run was stopped: compared up to where each lane stopped")
            }
            Completeness::Unfinished { finished, lanes } => writeln!(
                f,
                "the run is not finished: {finished} of {lanes} lanes are; compared up to where each lane is, verify again when it has ended"
            ),
        }
    }
}

/// Compares a run in a store with its ledger, made on all cores at the lowest priority.
///
/// # Errors
/// Fails where the store cannot be read, or this engine cannot make the run's stream.
pub async fn verify<S: Store>(store: &S, run: &RunRow) -> Result<Verification, VerifyError> {
    let found = store.found(run.run).await?;
    if let Some(ms) = found.cleaned_ms {
        let (name, at) = (run.name.clone(), SimTime::from_unix_ms(ms).to_string());
        return Err(VerifyError::CleanedUp { name, at });
    }
    let window = store.window().await?.ok_or(VerifyError::NoWindow)?;
    let specification: Specification = serde_json::from_str(&run.specification_json)
        .map_err(|source| VerifyError::Specification { name: run.name.clone(), source })?;
    let simulation = Simulation::try_new(Arc::new(specification))?;
    let simulation = Arc::new(simulation);
    let completeness = completeness(run, &found.lanes);
    let balance = spawn_blocking(move || compare(&simulation, window, &found, completeness))
        .await
        .map_err(|_| VerifyError::Panicked)?;
    Ok(Verification { balance, completeness })
}

/// Returns the run that `name` means: the last that was loaded under it.
///
/// # Errors
/// Fails where there is none; the message lists the known ones and the most similar.
pub async fn find_run<S: Store>(store: &S, name: &str) -> Result<RunRow, VerifyError> {
    let runs = store.runs().await?;
    match runs.iter().rfind(|run| run.name == name) {
        Some(run) => Ok(run.clone()),
        None => Err(unknown(name, &runs)),
    }
}

fn unknown(name: &str, runs: &[RunRow]) -> VerifyError {
    /// From this similarity on, two names are taken for one with a slip.
    const SIMILAR: f64 = 0.7;
    let mut known: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    let similar = known
        .iter()
        .map(|known| (strsim::jaro_winkler(known, name), *known))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match (similar, known.is_empty()) {
        (Some((_, similar)), _) => {
            format!("known: {} (did you mean `{similar}`?)", known.join(", "))
        }
        (None, false) => format!("known: {}", known.join(", ")),
        (None, true) => {
            "the store holds no run yet; load one with `load-scenarios --profile demo`".to_owned()
        }
    };
    VerifyError::UnknownRun { name: name.to_owned(), hint }
}

fn completeness(run: &RunRow, lanes: &[LaneRow]) -> Completeness {
    if run.is_finished(lanes) {
        Completeness::Whole
    } else if run.is_stopped() {
        Completeness::Stopped
    } else {
        let finished = lanes.iter().filter(|lane| lane.is_finished()).count();
        Completeness::Unfinished { finished, lanes: run.lanes }
    }
}

/// Makes the ledger and compares; computes for as long as the run's events take to make.
fn compare(
    simulation: &Arc<Simulation>,
    window: SimDuration,
    found: &Found,
    completeness: Completeness,
) -> Balance {
    let (extent, prefixes) = match completeness {
        Completeness::Whole => (Extent::Whole, BTreeMap::new()),
        Completeness::Stopped => (Extent::Stopped, prefixes(simulation, &found.lanes)),
        Completeness::Unfinished { .. } => (Extent::SoFar, prefixes(simulation, &found.lanes)),
    };
    let expected = ledger(simulation, window, &prefixes);
    let found = FoundRun {
        lanes: &found.lanes,
        rows: &found.rows,
        unattributed_rejects: found.unattributed_rejects,
    };
    Balance::compare(&expected, &found, extent)
}

/// Returns where each lane is that is not finished.
fn prefixes(simulation: &Simulation, lanes: &[LaneRow]) -> BTreeMap<LaneId, Sequence> {
    let mut prefixes: BTreeMap<LaneId, Sequence> =
        LaneId::all(simulation.specification().lanes).map(|lane| (lane, Sequence::ZERO)).collect();
    for lane in lanes {
        if lane.is_finished() {
            prefixes.remove(&lane.lane);
        } else {
            prefixes.insert(lane.lane, lane.next);
        }
    }
    prefixes
}

/// Makes the ledger of a run, or of the lanes up to `prefixes`, with a thread on each core that gives way to
/// whoever counts.
pub fn ledger(
    simulation: &Arc<Simulation>,
    window: SimDuration,
    prefixes: &BTreeMap<LaneId, Sequence>,
) -> Tally {
    let lanes: Vec<LaneId> = LaneId::all(simulation.specification().lanes).collect();
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(lanes.len());
    let work = || {
        give_way();
        let mut tally = Tally::default();
        while let Some(lane) = lanes.get(next.fetch_add(1, Ordering::Relaxed)) {
            tally.merge(&ledger::lane(simulation, *lane, window, prefixes.get(lane).copied()));
        }
        tally
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut whole = Tally::default();
        for thread in threads {
            whole.merge(
                &thread.join().expect("the engine does not panic on a checked specification"),
            );
        }
        whole
    })
}

/// Lets this thread compute only where nobody else wants to: a proof can wait, a partition should not.
#[cfg(target_os = "linux")]
fn give_way() {
    /// The lowest priority (`setpriority(2)`); on Linux it is a thread's own.
    const LOWEST: i32 = 19;
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST) {
        debug!(error = chain(&error), "the ledger is made at the usual priority");
    }
}

/// Elsewhere a priority is the whole process's.
#[cfg(not(target_os = "linux"))]
fn give_way() {}

/// Why a run could not be verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The store has no such run.
    #[error("unknown run `{name}`; {hint}")]
    UnknownRun {
        /// The name that was asked for.
        name: String,
        /// Known names, and the most similar one.
        hint: String,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing was ever counted.
    #[error("the store was never used by a consumer; start roaming-consumer on it")]
    NoWindow,
    /// There is nothing left to compare.
    #[error(
        "the rows of run `{name}` were cleaned up at {at} and cannot be compared; its lanes and their digests are in the store"
    )]
    CleanedUp {
        /// The run.
        name: String,
        /// When: wall time, in the one form that times are printed in.
        at: String,
    },
    /// The stored specification cannot be read.
    #[error(
        "the stored specification of run `{name}` cannot be read; verify it with the release that counted it"
    )]
    Specification {
        /// The run.
        name: String,
        /// Where it breaks.
        source: serde_json::Error,
    },
    /// The engine cannot make the run's stream.
    #[error(transparent)]
    Simulation(#[from] SpecificationError),
    /// The engine panicked.
    #[error("the engine panicked; its message is above")]
    Panicked,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::row_named;

    #[test]
    fn an_unknown_run_is_answered_with_the_similar_one() {
        let known = ["urban", "demo", "demo"].map(row_named);
        assert_eq!(
            unknown("dmo", &known).to_string(),
            "unknown run `dmo`; known: demo, urban (did you mean `demo`?)"
        );
        assert!(unknown("x", &[]).to_string().contains("with `load-scenarios --profile demo`"));
    }
}
