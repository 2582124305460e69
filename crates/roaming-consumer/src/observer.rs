//! What the page shows of runs: read from the store, so that every replica shows the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use roaming_analytics::LaneRow;
use roaming_analytics::invariant::{self, Subject};
use roaming_events::{RunId, SimDuration, SimTime, Totals};
use roaming_service::telemetry::chain;
use roaming_store::{Store, StoreError, SummaryKey};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::ConsumerMetrics;
use crate::runs::{KnownRun, Runs};
use crate::verify::{self, Verification, VerifyError};

/// Time between two looks at the store.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most runs that are looked at, the newest that are not deleted; others are for SQL and `verify`.
const RUNS_MAX: usize = 20;
/// Looks whose throughput is remembered: two minutes.
const THROUGHPUT_MAX: usize = 120;
/// The longest that who looks at the page waits for sums as new as the rest; a busy store may take longer.
const SUMS_WAIT_MAX: Duration = Duration::from_secs(2);
/// From this speed on, of all runs together, a comparison waits: it takes every core, and would take them from
/// those who count…
const BUSY_EVENTS_PER_S: u64 = 100_000;
/// …but no longer than this after a run's end.
const COMPARISON_WAIT_MAX: Duration = Duration::from_secs(30);

/// Watches runs.
pub(crate) struct Observer<S> {
    store: Arc<S>,
    runs: Arc<Runs<S>>,
    window: SimDuration,
    metrics: ConsumerMetrics,
    /// Runs as they were last seen, the newest first.
    sights: watch::Sender<Vec<Arc<Sight>>>,
    /// Whether somebody looked at the page since the last look at the store.
    is_watched: AtomicBool,
}

/// A run as it was last seen.
#[derive(Clone)]
pub(crate) struct Sight {
    pub(crate) run: Arc<KnownRun>,
    /// Every lane of the run, an unseen one at the run's start.
    pub(crate) lanes: Vec<LaneRow>,
    pub(crate) watermark: SimTime,
    /// Sums by network, procedure and outcome; read only while somebody looks.
    pub(crate) summary: Arc<BTreeMap<SummaryKey, Totals>>,
    /// Events a second, the oldest first.
    pub(crate) throughput: VecDeque<u64>,
    pub(crate) verdict: Verdict,
    summed_events: u64,
    /// When it was first seen at its end.
    finished: Option<Instant>,
}

/// What is known of a run's balance.
#[derive(Clone)]
pub(crate) enum Verdict {
    /// Not at its end: what the invariants say so far.
    SoFar(Vec<String>),
    /// At its end: the ledger is being made.
    Comparing,
    /// Compared with the ledger.
    Compared(Arc<Verification>),
    /// The ledger could not be made.
    Failed(String),
}

/// A comparison that is under way. There is one at a time: it takes every core.
struct Comparison {
    run: RunId,
    result: oneshot::Receiver<Verdict>,
}

impl Sight {
    fn new(run: Arc<KnownRun>) -> Self {
        Self {
            lanes: Vec::new(),
            watermark: run.row.start,
            summary: Arc::default(),
            throughput: VecDeque::new(),
            verdict: Verdict::SoFar(Vec::new()),
            summed_events: 0,
            finished: None,
            run,
        }
    }

    pub(crate) fn events(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.tally.events).sum()
    }

    fn is_judged(&self) -> bool {
        matches!(self.verdict, Verdict::Compared(_) | Verdict::Failed(_))
    }

    fn is_summed(&self) -> bool {
        self.summed_events == self.events()
    }

    pub(crate) fn is_finished(&self) -> bool {
        !self.lanes.is_empty() && self.lanes.iter().all(LaneRow::is_finished)
    }
}

impl<S: Store> Observer<S> {
    pub(crate) fn new(
        store: Arc<S>,
        runs: Arc<Runs<S>>,
        window: SimDuration,
        metrics: ConsumerMetrics,
    ) -> Self {
        let (sights, is_watched) = (watch::Sender::default(), AtomicBool::new(false));
        Self { store, runs, window, metrics, sights, is_watched }
    }

