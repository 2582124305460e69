//! The JSON of `/api/runs`.

use std::collections::BTreeMap;

use roaming_analytics::LaneRow;
use roaming_events::{EventType, Outcome, PlmnId, SimTime, Totals};
use roaming_store::SummaryKey;
use serde::Serialize;

use crate::observer::{Sight, Verdict};

/// The most differing lanes and rows that are named one by one.
const NAMED_MAX: usize = 12;

/// Everything that the page shows.
#[derive(Serialize)]
pub(super) struct RunsView<'a> {
    /// Version of the consumer.
    pub(super) version: &'static str,
    /// Name of the replica that answers.
    pub(super) consumer: &'a str,
    /// Whether it is ready; `/readyz` says why it is not.
    pub(super) is_ready: bool,
    /// Length of an aggregate window, in simulated minutes.
    pub(super) window_minutes: u64,
    /// Runs, the newest first, at most 20.
    pub(super) runs: Vec<RunView<'a>>,
}

/// One run.
#[derive(Serialize)]
pub(super) struct RunView<'a> {
    /// The run id, 16 hexadecimal digits.
    run: String,
    /// The name under which it was loaded.
    name: &'a str,
    /// The desired state: `running`, `paused` or `stopped`.
    state: &'a str,
    /// What is the case: `waiting`, `running`, `paused`, `stopped`, `finished`.
    phase: &'static str,
    /// Simulated start.
    start: SimTime,
    /// When every lane has ended, simulated.
    end: SimTime,
    /// Simulated time up to which everything is counted.
    watermark: SimTime,
    /// The same as a share of the run, 0 to 1.
    progress: f64,
    /// Events counted.
    events: u64,
    /// Numbered records dropped because they had been counted before.
    duplicates: u64,
    /// Missing intervals.
    gaps: usize,
    /// Events missing in them.
    missing: u64,
    /// Records of the run's lanes that could not be read.
    rejected: u64,
    /// Events a second, one value a second, the oldest first, at most two minutes.
    throughput: Vec<u64>,
    /// The lanes, in order.
    lanes: Vec<LaneView>,
    /// Lanes that are finished.
    lanes_finished: usize,
    /// Sums by procedure.
    procedures: Vec<ProcedureView>,
    /// Sums by visited network.
    networks: Vec<NetworkView>,
    /// The balance.
    balance: BalanceView,
}

/// One lane.
#[derive(Serialize)]
struct LaneView {
    lane: u16,
    /// `waiting`, `running`, `finished` or `broken`.
    state: &'static str,
    events: u64,
}

/// One procedure, by outcome.
#[derive(Serialize)]
struct ProcedureView {
    procedure: EventType,
    success: u64,
    rejected: u64,
    failed: u64,
}

/// One visited network: its registrations (location updates), and all its events.
#[derive(Serialize)]
struct NetworkView {
    visited_plmn: PlmnId,
    events: u64,
    attaches: u64,
    attaches_successful: u64,
    /// Mean time to the answer, in milliseconds; absent where there is none.
    attach_mean_ms: Option<f64>,
    /// Upper bound of the bucket that holds the 95th percentile, in milliseconds; absent where there is
    /// none, or it is above the last bound.
    attach_p95_ms: Option<f64>,
}

/// What is known of the balance.
#[derive(Serialize)]
struct BalanceView {
    /// `consistent` or `inconsistent` by the invariants so far; `comparing`; `holds` or `broken` by the
    /// ledger; `unknown` where the ledger could not be made.
    verdict: &'static str,
    /// Digest over all lanes found, once compared.
    digest: Option<String>,
    /// Events that the ledger says, once compared.
    expected_events: Option<u64>,
    /// Aggregate rows compared.
    rows_compared: Option<usize>,
    /// What is wrong, lane by lane and row by row; at most 12 of each.
    findings: Vec<String>,
}

impl<'a> RunView<'a> {
    pub(super) fn of(sight: &'a Sight) -> Self {
        let row = &sight.run.row;
        let sum = |count: fn(&LaneRow) -> u64| sight.lanes.iter().map(count).sum();
        Self {
            run: row.run.to_string(),
            name: &row.name,
            state: &row.state,
            phase: phase(sight),
            start: row.start,
            end: row.end,
            watermark: sight.watermark,
            progress: progress(sight),
            events: sight.events(),
            duplicates: sum(|lane| lane.duplicates),
            gaps: sight.lanes.iter().map(|lane| lane.gaps.len()).sum(),
            missing: sum(LaneRow::missing),
            rejected: sum(|lane| lane.rejected),
            throughput: sight.throughput.iter().copied().collect(),
            lanes: sight.lanes.iter().map(LaneView::of).collect(),
            lanes_finished: sight.lanes.iter().filter(|lane| lane.is_finished()).count(),
            procedures: procedures(&sight.summary),
            networks: networks(&sight.summary),
            balance: BalanceView::of(&sight.verdict),
        }
    }
}

