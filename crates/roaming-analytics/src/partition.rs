//! The state machine of one partition.

use std::collections::BTreeMap;

use roaming_events::{
    End, Event, LaneId, Marker, Record, RecordError, RowKey, RunId, Sequence, SimDuration, SimTime,
    Totals,
};

use crate::checkpoint::{Checkpoint, LaneRow, Snapshot};
use crate::invariant::{self, Subject};
use crate::lane::{Lane, Place};
use crate::observation::{Observation, RejectReason};
use crate::run::{Run, RunView};
use crate::window::RowCache;

/// The bounds of a partition's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionConfig {
    /// Length of an aggregate window, by event time; more than zero, and the same for the life of a store.
    pub window: SimDuration,
    /// The most missing intervals that are kept of a lane. The record that would need one more is rejected
    /// ([`RejectReason::TooManyGaps`]) and the lane has failed, for good and for all to see.
    pub gaps_max: usize,
    /// The most rows that are kept, from 1. At the bound, rows that are safe in the store are forgotten (and
    /// read again when they are needed); where there are none, [`Observation::Full`] asks for a
    /// checkpoint.
    pub rows_max: usize,
}

/// What one consumer knows of one partition of `roaming.events`.
///
/// # Determinism
/// A function of the records observed and the rows supplied. Checkpoints and restarts in between change
/// nothing in what is counted.
#[derive(Clone, Debug)]
pub struct Partition {
    number: u16,
    config: PartitionConfig,
    runs: BTreeMap<RunId, Run>,
    /// Lanes that the store holds of runs that are not registered yet.
    unclaimed: BTreeMap<RunId, Vec<LaneRow>>,
    rows: RowCache,
    position: Position,
    position_stored: Position,
    /// As it stands in the last checkpoint, until that is known to be committed.
    position_writing: Option<Position>,
    corrections: u64,
}

/// How far the partition was read, and what was found there that belongs to no lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    next_offset: Option<u64>,
    unattributed_rejects: u64,
}

impl Partition {
    /// Makes the state of a partition of which nothing was ever read.
    ///
    /// # Panics
    /// Panics where the window or `rows_max` is zero.
    pub fn new(partition: u16, config: PartitionConfig) -> Self {
        Self::restore(partition, config, Snapshot::default())
    }

    /// Makes the state of a partition from what the store holds of it.
    ///
    /// # Panics
    /// Panics where the window or `rows_max` is zero, or where what the store holds breaks an invariant of
    /// [`invariant::REGISTRY`]: to count on from there would make it worse.
    pub fn restore(partition: u16, config: PartitionConfig, snapshot: Snapshot) -> Self {
        assert!(config.window > SimDuration::ZERO, "a window is longer than zero");
        assert!(config.rows_max > 0, "at least one row must fit");
        let mut unclaimed: BTreeMap<RunId, Vec<LaneRow>> = BTreeMap::new();
        for lane in snapshot.lanes {
            invariant::assert_holds(&Subject::Lane(&lane));
            unclaimed.entry(lane.run).or_default().push(lane);
        }
        let position = Position {
            next_offset: snapshot.next_offset,
            unattributed_rejects: snapshot.unattributed_rejects,
        };
        Self {
            number: partition,
            config,
            runs: BTreeMap::new(),
            unclaimed,
            rows: RowCache::new(config.rows_max, &snapshot.newest_windows),
            position,
            position_stored: position,
            position_writing: None,
            corrections: 0,
        }
    }

    /// Makes a run known; a second time changes nothing.
    ///
    /// # Panics
    /// Panics where the store held a lane of the run that does not live in this partition.
    pub fn register_run(&mut self, view: RunView) {
        let (partition, unclaimed) = (self.number, &mut self.unclaimed);
        self.runs.entry(view.run).or_insert_with(|| {
            Run::new(partition, view, unclaimed.remove(&view.run).unwrap_or_default())
        });
    }

    /// Observes the record at `offset`, given as decoded and as it stands on the topic.
    ///
    /// # Ordering
    /// Offsets ascend; what was observed before is recognised by its offset and changes nothing.
    pub fn observe(
        &mut self,
        offset: u64,
        record: Result<Record, RecordError>,
        key: &[u8],
        payload: &[u8],
    ) -> Observation {
        if self.was_read(offset) {
            return Observation::Reread;
        }
        let observation = match record {
            Ok(Record::Event(event)) => self.observe_event(&event, key, payload),
            Ok(Record::Marker(marker)) => self.observe_marker(&marker),
            Ok(Record::End(end)) => self.observe_end(&end),
            Err(error) => self.observe_unreadable(&error),
        };
        match observation {
            Observation::UnknownRun(_) | Observation::Full => {}
            _ => self.position.next_offset = Some(offset + 1),
        }
        observation
    }