    /// Length of an aggregate window.
    pub(crate) fn window(&self) -> SimDuration {
        self.window
    }

    /// Returns the runs as last seen, the newest first: with sums that are as new where the store gives them soon,
    /// else with the sums of before.
    pub(crate) async fn sights(&self) -> Vec<Arc<Sight>> {
        self.is_watched.store(true, Ordering::Relaxed);
        summed_or_last(self.sights.subscribe()).await
    }

    /// Looks at the store once a second, for ever.
    pub(crate) async fn watch(&self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut comparison = None;
        let mut last = Instant::now();
        loop {
            let now = ticks.tick().await;
            if let Err(error) = self.look(now.duration_since(last), &mut comparison).await {
                self.metrics.error(error.kind());
                warn!(error = chain(&error), "the page shows runs as they were");
            }
            last = now;
        }
    }

    async fn look(
        &self,
        elapsed: Duration,
        comparison: &mut Option<Comparison>,
    ) -> Result<(), StoreError> {
        let is_watched = self.is_watched.swap(false, Ordering::Relaxed);
        let before = self.sights.borrow().clone();
        let events_per_s: u64 = before.iter().filter_map(|sight| sight.throughput.back()).sum();
        let mut sights = Vec::new();
        let runs = self.runs.known().newest().into_iter().filter(|run| !run.is_deleted());
        for run in runs.take(RUNS_MAX) {
            let before = before.iter().find(|sight| sight.run.row.run == run.row.run);
            let mut sight = before.map_or_else(|| Sight::new(Arc::clone(&run)), |s| (**s).clone());
            sight.run = run;
            // Of a run that was compared nothing changes but for what comes twice: only who looks asks for it.
            if is_watched || !sight.is_judged() {
                self.update(&mut sight, elapsed, is_watched).await?;
            }
            self.judge(&mut sight, comparison, events_per_s);
            sights.push(Arc::new(sight));
        }
        self.sights.send_replace(sights);
        Ok(())
    }

    async fn update(
        &self,
        sight: &mut Sight,
        elapsed: Duration,
        is_watched: bool,
    ) -> Result<(), StoreError> {
        let row = &sight.run.row;
        let progress = self.store.progress(row.run).await?;
        let before = sight.events();
        let is_first = sight.lanes.is_empty();
        let mut found = progress.lanes.into_iter().peekable();
        sight.lanes = roaming_events::LaneId::all(row.lanes)
            .map(|lane| {
                let unseen = || LaneRow::unseen(row.run, lane, row.start);
                found.next_if(|row| row.lane == lane).unwrap_or_else(unseen)
            })
            .collect();
        sight.watermark = progress.watermark.unwrap_or(row.start);
        let events = sight.events();
        if !is_first && !elapsed.is_zero() {
            let grown = u128::from(events.saturating_sub(before)) * 1000;
            let rate = grown / elapsed.as_millis().max(1);
            sight.throughput.push_back(u64::try_from(rate).unwrap_or(u64::MAX));
            if sight.throughput.len() > THROUGHPUT_MAX {
                sight.throughput.pop_front();
            }
        }
        if is_watched && !sight.is_summed() {
            self.sum_up(sight).await?;
        }
        Ok(())
    }

    async fn sum_up(&self, sight: &mut Sight) -> Result<(), StoreError> {
        sight.summary = Arc::new(self.store.summary(sight.run.row.run).await?);
        sight.summed_events = sight.events();
        Ok(())
    }

