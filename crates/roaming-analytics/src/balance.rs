//! The balance of a run: what the ledger says against what was found, to the unit.

mod sheet;

use std::collections::BTreeMap;

use roaming_events::{LaneId, LaneTally, RowKey, Tally, Totals};

use crate::checkpoint::LaneRow;
use crate::invariant::{self, Subject, Violation};

/// The most differing rows, and the most broken invariants, that a balance keeps one by one. All are counted.
pub const LISTED_MAX: usize = 100;

/// How much of a run the ledger was computed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it: each lane must be finished.
    Whole,
    /// The run was stopped: the ledger is that of each lane up to its high-water mark, and the sheet says
    /// where each lane stopped.
    Stopped,
    /// The run goes on, or is not counted to its end: as [`Self::Stopped`], and the sheet says where each
    /// lane is so far.
    SoFar,
}

/// What a store holds of a run, over all partitions.
#[derive(Clone, Copy, Debug)]
pub struct FoundRun<'a> {
    /// Every lane that was ever seen.
    pub lanes: &'a [LaneRow],
    /// Aggregate rows, summed over partitions.
    pub rows: &'a BTreeMap<RowKey, Totals>,
    /// Records rejected that took no lane's number. They may be of another run, or of none; the sheet
    /// names them, and they do not disturb the balance.
    pub unattributed_rejects: u64,
}

/// A run's balance sheet.
#[derive(Clone, Debug)]
pub struct Balance {
    extent: Extent,
    lanes: Vec<LaneLine>,
    rows: Vec<RowLine>,
    rows_compared: usize,
    rows_differing: usize,
    violations: Vec<Violation>,
    violations_found: usize,
    unattributed_rejects: u64,
}

/// One lane of the sheet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneLine {
    /// The lane.
    pub lane: LaneId,
    /// What the ledger says.
    pub expected: Option<LaneTally>,
    /// What was found.
    pub found: Option<LaneRow>,
    /// What is wrong; empty where the lane balances.
    pub findings: Vec<LaneFinding>,
}

/// What is wrong with a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LaneFinding {
    /// The ledger has the lane, the store has not.
    NotFound,
    /// The store has the lane, or has it twice, and the ledger has not.
    NotExpected,
    /// The number of events differs.
    Events,
    /// The digest differs.
    Digest,
    /// Events are missing below the high-water mark.
    Missing,
    /// Records of the lane could not be read.
    Rejected,
    /// The end of the lane was not seen.
    Unfinished,
    /// The lane missed more intervals than are kept.
    Failed,
}

impl LaneFinding {
    /// Returns the finding's name on the sheet.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::NotExpected => "not expected",
            Self::Events => "events differ",
            Self::Digest => "digest differs",
            Self::Missing => "events missing",
            Self::Rejected => "records rejected",
            Self::Unfinished => "not finished",
            Self::Failed => "failed: too many gaps",
        }
    }
}

/// One aggregate row that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLine {
    /// The row.
    pub key: RowKey,
    /// What the ledger says.
    pub expected: Option<Totals>,
    /// What was found.
    pub found: Option<Totals>,
}

/// The sums at the foot of the sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sums {
    /// Lanes on the sheet.
    pub lanes: usize,
    /// Lanes that are finished.
    pub lanes_finished: usize,
    /// Lanes that differ.
    pub lanes_differing: usize,
    /// Events that the ledger says, and their digest.
    pub expected: LaneTally,
    /// Events found, and their digest.
    pub found: LaneTally,
    /// Missing intervals.
    pub gaps: usize,
    /// Events missing below the high-water marks.
    pub missing: u64,
    /// Numbered records dropped because they had been counted before.
    pub duplicates: u64,
    /// Numbers taken by records that could not be read.
    pub rejected: u64,
}

impl Balance {
    /// Compares what the ledger says with what was found.
    pub fn compare(expected: &Tally, found: &FoundRun<'_>, extent: Extent) -> Self {
        let mut balance = Self {
            extent,
            lanes: compare_lanes(&expected.lanes, found.lanes, extent),
            rows: Vec::new(),
            rows_compared: 0,
            rows_differing: 0,
            violations: Vec::new(),
            violations_found: 0,
            unattributed_rejects: found.unattributed_rejects,
        };
        balance.compare_rows(&expected.rows, found.rows);
        balance.check_invariants(found);
        balance
    }

    /// Whether nothing was lost and nothing counted twice.
    pub fn holds(&self) -> bool {
        self.rows_differing == 0
            && self.violations_found == 0
            && self.lanes.iter().all(|line| line.findings.is_empty())
    }

    /// Returns how much of the run was compared.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Returns every lane, in order.
    pub fn lanes(&self) -> &[LaneLine] {
        &self.lanes
    }

    /// Returns the rows that differ, in order, at most [`LISTED_MAX`] of them.
    pub fn rows(&self) -> &[RowLine] {
        &self.rows
    }