    /// Rejects the record at `offset`, of which [`Partition::observe`] said that its run is unknown, and of
    /// which the caller knows that it stays so.
    pub fn reject_foreign(&mut self, offset: u64) -> Observation {
        if self.was_read(offset) {
            return Observation::Reread;
        }
        self.position.next_offset = Some(offset + 1);
        self.reject(RejectReason::UnknownRun)
    }

    /// Returns the rows whose earlier values the store may hold, to be read and given to
    /// [`Partition::supply_rows`] before a checkpoint.
    pub fn missing_rows(&self) -> Vec<(RunId, RowKey)> {
        self.rows.missing()
    }

    /// Takes the earlier values of rows, as this partition wrote them; `None` where the store has no such row.
    pub fn supply_rows(&mut self, rows: Vec<(RunId, RowKey, Option<Totals>)>) {
        for (run, key, base) in rows {
            if let Some(base) = &base {
                invariant::assert_holds(&Subject::Row { key: &key, totals: base });
            }
            self.rows.supply(run, key, base.as_ref());
        }
    }

    /// Returns all that changed since the last commit; `None` where nothing did. To be written in one
    /// transaction. Where that failed, the next checkpoint has it again; where it is not known whether it
    /// failed, this state is worthless: acquire the partition and restore.
    ///
    /// # Panics
    /// Panics where [`Partition::missing_rows`] were not supplied, or an invariant of
    /// [`invariant::REGISTRY`] does not hold: a wrong value must not reach the store.
    pub fn checkpoint(&mut self) -> Option<Checkpoint> {
        if self.position == self.position_stored {
            return None;
        }
        let next_offset = self.position.next_offset?;
        self.assert_lanes_and_rows();
        self.position_writing = Some(self.position);
        let (new_rows, changed_rows) = self.rows.checkpoint();
        Some(Checkpoint {
            partition: self.number,
            next_offset,
            last_record_ms: None,
            lanes: self
                .runs
                .values_mut()
                .flat_map(Run::lanes_mut)
                .filter_map(Lane::checkpoint)
                .collect(),
            new_rows,
            changed_rows,
            runs: self
                .runs
                .iter_mut()
                .filter_map(|(run, state)| Some((*run, state.checkpoint()?)))
                .collect(),
            unattributed_rejects: self.position.unattributed_rejects,
        })
    }

    /// Takes the last checkpoint for committed. What was observed since then stays to be written.
    pub fn committed(&mut self) {
        if let Some(position) = self.position_writing.take() {
            self.position_stored = position;
        }
        self.runs.values_mut().for_each(Run::committed);
        let (runs, window) = (&self.runs, self.config.window);
        self.rows.committed(|run, window_start| {
            runs.get(&run).is_some_and(|run| run.is_closed(window_start, window))
        });
    }

    fn observe_event(&mut self, event: &Event, key: &[u8], payload: &[u8]) -> Observation {
        let id = event.id;
        let Some(run) = self.runs.get_mut(&id.run) else {
            return Observation::UnknownRun(id.run);
        };
        let index = match run.index_of(self.number, id.lane) {
            Ok(index) => index,
            Err(reason) => return self.reject(reason),
        };
        let place = run.lanes()[index].place(id.sequence, self.config.gaps_max);
        match place {
            Place::Duplicate => {
                run.lanes_mut()[index].drop_duplicate();
                return Observation::Duplicate;
            }
            Place::Refused(reason) => return self.refuse(id.run, index, reason),
            Place::Next | Place::Gap(_) | Place::Beyond => {}
        }
        let row = RowKey::of(event, self.config.window);
        let Some(totals) = self.rows.entry(id.run, row) else {
            return Observation::Full;
        };
        totals.add(event);
        let is_late = run.is_closed(row.window_start, self.config.window);
        self.corrections += u64::from(is_late);
        let lane = &mut run.lanes_mut()[index];
        let before = lane.row().emission_time;
        lane.count(place, id.sequence, event.emission_time);
        lane.add(key, payload);
        run.follow(index, before);
        match place {
            Place::Gap(_) => Observation::Filled,
            Place::Beyond => Observation::Jumped,
            _ if is_late => Observation::Corrected,
            _ => Observation::Counted,
        }
    }

    fn observe_marker(&mut self, marker: &Marker) -> Observation {
        let Some(run) = self.runs.get_mut(&marker.run) else {
            return Observation::UnknownRun(marker.run);
        };
        let index = match run.index_of(self.number, marker.lane) {
            Ok(index) => index,
            Err(reason) => return self.reject(reason),
        };
        let before = run.lanes()[index].row().emission_time;
        let moved = run.lanes_mut()[index].observe_marker(marker);
        run.follow(index, before);
        Observation::Marker { moved }
    }

