//! What should be, worked out from what was written to the log and from the scenario alone.

use std::collections::{BTreeMap, BTreeSet};

use roaming_analytics::invariant::Subject;
use roaming_analytics::{Balance, Extent, FoundRun, LaneFinding, LaneRow, RunView};
use roaming_events::{Event, EventId, LaneId, RunId, Sequence, SimTime, Tally};

use super::report::{Finding, Outcome, Report};
use super::{Options, check};
use crate::sample;
use crate::scenario::Scenario;
use crate::seed::{Concern, Seed};
use crate::store::{FaultyStore, Stored};

/// What the log holds, and what is to become of it.
pub(super) struct Oracle {
    seed: Seed,
    options: Options,
    lanes: BTreeMap<(RunId, LaneId), Lane>,
    /// Records that are to be rejected, by partition and offset.
    rejects: BTreeSet<(u16, u64)>,
}

/// What the log holds of one lane.
pub(super) struct Lane {
    pub(super) view: RunView,
    pub(super) events: Vec<Event>,
    /// One more than the highest number in the log; the end's number once that is there.
    pub(super) next: Sequence,
    pub(super) is_ended: bool,
    /// Readable numbered records of the lane, each copy counted.
    copies: u64,
}

/// Where a record comes from, and so what is to become of it.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    /// A numbered record of a lane, as its sender made it.
    Numbered(EventId),
    /// An event of a lane that is broken at its source.
    Damaged(EventId),
    /// A marker of a lane.
    Marker,
    /// Something to be rejected without taking a number.
    Rejected,
}

impl Oracle {
    pub(super) fn new(seed: Seed, scenario: &dyn Scenario, options: &Options) -> Self {
        let mut lanes = BTreeMap::new();
        for view in scenario.runs() {
            for lane in LaneId::all(view.lanes) {
                let events = scenario.events(view.run, lane);
                let (next, is_ended, copies) = (Sequence::ZERO, false, 0);
                lanes
                    .insert((view.run, lane), Lane { view: *view, events, next, is_ended, copies });
            }
        }
        Self { seed, options: *options, lanes, rejects: BTreeSet::new() }
    }

    /// Returns the lanes, in order.
    pub(super) fn lanes(&self) -> Vec<(RunId, LaneId)> {
        self.lanes.keys().copied().collect()
    }

    /// Returns what the log holds of a lane.
    pub(super) fn lane(&self, run: RunId, lane: LaneId) -> &Lane {
        &self.lanes[&(run, lane)]
    }

    /// Says where an event comes from, and breaks the payload of one that is broken at its source.
    pub(super) fn damage(&self, id: EventId, payload: &mut Vec<u8>) -> Origin {
        if self.is_damaged(id) {
            payload.truncate(payload.len() / 2);
            Origin::Damaged(id)
        } else {
            Origin::Numbered(id)
        }
    }

    fn is_damaged(&self, id: EventId) -> bool {
        let thing = id.run.get() ^ (u64::from(id.lane.get()) << 40) ^ id.sequence.get();
        let mut stream = self.seed.stream_of(Concern::Fault, thing);
        stream.chance(self.options.faults.damage)
    }

    /// Notes a record that is about to be written, and checks that it jumps no number.
    pub(super) fn arrives(&mut self, partition: u16, offset: u64, origin: Origin) -> Outcome {
        let (id, is_damaged) = match origin {
            Origin::Numbered(id) => (id, false),
            Origin::Damaged(id) => (id, true),
            Origin::Marker => return Ok(()),
            Origin::Rejected => {
                self.rejects.insert((partition, offset));
                return Ok(());
            }
        };
        let Some(lane) = self.lanes.get_mut(&(id.run, id.lane)) else { return Ok(()) };
        let (next, sequence) = (lane.next, id.sequence);
        if is_damaged {
            self.rejects.insert((partition, offset));
            if sequence == next {
                lane.next = sequence.next();
            }
        } else {
            lane.copies += 1;
            if sequence.get() == lane.events.len() as u64 {
                lane.is_ended = true;
                lane.next = sequence;
            } else if !lane.is_ended {
                lane.next = next.max(sequence.next());
            }
        }
        if self.options.faults.reorder == 0 {
            check(&Subject::Arrival { next, sequence })?;
        }
        Ok(())
    }

    /// Checks what is stored of a partition after a commit, alone and against what was stored before.
    pub(super) fn check_stored(&self, before: &Stored, after: &Stored) -> Outcome {
        check(&Subject::Offset { before: before.next_offset, after: after.next_offset })?;
        for (run, watermark) in &after.watermarks {
            let earlier = before.watermarks.get(run).copied().unwrap_or_default();
            check(&Subject::Watermark { before: earlier, after: *watermark })?;
        }
        for (key, lane) in &before.lanes {
            let unseen = LaneRow::unseen(key.0, key.1, SimTime::default());
            let later = after.lanes.get(key).unwrap_or(&unseen);
            check(&Subject::LaneStep { before: lane, after: later })?;
        }
        for lane in after.lanes.values() {
            check(&Subject::Lane(lane))?;
            if let Some(missing) = self.earliest_missing(lane) {
                check(&Subject::Claim { claimed: lane.emission_time, missing })?;
            }
        }
        for ((_, key), totals) in &after.rows {
            check(&Subject::Row { key, totals })?;
        }
        check(&Subject::Growth {
            lanes: after.lanes.values().map(|lane| lane.tally.events).sum(),
            rows: after.rows.values().map(|totals| totals.events).sum(),
        })
    }