    /// Returns how many rows were compared.
    pub fn rows_compared(&self) -> usize {
        self.rows_compared
    }

    /// Returns how many rows differ.
    pub fn rows_differing(&self) -> usize {
        self.rows_differing
    }

    /// Returns the invariants that do not hold of what was found, at most [`LISTED_MAX`] of them.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Returns the number of records rejected that took no lane's number.
    pub fn unattributed_rejects(&self) -> u64 {
        self.unattributed_rejects
    }

    /// Returns the sums over all lanes.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for line in &self.lanes {
            sums.lanes += 1;
            sums.lanes_differing += usize::from(!line.findings.is_empty());
            add(&mut sums.expected, line.expected.unwrap_or_default());
            if let Some(found) = &line.found {
                sums.lanes_finished += usize::from(found.is_finished());
                add(&mut sums.found, found.tally);
                sums.gaps += found.gaps.len();
                sums.missing += found.missing();
                sums.duplicates += found.duplicates;
                sums.rejected += found.rejected;
            }
        }
        sums
    }

    fn compare_rows(
        &mut self,
        expected: &BTreeMap<RowKey, Totals>,
        found: &BTreeMap<RowKey, Totals>,
    ) {
        let only_found = found.keys().filter(|key| !expected.contains_key(key));
        self.rows_compared = expected.len() + only_found.clone().count();
        let mut keys: Vec<RowKey> = expected
            .iter()
            .filter(|(key, totals)| found.get(key) != Some(totals))
            .map(|(key, _)| *key)
            .chain(only_found.copied())
            .collect();
        keys.sort_unstable();
        self.rows_differing = keys.len();
        self.rows = keys
            .into_iter()
            .take(LISTED_MAX)
            .map(|key| RowLine {
                key,
                expected: expected.get(&key).copied(),
                found: found.get(&key).copied(),
            })
            .collect();
    }

    fn check_invariants(&mut self, found: &FoundRun<'_>) {
        let growth = Subject::Growth {
            lanes: found.lanes.iter().map(|lane| lane.tally.events).sum(),
            rows: found.rows.values().map(|totals| totals.events).sum(),
        };
        let lanes = found.lanes.iter().map(Subject::Lane);
        let rows = found.rows.iter().map(|(key, totals)| Subject::Row { key, totals });
        for violation in
            lanes.chain(rows).chain([growth]).filter_map(|subject| invariant::check(&subject).err())
        {
            self.violations_found += 1;
            if self.violations.len() < LISTED_MAX {
                self.violations.push(violation);
            }
        }
    }
}

fn add(sum: &mut LaneTally, more: LaneTally) {
    sum.events += more.events;
    sum.digest.merge(more.digest);
}

fn compare_lanes(
    expected: &BTreeMap<LaneId, LaneTally>,
    found: &[LaneRow],
    extent: Extent,
) -> Vec<LaneLine> {
    let mut rows: Vec<&LaneRow> = found.iter().collect();
    rows.sort_by_key(|row| row.lane);
    let mut lines: Vec<LaneLine> = Vec::new();
    for row in rows {
        let is_repeated = lines.last().is_some_and(|line| line.lane == row.lane);
        let expected = if is_repeated { None } else { expected.get(&row.lane).copied() };
        let findings = findings(expected, row, extent);
        lines.push(LaneLine { lane: row.lane, expected, found: Some(row.clone()), findings });
    }
    for (lane, tally) in expected {
        if lines.binary_search_by_key(lane, |line| line.lane).is_err() {
            // A lane that was stopped before its first event leaves no trace.
            let is_fine = extent != Extent::Whole && *tally == LaneTally::default();
            let findings = if is_fine { Vec::new() } else { vec![LaneFinding::NotFound] };
            let line = LaneLine { lane: *lane, expected: Some(*tally), found: None, findings };
            let at = lines.partition_point(|line| line.lane < *lane);
            lines.insert(at, line);
        }
    }
    lines
}

fn findings(expected: Option<LaneTally>, found: &LaneRow, extent: Extent) -> Vec<LaneFinding> {
    let is_same = |same: fn(&LaneTally, &LaneTally) -> bool| {
        expected.is_none_or(|expected| same(&expected, &found.tally))
    };
    [
        (LaneFinding::NotExpected, expected.is_some()),
        (LaneFinding::Events, is_same(|a, b| a.events == b.events)),
        (LaneFinding::Digest, is_same(|a, b| a.digest == b.digest)),
        (LaneFinding::Missing, found.gaps.is_empty()),
        (LaneFinding::Rejected, found.rejected == 0),
        (LaneFinding::Unfinished, extent != Extent::Whole || found.is_finished()),
        (LaneFinding::Failed, !found.failed),
    ]
    .into_iter()
    .filter_map(|(finding, is_fine)| (!is_fine).then_some(finding))
    .collect()
}