    fn observe_end(&mut self, end: &End) -> Observation {
        let Some(run) = self.runs.get_mut(&end.id.run) else {
            return Observation::UnknownRun(end.id.run);
        };
        let index = match run.index_of(self.number, end.id.lane) {
            Ok(index) => index,
            Err(reason) => return self.reject(reason),
        };
        let lane = &mut run.lanes_mut()[index];
        match lane.place_end(end.id.sequence, self.config.gaps_max) {
            Place::Duplicate => {
                lane.drop_duplicate();
                Observation::Duplicate
            }
            Place::Refused(reason) => self.refuse(end.id.run, index, reason),
            Place::Next | Place::Gap(_) | Place::Beyond => {
                let before = lane.row().emission_time;
                lane.observe_end(end);
                run.follow(index, before);
                Observation::End
            }
        }
    }

    /// A record that cannot be read takes its number where that is the next one, so that one bad record
    /// does not stop a lane; anywhere else, a foreign key could take an event's place.
    fn observe_unreadable(&mut self, error: &RecordError) -> Observation {
        let Some(id) = error.id else {
            return self.reject(RejectReason::UnreadableKey);
        };
        let Some(run) = self.runs.get_mut(&id.run) else {
            return Observation::UnknownRun(id.run);
        };
        let index = match run.index_of(self.number, id.lane) {
            Ok(index) => index,
            Err(reason) => return self.reject(reason),
        };
        if run.lanes_mut()[index].skip_unreadable(id.sequence, self.config.gaps_max) {
            Observation::Rejected(RejectReason::UnreadablePayload)
        } else {
            self.reject(RejectReason::UnreadablePayload)
        }
    }

    /// Rejects a record that takes no lane's number.
    fn reject(&mut self, reason: RejectReason) -> Observation {
        self.position.unattributed_rejects += 1;
        Observation::Rejected(reason)
    }

    /// Rejects a record that its lane refuses.
    fn refuse(&mut self, run: RunId, index: usize, reason: RejectReason) -> Observation {
        if let (RejectReason::TooManyGaps, Some(run)) = (reason, self.runs.get_mut(&run)) {
            let lane = &mut run.lanes_mut()[index];
            lane.fail();
            let before = lane.row().emission_time;
            run.follow(index, before);
        }
        self.reject(reason)
    }

    fn was_read(&self, offset: u64) -> bool {
        self.position.next_offset.is_some_and(|next| offset < next)
    }

    fn assert_lanes_and_rows(&self) {
        let mut growth = 0;
        for lane in self.runs.values().flat_map(Run::lanes) {
            let (before, after) = (lane.stored(), lane.row());
            invariant::assert_holds(&Subject::Lane(after));
            invariant::assert_holds(&Subject::LaneStep { before, after });
            growth += after.tally.events - before.tally.events;
        }
        invariant::assert_holds(&Subject::Growth { lanes: growth, rows: self.rows.growth() });
        invariant::assert_holds(&Subject::Offset {
            before: self.position_stored.next_offset,
            after: self.position.next_offset,
        });
    }
}

/// Facts for metrics, pages and tests.
impl Partition {
    /// Returns the partition's number.
    pub fn partition(&self) -> u16 {
        self.number
    }

    /// Returns the offset to read next; `None` where nothing was ever read.
    pub fn next_offset(&self) -> Option<u64> {
        self.position.next_offset
    }

    /// Whether a run is registered.
    pub fn knows(&self, run: RunId) -> bool {
        self.runs.contains_key(&run)
    }

    /// Returns the simulated time up to which a run is complete in this partition: the earliest time of its
    /// lanes that are neither finished nor failed, an unseen lane counting as the run's start. Once there
    /// are none, the latest time of all. An unknown run is at the beginning of time.
    pub fn watermark(&self, run: RunId) -> SimTime {
        self.runs.get(&run).map_or(SimTime::default(), Run::watermark)
    }

    /// Whether every lane that a registered run has in this partition is finished.
    pub fn is_finished(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(Run::is_finished)
    }

    /// Returns the lanes of all registered runs, in order.
    pub fn lanes(&self) -> impl Iterator<Item = &LaneRow> {
        self.runs.values().flat_map(Run::lanes).map(Lane::row)
    }

    /// Returns one lane of a registered run.
    pub fn lane(&self, run: RunId, lane: LaneId) -> Option<&LaneRow> {
        let run = self.runs.get(&run)?;
        let index = run.index_of(self.number, lane).ok()?;
        Some(run.lanes()[index].row())
    }

    /// Returns the sequence expected next of a lane.
    pub fn next_sequence(&self, run: RunId, lane: LaneId) -> Option<Sequence> {
        self.lane(run, lane).map(|row| row.next)
    }

    /// Returns the number of records rejected that took no lane's number.
    pub fn unattributed_rejects(&self) -> u64 {
        self.position.unattributed_rejects
    }

    /// Returns the number of events counted into windows that were already closed, since this state was made.
    pub fn corrections(&self) -> u64 {
        self.corrections
    }

    /// Returns the number of rows kept.
    pub fn rows_len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the number of rows that the next checkpoint writes.
    pub fn dirty_rows_len(&self) -> usize {
        self.rows.dirty_len()
    }
}