    /// Returns the emission time of the first event that a lane has not counted and can still count.
    fn earliest_missing(&self, row: &LaneRow) -> Option<SimTime> {
        let in_gaps = row.gaps.iter().flat_map(|(from, to)| from.get()..to.get());
        let events = &self.lanes.get(&(row.run, row.lane))?.events;
        in_gaps
            .chain(row.next.get()..)
            .map_while(|number| events.get(number as usize))
            .find(|event| !self.is_damaged(event.id))
            .map(|event| event.emission_time)
    }

    /// Checks that what is stored is what the scenario adds up to, to the unit.
    pub(super) fn check_balance(
        &self,
        scenario: &dyn Scenario,
        store: &FaultyStore,
        report: &mut Report,
    ) -> Outcome {
        let mut rejected = store.inner().unattributed_rejects();
        for view in scenario.runs() {
            let lanes = store.inner().lanes(view.run);
            let rows = store.inner().rows(view.run);
            let found = FoundRun {
                lanes: &lanes,
                rows: &rows,
                unattributed_rejects: store.inner().unattributed_rejects(),
            };
            let expected = self.expected(scenario, view);
            let balance = Balance::compare(&expected, &found, Extent::Whole);
            let sums = balance.sums();
            rejected += sums.rejected;
            report.add("event balanced", sums.found.events);
            if !self.is_balanced(&balance) {
                return Err(Finding::Balance { sheet: balance.to_string() });
            }
            for lane in &lanes {
                self.check_copies(lane)?;
            }
        }
        let expected = self.rejects.len() as u64;
        if rejected == expected {
            Ok(())
        } else {
            let sheet = format!("{rejected} records were rejected, expected {expected}");
            Err(Finding::Balance { sheet })
        }
    }

    fn expected(&self, scenario: &dyn Scenario, view: &RunView) -> Tally {
        if self.options.faults.damage == 0 {
            return scenario.ledger(view.run);
        }
        let whole = |lane: LaneId| {
            let events = self.lane(view.run, lane).events.iter();
            events.filter(|event| !self.is_damaged(event.id)).copied().collect::<Vec<Event>>()
        };
        let lanes: Vec<(LaneId, Vec<Event>)> =
            LaneId::all(view.lanes).map(|lane| (lane, whole(lane))).collect();
        let lanes = lanes.iter().map(|(lane, events)| (*lane, events.as_slice()));
        sample::tally(lanes, self.options.config.window)
    }

    /// Whether a run balances, where events that are broken at their source may be rejected or missing.
    fn is_balanced(&self, balance: &Balance) -> bool {
        if self.options.faults.damage == 0 {
            return balance.holds();
        }
        let is_balanced = |line: &roaming_analytics::LaneLine| {
            let Some(row) = &line.found else { return false };
            let is_damaged = |event: &&Event| self.is_damaged(event.id);
            let lane = self.lane(row.run, row.lane);
            let damaged = lane.events.iter().filter(is_damaged).count() as u64;
            let only_damage = line.findings.iter().all(|finding| {
                matches!(
                    finding,
                    LaneFinding::Missing | LaneFinding::Rejected | LaneFinding::Unfinished
                )
            });
            only_damage
                && row.missing() + row.rejected == damaged
                && row.end.is_some_and(|end| end.get() == lane.events.len() as u64)
        };
        balance.rows_differing() == 0
            && balance.violations().is_empty()
            && balance.lanes().iter().all(is_balanced)
    }

    /// Checks that each copy in the log was either counted or dropped as a duplicate, once.
    fn check_copies(&self, row: &LaneRow) -> Outcome {
        let copies = self.lane(row.run, row.lane).copies;
        let observed = row.tally.events + u64::from(row.end.is_some()) + row.duplicates;
        if observed == copies {
            return Ok(());
        }
        let sheet = format!("{row:?} observed {observed} records of {copies} in the log");
        Err(Finding::Balance { sheet })
    }

    /// Checks that the dead letters are the records that were to be rejected.
    pub(super) fn check_dead_letters(&self, found: &BTreeSet<(u16, u64)>) -> Outcome {
        if *found == self.rejects {
            return Ok(());
        }
        Err(Finding::DeadLetters {
            missing: self.rejects.difference(found).copied().collect(),
            unexpected: found.difference(&self.rejects).copied().collect(),
        })
    }
}