    /// Brings the verdict up to date, and starts a comparison where a run has reached its end.
    fn judge(&self, sight: &mut Sight, comparison: &mut Option<Comparison>, events_per_s: u64) {
        let run = sight.run.row.run;
        if let Some(under_way) = comparison.as_mut().filter(|comparison| comparison.run == run) {
            match under_way.result.try_recv() {
                Ok(verdict) => sight.verdict = verdict,
                Err(oneshot::error::TryRecvError::Empty) => return,
                Err(oneshot::error::TryRecvError::Closed) => {
                    sight.verdict = Verdict::Failed("the comparison was broken off".to_owned());
                }
            }
            *comparison = None;
            return;
        }
        if sight.is_judged() {
            return;
        }
        if sight.is_finished() {
            let finished = *sight.finished.get_or_insert_with(Instant::now);
            if comparison.is_none() && may_compare(finished.elapsed(), events_per_s) {
                sight.verdict = Verdict::Comparing;
                *comparison = Some(self.compare(Arc::clone(&sight.run)));
            }
        } else {
            sight.verdict = Verdict::SoFar(violations(&sight.lanes));
        }
    }

    fn compare(&self, run: Arc<KnownRun>) -> Comparison {
        let store = Arc::clone(&self.store);
        let metrics = self.metrics.clone();
        let (sender, result) = oneshot::channel();
        let id = run.row.run;
        tokio::spawn(async move {
            let verdict = match verify::verify(&*store, &run.row).await {
                Ok(verification) => {
                    let (name, holds) = (&run.row.name, verification.holds());
                    let digest = verification.balance.sums().found.digest;
                    info!(run = name, holds, %digest, "run compared with its ledger");
                    Verdict::Compared(Arc::new(verification))
                }
                Err(error @ VerifyError::CleanedUp { .. }) => Verdict::Failed(chain(&error)),
                Err(error) => {
                    metrics.error("ledger");
                    warn!(run = %id, error = chain(&error), "run not compared with its ledger");
                    Verdict::Failed(chain(&error))
                }
            };
            // Nobody waits only where the consumer stops.
            let _ = sender.send(verdict);
        });
        Comparison { run: id, result }
    }
}

/// Waits until the next look at the store has summed up, where nobody looked for a while, but not for long.
async fn summed_or_last(mut sights: watch::Receiver<Vec<Arc<Sight>>>) -> Vec<Arc<Sight>> {
    let is_summed = |sights: &Vec<Arc<Sight>>| sights.iter().all(|sight| sight.is_summed());
    // Late sums are no error: the page shows those of before.
    let _ = timeout(SUMS_WAIT_MAX, sights.wait_for(is_summed)).await;
    let last = sights.borrow();
    last.clone()
}

fn violations(lanes: &[LaneRow]) -> Vec<String> {
    lanes
        .iter()
        .filter_map(|lane| invariant::check(&Subject::Lane(lane)).err())
        .map(|violation| violation.to_string())
        .collect()
}

/// Whether a run that is at its end since `ended` may be compared while all runs together grow by
/// `events_per_s`.
fn may_compare(ended: Duration, events_per_s: u64) -> bool {
    events_per_s < BUSY_EVENTS_PER_S || ended > COMPARISON_WAIT_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::row_named;

    fn sight(summed_events: u64) -> Arc<Sight> {
        let run = KnownRun { row: row_named("watched"), order: 1 };
        Arc::new(Sight { summed_events, ..Sight::new(Arc::new(run)) })
    }

    #[tokio::test]
    async fn late_sums_keep_nobody_waiting_for_long() {
        let (sights, seen) = watch::channel(vec![sight(1)]);
        let asked = Instant::now();
        let shown = summed_or_last(seen.clone()).await;
        assert!(!shown[0].is_summed() && asked.elapsed() >= SUMS_WAIT_MAX);

        let waiting = tokio::spawn(summed_or_last(seen));
        // It waits by then.
        tokio::task::yield_now().await;
        sights.send_replace(vec![sight(0)]);
        assert!(waiting.await.unwrap()[0].is_summed());
    }

    #[test]
    fn a_comparison_waits_for_the_end_of_a_rush_but_not_for_ever() {
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(31));
        assert!(may_compare(soon, 99_999));
        assert!(!may_compare(soon, 100_000));
        assert!(may_compare(late, 2_000_000));
    }
}
