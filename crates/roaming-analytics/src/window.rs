//! A bounded cache of aggregate rows over the store.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use indexmap::IndexMap;
use roaming_events::{RowKey, RunId, SimTime, Totals};

use crate::invariant::{self, Subject};

/// The rows that changed lately, and those of open windows. What is not here is in the store, or
/// nowhere yet.
#[derive(Clone, Debug)]
pub(crate) struct RowCache {
    /// Hashed, since every event looks for its row; in the order in which they were made.
    rows: IndexMap<(RunId, RowKey), Row, FixedState>,
    rows_max: usize,
    /// The newest window of a run of which the store may hold rows that are not here: what it held at the
    /// start, and what was evicted since. A row of a later window that is not here is new, and needs
    /// no question to the store.
    newest_elsewhere: BTreeMap<RunId, SimTime>,
}

/// A row as a checkpoint holds it.
pub(crate) type WrittenRow = (RunId, RowKey, Totals);

/// One row.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// All that this partition knows of the row; with an unknown base, what was added since.
    totals: Totals,
    base: Base,
    /// Number of events of the row in the store. Each change adds an event, so the row is dirty where
    /// this is not `totals.events`.
    stored_events: u64,
    /// Number of events of the row in the last checkpoint, until that is known to be committed.
    writing_events: Option<u64>,
}

/// Whether a row's earlier value is in `totals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Known,
    /// The store may hold an earlier value: it is asked before the next checkpoint.
    Unknown,
}

impl Row {
    fn is_dirty(&self) -> bool {
        self.totals.events != self.stored_events
    }
}

impl RowCache {
    /// Makes an empty cache of at most `rows_max` rows over a store whose newest windows are given.
    pub(crate) fn new(rows_max: usize, newest_windows: &[(RunId, SimTime)]) -> Self {
        let newest_elsewhere = newest_windows.iter().copied().collect();
        Self { rows: IndexMap::default(), rows_max, newest_elsewhere }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn dirty_len(&self) -> usize {
        self.rows.values().filter(|row| row.is_dirty()).count()
    }

    /// Returns the row to add an event to, and makes it where it is not here. At `rows_max`, all rows
    /// that are safe in the store make room; `None` where there are none.
    pub(crate) fn entry(&mut self, run: RunId, key: RowKey) -> Option<&mut Totals> {
        if self.rows.len() >= self.rows_max && !self.rows.contains_key(&(run, key)) {
            self.evict(|_, _| true);
            if self.rows.len() >= self.rows_max {
                return None;
            }
        }
        let newest_elsewhere = &self.newest_elsewhere;
        let row = self.rows.entry((run, key)).or_insert_with(|| {
            let may_be_elsewhere =
                newest_elsewhere.get(&run).is_some_and(|newest| key.window_start <= *newest);
            Row {
                totals: Totals::default(),
                base: if may_be_elsewhere { Base::Unknown } else { Base::Known },
                stored_events: 0,
                writing_events: None,
            }
        });
        Some(&mut row.totals)
    }

    /// Returns the rows whose earlier value must be read from the store before a checkpoint.
    pub(crate) fn missing(&self) -> Vec<(RunId, RowKey)> {
        let unknown = self.rows.iter().filter(|(_, row)| row.base == Base::Unknown);
        let mut missing: Vec<_> = unknown.map(|(key, _)| *key).collect();
        missing.sort_unstable();
        missing
    }

    /// Adds an earlier value, as the store has it, to a row that misses it.
    pub(crate) fn supply(&mut self, run: RunId, key: RowKey, base: Option<&Totals>) {
        // A row that is complete, because the answer came twice, must not be added to again.
        let Some(row) = self.rows.get_mut(&(run, key)).filter(|row| row.base == Base::Unknown)
        else {
            return;
        };
        row.base = Base::Known;
        if let Some(base) = base {
            row.totals.merge(base);
            row.stored_events = base.events;
        }
    }

    /// Returns the number of events that the next checkpoint adds to the store.
    pub(crate) fn growth(&self) -> u64 {
        self.rows.values().map(|row| row.totals.events - row.stored_events).sum()
    }

    /// Returns the rows to write, in order: those that the store does not have, and those that it has.
    ///
    /// # Panics
    /// Panics where a row misses its earlier value, which the store would lose, or breaks an invariant.
    pub(crate) fn checkpoint(&mut self) -> (Vec<WrittenRow>, Vec<WrittenRow>) {
        let (mut new, mut changed) = (Vec::new(), Vec::new());
        for ((run, key), row) in &mut self.rows {
            if row.is_dirty() {
                assert!(row.base == Base::Known, "row {key:?} of run {run} was not supplied");
                invariant::assert_holds(&Subject::Row { key, totals: &row.totals });
                row.writing_events = Some(row.totals.events);
                let is_new = row.stored_events == 0;
                if is_new { &mut new } else { &mut changed }.push((*run, *key, row.totals));
            }
        }
        for rows in [&mut new, &mut changed] {
            rows.sort_unstable_by_key(|(run, key, _)| (*run, *key));
        }
        (new, changed)
    }

    /// Takes the rows of the last checkpoint for stored, and evicts those of closed windows.
    pub(crate) fn committed(&mut self, is_closed: impl Fn(RunId, SimTime) -> bool) {
        for row in self.rows.values_mut() {
            if let Some(events) = row.writing_events.take() {
                row.stored_events = events;
            }
        }
        self.evict(|run, key| is_closed(run, key.window_start));
    }

    /// Forgets rows that are safe in the store and that `may_go`.
    fn evict(&mut self, may_go: impl Fn(RunId, &RowKey) -> bool) {
        let newest_elsewhere = &mut self.newest_elsewhere;
        self.rows.retain(|(run, key), row| {
            let goes = row.base == Base::Known && !row.is_dirty() && may_go(*run, key);
            if goes {
                let newest = newest_elsewhere.entry(*run).or_insert(key.window_start);
                *newest = key.window_start.max(*newest);
            }
            !goes
        });
    }
}