fn phase(sight: &Sight) -> &'static str {
    match sight.run.row.state.as_str() {
        _ if sight.is_finished() => "finished",
        "paused" => "paused",
        "stopped" => "stopped",
        _ if sight.events() == 0 => "waiting",
        _ => "running",
    }
}

fn progress(sight: &Sight) -> f64 {
    if sight.is_finished() {
        return 1.0;
    }
    let row = &sight.run.row;
    let whole = row.end.since(row.start).ms().max(1);
    (sight.watermark.since(row.start).ms() as f64 / whole as f64).min(1.0)
}

impl LaneView {
    fn of(lane: &LaneRow) -> Self {
        let state = if lane.failed || !lane.gaps.is_empty() || lane.rejected > 0 {
            "broken"
        } else if lane.is_finished() {
            "finished"
        } else if lane.next.get() > 0 {
            "running"
        } else {
            "waiting"
        };
        Self { lane: lane.lane.get(), state, events: lane.tally.events }
    }
}

fn procedures(summary: &BTreeMap<SummaryKey, Totals>) -> Vec<ProcedureView> {
    EventType::ALL
        .iter()
        .map(|procedure| {
            let sum = |outcome| {
                summary
                    .iter()
                    .filter(|(key, _)| key.procedure == *procedure && key.outcome == outcome)
                    .map(|(_, totals)| totals.events)
                    .sum()
            };
            ProcedureView {
                procedure: *procedure,
                success: sum(Outcome::Success),
                rejected: sum(Outcome::Rejected),
                failed: sum(Outcome::Failed),
            }
        })
        .collect()
}

fn networks(summary: &BTreeMap<SummaryKey, Totals>) -> Vec<NetworkView> {
    let mut networks: BTreeMap<PlmnId, (u64, u64, Totals)> = BTreeMap::new();
    for (key, totals) in summary {
        let (events, successful, attaches) = networks.entry(key.visited_plmn).or_default();
        *events += totals.events;
        if key.procedure == EventType::LocationUpdate {
            attaches.merge(totals);
            if key.outcome == Outcome::Success {
                *successful += totals.events;
            }
        }
    }
    networks
        .into_iter()
        .map(|(visited_plmn, (events, attaches_successful, attaches))| NetworkView {
            visited_plmn,
            events,
            attaches: attaches.events,
            attaches_successful,
            attach_mean_ms: (attaches.events > 0)
                .then(|| attaches.latency_us as f64 / attaches.events as f64 / 1e3),
            attach_p95_ms: attaches.latency_percentile_us(95).map(|bound| f64::from(bound) / 1e3),
        })
        .collect()
}

impl BalanceView {
    fn of(verdict: &Verdict) -> Self {
        let plain = |verdict, findings| Self {
            verdict,
            digest: None,
            expected_events: None,
            rows_compared: None,
            findings,
        };
        match verdict {
            Verdict::SoFar(violations) if violations.is_empty() => plain("consistent", Vec::new()),
            Verdict::SoFar(violations) => {
                plain("inconsistent", violations.iter().take(NAMED_MAX).cloned().collect())
            }
            Verdict::Comparing => plain("comparing", Vec::new()),
            Verdict::Failed(reason) => plain("unknown", vec![reason.clone()]),
            Verdict::Compared(verification) => {
                let balance = &verification.balance;
                let sums = balance.sums();
                let lanes = balance
                    .lanes()
                    .iter()
                    .filter(|line| !line.findings.is_empty())
                    .take(NAMED_MAX)
                    .map(|line| {
                        let findings: Vec<_> =
                            line.findings.iter().map(|finding| finding.as_str()).collect();
                        format!("lane {}: {}", line.lane, findings.join(", "))
                    });
                let rows = balance.rows().iter().take(NAMED_MAX).map(|line| {
                    let events = |totals: Option<Totals>| {
                        totals.map_or("no row".to_owned(), |totals| {
                            format!("{} events", totals.events)
                        })
                    };
                    format!(
                        "row {} {} in {}, {} {} {}: ledger {}, store {}",
                        line.key.window_start,
                        line.key.home_plmn,
                        line.key.visited_plmn,
                        line.key.rat,
                        line.key.procedure,
                        line.key.outcome,
                        events(line.expected),
                        events(line.found),
                    )
                });
                Self {
                    verdict: if verification.holds() { "holds" } else { "broken" },
                    digest: Some(sums.found.digest.to_string()),
                    expected_events: Some(sums.expected.events),
                    rows_compared: Some(balance.rows_compared()),
                    findings: lanes.chain(rows).collect(),
                }
            }
        }
    }
}
