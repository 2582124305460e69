//! The lanes that this process owns, of every run.
//!
//! Control records, assigned partitions and their recorded progress come in; it keeps which lanes are to
//! be driven, and from where. It sends nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use roaming_events::{LaneId, RunId, Sequence, SimDuration, SimTime};
use roaming_service::topics;
use roaming_sim::control::{ControlRecord, RunState};
use roaming_sim::{Simulation, Specification, SpecificationError};

use crate::client::{SLOTS_MAX, Slot};
use crate::lane::LaneSender;
use crate::progress::{self, Progress};
use crate::snapshot::LaneSnapshots;

/// The lanes of a run advance together within a window of this length, also at full speed, so that the
/// consumer has few windows open: its own length by default.
pub const WINDOW: SimDuration = SimDuration::from_secs(15 * 60);

/// Progress of the lanes of one partition of `roaming.lanes`.
pub type PartitionProgress = BTreeMap<(RunId, LaneId), Progress>;

/// What stands in one partition of `roaming.lanes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// How far its lanes are.
    pub progress: PartitionProgress,
    /// Their snapshots, of those that have any.
    pub snapshots: BTreeMap<(RunId, LaneId), LaneSnapshots>,
}

/// Runs, and the lanes of them that this process owns.
#[derive(Default)]
pub struct Fleet {
    pub(crate) runs: BTreeMap<String, Run>,
    pub(crate) lanes: Vec<Option<OwnedLane>>,
    /// The partitions of `roaming.lanes` that this process owns, with their snapshots, and the progress of
    /// lanes that it does not drive now: because they are finished, or their run is not known yet.
    owned: BTreeMap<u16, Recorded>,
    /// How many partitions the topics have; `None` where nobody has said so.
    partitions: Option<TopicPartitions>,
    /// Runs that this engine cannot simulate, and why.
    foreign: BTreeMap<String, (ControlRecord, SpecificationError)>,
    /// Runs that were deleted: their progress is to go.
    deleted: BTreeSet<RunId>,
    /// Runs that are not driven, or not whole, and why.
    refused: BTreeMap<String, FleetError>,
}

/// How many partitions the topics have that scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    /// Those of `roaming.events`.
    pub events: u16,
    /// Those of `roaming.lanes`.
    pub lanes: u16,
}

impl TopicPartitions {
    /// Checks that each lane of a run has its partitions.
    fn check(self, run: &Specification) -> Result<(), FleetError> {
        for (topic, found, wanted) in [
            (topics::EVENTS, self.events, run.events_partitions),
            (topics::LANES, self.lanes, run.lanes_partitions),
        ] {
            if found < wanted {
                return Err(FleetError::Partitions { topic, found, wanted });
            }
        }
        Ok(())
    }
}

/// A run as its control record wants it.
pub struct Run {
    pub(crate) record: ControlRecord,
    /// The record before: until the wall time of this one's anchor, which may lie a little ahead, the run
    /// goes on at that pace.
    before: Option<ControlRecord>,
    simulation: Arc<Simulation>,
    /// Its owned lanes.
    pub(crate) slots: BTreeMap<LaneId, Slot>,
    /// No lane goes beyond this time before all are there.
    pub(crate) window_end: SimTime,
}

/// A lane that is driven here.
pub struct OwnedLane {
    pub(crate) sender: LaneSender,
    run: RunId,
    lane: LaneId,
    /// Its partition of `roaming.events`.
    pub(crate) events_partition: u16,
    /// Its partition of `roaming.lanes`.
    pub(crate) lanes_partition: u16,
    /// When it last said something, or had nothing to say in its first turn; `None` before that.
    pub(crate) last_sent: Option<Instant>,
    /// Its progress records that are on their way.
    pub(crate) progress_in_flight: usize,
}

impl OwnedLane {
    /// Returns its run and its number there.
    pub(crate) fn name(&self) -> (RunId, LaneId) {
        (self.run, self.lane)
    }

    /// Returns how much must be acknowledged, or recorded, before the lane is at rest: nothing of it is on
    /// its way then, and the next owner repeats nothing.
    pub(crate) fn outstanding(&self) -> usize {
        let unrecorded = usize::from(self.sender.has_unrecorded());
        self.sender.in_flight() + self.progress_in_flight + unrecorded
    }
}

impl Fleet {
    /// Returns the lanes that must be stopped before [`apply`](Self::apply) is called with the same
    /// record: those of a run that is stopped, deleted, or replaced by another of its name.
    pub fn superseded(&self, name: &str, record: Option<&ControlRecord>) -> BTreeSet<Slot> {
        let Some(run) = self.runs.get(name) else { return BTreeSet::new() };
        let goes_on =
            record.is_some_and(|record| record.run == run.record.run && record.state.is_alive());
        if goes_on { BTreeSet::new() } else { run.slots.values().copied().collect() }
    }

    /// Takes a run's control record into account; `None` where the topic holds none any more.
    ///
    /// Where this engine cannot simulate the run, or there are too many lanes, it is
    /// [refused](Self::refused), and the others go on.
    pub fn apply(&mut self, name: &str, record: Option<ControlRecord>) {
        self.refused.remove(name);
        self.foreign.remove(name);
        match record {
            Some(record) if record.state == RunState::Deleted => {
                self.deleted.insert(record.run);
                self.runs.remove(name);
            }
            Some(record) => {
                self.deleted.remove(&record.run);
                self.want(name, record);
            }
            None => {
                self.runs.remove(name);
            }
        }
        self.take_up();
    }

    fn want(&mut self, name: &str, record: ControlRecord) {
        if let Some(run) = self.runs.get_mut(name)
            && run.record.run == record.run
        {
            return run.set_record(record);
        }
        self.runs.remove(name);
        match Simulation::try_new(Arc::clone(&record.specification)) {
            Ok(simulation) => {
                let run = Run {
                    window_end: record.specification.start(),
                    record,
                    before: None,
                    simulation: Arc::new(simulation),
                    slots: BTreeMap::new(),
                };
                self.runs.insert(name.to_owned(), run);
            }
            Err(error) => {
                self.foreign.insert(name.to_owned(), (record, error));
            }
        }
    }

    /// Takes note that a run's control record cannot be read. A run that is driven goes on as it was.
    pub fn refuse(&mut self, name: String, source: serde_json::Error) {
        self.refused.insert(name, FleetError::Record { source });
    }

    /// Returns the runs that are not driven here, or not whole, and why.
    pub fn refused(&self) -> &BTreeMap<String, FleetError> {
        &self.refused
    }

    /// Returns the lanes that must be stopped before [`lay_out`](Self::lay_out) is called with the same
    /// numbers: those of runs that the topics have no room for.
    pub fn misplaced(&self, partitions: TopicPartitions) -> BTreeSet<Slot> {
        let misplaced =
            self.runs.values().filter(|run| partitions.check(run.specification()).is_err());
        misplaced.flat_map(|run| run.slots.values().copied()).collect()
    }

    /// Takes note of how many partitions the topics have.
    pub fn lay_out(&mut self, partitions: TopicPartitions) {
        self.partitions = Some(partitions);
        self.take_up();
    }

    /// Owns a partition of `roaming.lanes`, in which this is recorded.
    pub fn own(&mut self, partition: u16, recorded: Recorded) {
        self.owned.insert(partition, recorded);
        self.take_up();
    }

    /// Forgets where the lanes of deleted runs are; returns the keys of their records, which are to go from
    /// the topic, each with its partition there.
    pub fn forget_deleted(&mut self) -> Vec<(u16, String)> {
        let mut forgotten = Vec::new();
        for (&partition, Recorded { progress, snapshots }) in &mut self.owned {
            let is_deleted = |(run, _): &(RunId, LaneId)| self.deleted.contains(run);
            let lanes = progress.extract_if(.., |lane, _| is_deleted(lane));
            forgotten.extend(lanes.map(|((run, lane), _)| (partition, progress::key(run, lane))));
            for ((run, lane), snapshots) in snapshots.extract_if(.., |lane, _| is_deleted(lane)) {
                forgotten.extend(snapshots.keys(run, lane).map(|key| (partition, key)));
            }
        }
        forgotten
    }

    /// Forgets the snapshots of a lane that has ended; returns the keys of their records, each with its
    /// partition.
    pub fn forget_snapshots(&mut self, slot: Slot) -> Vec<(u16, String)> {
        let Some(lane) = &self.lanes[usize::from(slot)] else { return Vec::new() };
        let (partition, key) = (lane.lanes_partition, (lane.run, lane.lane));
        let snapshots =
            self.owned.get_mut(&partition).and_then(|owned| owned.snapshots.remove(&key));
        let keys = snapshots.into_iter().flat_map(|snapshots| snapshots.keys(key.0, key.1));
        keys.map(|key| (partition, key)).collect()
    }

    /// Returns the snapshots of a lane.
    pub(crate) fn snapshots_mut(&mut self, slot: Slot) -> Option<&mut LaneSnapshots> {
        let lane = self.lanes.get(usize::from(slot))?.as_ref()?;
        let owned = self.owned.get_mut(&lane.lanes_partition)?;
        Some(owned.snapshots.entry((lane.run, lane.lane)).or_default())
    }

    /// Returns the lane whose next owner would have the longest way from its last snapshot beyond what
    /// `allowed` says of a lane, in events; `None` where no lane is beyond it.
    pub(crate) fn farthest_from_snapshot(
        &self,
        allowed: impl Fn(&LaneSender) -> u64,
    ) -> Option<Slot> {
        let beyond = self.lanes().filter_map(|(slot, lane)| {
            let owned = self.owned.get(&lane.lanes_partition)?;
            let snapshots = owned.snapshots.get(&lane.name());
            let newest = snapshots.and_then(LaneSnapshots::newest);
            let from = newest.map_or(Sequence::ZERO, |snapshot| snapshot.sequence);
            let way = lane.sender.engine()?.sequence().get().saturating_sub(from.get());
            Some((slot, way.checked_sub(allowed(&lane.sender))?))
        });
        beyond.max_by_key(|(_, events)| *events).map(|(slot, _)| slot)
    }

    /// Gives partitions up.
    ///
    /// # Panics
    /// Panics where a lane of theirs is not [released](Self::release): its next owner would not be alone.
    pub fn disown(&mut self, partitions: &BTreeSet<u16>) {
        assert!(self.slots_in(partitions).is_empty(), "lanes are released before their partition");
        self.owned.retain(|partition, _| !partitions.contains(partition));
        self.take_up();
    }

    /// Returns the lanes whose progress stands in one of these partitions.
    pub fn slots_in(&self, partitions: &BTreeSet<u16>) -> BTreeSet<Slot> {
        let owned = self.lanes().filter(|(_, lane)| partitions.contains(&lane.lanes_partition));
        owned.map(|(slot, _)| slot).collect()
    }

    /// Stops driving lanes, and keeps where they are.
    pub fn release(&mut self, slots: impl IntoIterator<Item = Slot>) {
        for slot in slots {
            let Some(lane) = self.lanes[usize::from(slot)].take() else { continue };
            if let Some(owned) = self.owned.get_mut(&lane.lanes_partition) {
                let mut position = lane.sender.position();
                // An end that may not be recorded is told again, or nobody ever hears of it.
                position.ended &= lane.outstanding() == 0;
                owned.progress.insert((lane.run, lane.lane), position);
            }
            for run in self.runs.values_mut().filter(|run| run.record.run == lane.run) {
                run.slots.remove(&lane.lane);
            }
        }
    }

    /// Begins to drive lanes that were left out for want of room, where there is some now.
    pub fn take_up_left_out(&mut self) {
        if self.refused.values().any(|refusal| matches!(refusal, FleetError::TooMany)) {
            self.take_up();
        }
    }

    /// Starts every lane again from what was acknowledged, which is to be recorded again: its client was
    /// given up, and may have lost what was recorded.
    pub fn restart(&mut self) {
        for run in self.runs.values() {
            for &slot in run.slots.values() {
                if let Some(lane) = &mut self.lanes[usize::from(slot)] {
                    let owned = self.owned.get(&lane.lanes_partition);
                    let snapshots =
                        owned.and_then(|owned| owned.snapshots.get(&(lane.run, lane.lane)));
                    lane.sender = run.resume(lane.lane, Some(&lane.sender.position()), snapshots);
                    lane.sender.record_again();
                    lane.progress_in_flight = 0;
                }
            }
        }
    }

    /// Returns a lane by its slot.
    pub fn lane_mut(&mut self, slot: Slot) -> Option<&mut OwnedLane> {
        self.lanes.get_mut(usize::from(slot))?.as_mut()
    }

    /// Returns the lanes that are driven.
    pub fn lanes(&self) -> impl Iterator<Item = (Slot, &OwnedLane)> {
        let slots = (0..).zip(&self.lanes);
        slots.filter_map(|(slot, lane)| lane.as_ref().map(|lane| (slot, lane)))
    }

    /// Returns the progress of all lanes in the owned partitions, driven or not.
    pub fn positions(&self) -> impl Iterator<Item = Progress> {
        let driven = self.lanes().map(|(_, lane)| lane.sender.position());
        self.owned.values().flat_map(|owned| owned.progress.values()).copied().chain(driven)
    }

    /// Begins to drive the lanes that are owned, wanted and not driven yet, and refuses runs whose lanes
    /// it cannot drive.
    fn take_up(&mut self) {
        self.refused.retain(|_, refusal| matches!(refusal, FleetError::Record { .. }));
        for (name, (record, error)) in &self.foreign {
            if waits(record, &self.owned) {
                self.refused.insert(name.clone(), error.clone().into());
            }
        }
        let mut free = 0;
        for (name, run) in &mut self.runs {
            if !run.record.state.is_alive() {
                continue;
            }
            if let Some(Err(misfit)) = self.partitions.map(|found| found.check(run.specification()))
            {
                if waits(&run.record, &self.owned) {
                    self.refused.insert(name.clone(), misfit);
                }
                continue;
            }
            let specification = Arc::clone(&run.record.specification);
            for lane in LaneId::all(specification.lanes) {
                let lanes_partition = lane.partition(specification.lanes_partitions);
                let Some(owned) = self.owned.get_mut(&lanes_partition) else { continue };
                let key = (run.record.run, lane);
                let ended = owned.progress.get(&key).is_some_and(|progress| progress.ended);
                if ended || run.slots.contains_key(&lane) {
                    continue;
                }
                let Some(slot) = free_slot(&mut self.lanes, &mut free) else {
                    self.refused.insert(name.clone(), FleetError::TooMany);
                    break;
                };
                let progress = owned.progress.remove(&key);
                self.lanes[usize::from(slot)] = Some(OwnedLane {
                    sender: run.resume(lane, progress.as_ref(), owned.snapshots.get(&key)),
                    run: run.record.run,
                    lane,
                    events_partition: lane.partition(specification.events_partitions),
                    lanes_partition,
                    last_sent: None,
                    progress_in_flight: 0,
                });
                run.slots.insert(lane, slot);
                // The window opens anew where the earliest lane is.
                run.window_end = specification.start();
            }
        }
    }
}

/// Whether a run that is not driven has lanes in owned partitions that are not at their end: nobody else
/// drives those.
fn waits(record: &ControlRecord, owned: &BTreeMap<u16, Recorded>) -> bool {
    let Specification { lanes, lanes_partitions, .. } = *record.specification;
    if !record.state.is_alive() || owned.is_empty() {
        return false;
    }
    if !(1..=LaneId::COUNT_MAX).contains(&lanes) || lanes_partitions == 0 {
        return true;
    }
    LaneId::all(lanes).any(|lane| {
        let owned = owned.get(&lane.partition(lanes_partitions));
        owned.is_some_and(|owned| {
            !owned.progress.get(&(record.run, lane)).is_some_and(|at| at.ended)
        })
    })
}

/// Returns a slot that no lane has. Slots before `from` are taken; it is moved on.
fn free_slot(lanes: &mut Vec<Option<OwnedLane>>, from: &mut usize) -> Option<Slot> {
    while lanes.get(*from).is_some_and(Option::is_some) {
        *from += 1;
    }
    if *from >= SLOTS_MAX {
        return None;
    }
    if *from == lanes.len() {
        lanes.push(None);
    }
    Slot::try_from(*from).ok()
}

impl Run {
    /// Returns the run's specification.
    pub fn specification(&self) -> &Specification {
        &self.record.specification
    }

    fn set_record(&mut self, record: ControlRecord) {
        if record != self.record {
            self.before = Some(std::mem::replace(&mut self.record, record));
        }
    }

    /// Returns the simulated time before which events may leave at a wall time.
    pub(crate) fn allowed_until(&self, wall_unix_ms: u64) -> SimTime {
        let allowed = self.record.allowed_until(wall_unix_ms);
        match &self.before {
            Some(before) if wall_unix_ms < self.record.anchor.wall_unix_ms => {
                before.allowed_until(wall_unix_ms).min(allowed)
            }
            _ => allowed,
        }
    }

    fn resume(
        &self,
        lane: LaneId,
        progress: Option<&Progress>,
        snapshots: Option<&LaneSnapshots>,
    ) -> LaneSender {
        let snapshot = snapshots.and_then(LaneSnapshots::newest).cloned();
        LaneSender::resume(Arc::clone(&self.simulation), lane, progress, snapshot)
    }

    /// Opens the next window that any of `times` falls into, the times of the lanes that go on; says
    /// whether there is one.
    pub(crate) fn open_window(&mut self, times: impl Iterator<Item = SimTime>) -> bool {
        let Some(earliest) = times.min() else { return false };
        let end = earliest.window_start(WINDOW) + WINDOW;
        let opened = end > self.window_end;
        self.window_end = end;
        opened
    }
}

/// Why a run is not driven.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// This engine cannot simulate it.
    #[error("the run cannot be simulated")]
    Specification(#[from] SpecificationError),
    /// Its control record cannot be read.
    #[error(
        "the control record cannot be read; it may be of another release: drive the run with the release that loaded it"
    )]
    Record {
        /// Where it breaks.
        source: serde_json::Error,
    },
    /// A topic has fewer partitions than the run was loaded for.
    #[error(
        "topic {topic} has {found} partitions and the run needs {wanted}; add some with kafka-topics.sh --alter --topic {topic} --partitions {wanted}, or delete the run and load it again"
    )]
    Partitions {
        /// The topic.
        topic: &'static str,
        /// Its partitions.
        found: u16,
        /// The partitions that the run needs.
        wanted: u16,
    },
    /// There is no room for more lanes.
    #[error(
        "lanes are left out: {SLOTS_MAX} are driven already; add replicas, or stop or delete other runs"
    )]
    TooMany,
}

#[cfg(test)]
mod tests {
    use roaming_sim::control::Speed;
    use roaming_sim::{Profile, STREAM_VERSION};

    use super::*;
    use crate::lane::Step;

    fn record(name: &str, lanes: u16) -> ControlRecord {
        let mut profile = Profile::builtin("demo").expect("built in");
        profile.subscribers = 10;
        let specification = Specification {
            name: name.to_owned(),
            profile,
            seed: 1,
            lanes,
            events_partitions: 1,
            lanes_partitions: 1,
            stream_version: STREAM_VERSION,
        };
        ControlRecord::start(Arc::new(specification), Speed::Max, 0)
    }

    #[test]
    fn lanes_without_room_are_refused_until_another_run_is_deleted() {
        let mut fleet = Fleet::default();
        fleet.own(0, Recorded::default());
        let names: Vec<String> =
            (0..=SLOTS_MAX / 4096).map(|run| format!("run-{run:02}")).collect();
        for name in &names {
            fleet.apply(name, Some(record(name, 4096)));
        }
        let refused: Vec<_> = fleet.refused().keys().collect();
        assert_eq!(refused, [names.last().expect("some")], "one slot is missing");
        assert_eq!(fleet.lanes().count(), SLOTS_MAX);

        let deleted = fleet.runs[&names[0]].record.delete(1, SimTime::default());
        let slots = fleet.superseded(&names[0], Some(&deleted));
        assert_eq!(slots.len(), 4096);
        fleet.release(slots);
        fleet.apply(&names[0], Some(deleted));
        assert!(fleet.refused().is_empty(), "{:?}", fleet.refused());
        assert_eq!(fleet.lanes().count(), (names.len() - 1) * 4096);
        assert_eq!(fleet.forget_deleted().len(), 4096);
        assert!(fleet.forget_deleted().is_empty());
    }

    #[test]
    fn an_end_that_is_not_recorded_is_told_again() {
        let mut fleet = Fleet::default();
        fleet.own(0, Recorded::default());
        let mut payload = Vec::new();
        for is_recorded in [false, true] {
            fleet.apply("run", Some(record("run", 1)));
            let lane = &mut fleet.lane_mut(0).expect("it is driven").sender;
            loop {
                match lane.next(SimTime::MAX, &mut payload) {
                    Step::Event { id, .. } | Step::End { id } => {
                        lane.acknowledged(id.sequence).expect("in order");
                    }
                    Step::Forwarding => {}
                    Step::Wait | Step::Done => break,
                }
            }
            assert_eq!((lane.has_ended(), lane.has_unrecorded()), (true, true));
            if is_recorded {
                assert!(lane.progress().is_some_and(|progress| progress.ended));
            }
            fleet.release([0]);
            fleet.apply("run", None);
        }
        fleet.apply("run", Some(record("run", 1)));
        assert_eq!(fleet.lanes().count(), 0);
    }

    #[test]
    fn a_run_of_another_engine_is_refused_as_long_as_its_lanes_here_wait() {
        let mut fleet = Fleet::default();
        let mut record = record("run", 2);
        let specification = Arc::make_mut(&mut record.specification);
        (specification.stream_version, specification.lanes_partitions) = (STREAM_VERSION + 1, 2);
        record.run = record.specification.run_id();
        let progress = |lane: u16, ended| {
            let lane = LaneId::try_new(lane).expect("a lane");
            let (run, acknowledged) = (record.run, Sequence::ZERO);
            let at = Progress { run, lane, acknowledged, emission_time: SimTime::default(), ended };
            Recorded { progress: BTreeMap::from([((run, lane), at)]), ..Recorded::default() }
        };
        fleet.apply("run", Some(record.clone()));
        assert!(fleet.refused().is_empty(), "another producer may drive it");
        fleet.own(1, progress(1, false));
        let told = fleet.refused()["run"].to_string();
        assert_eq!(told, "the run cannot be simulated");
        // The other engine had the partition for a while.
        fleet.disown(&BTreeSet::from([1]));
        assert!(fleet.refused().is_empty());
        fleet.own(1, progress(1, true));
        assert!(fleet.refused().is_empty(), "its lane here is finished");
        fleet.own(0, Recorded::default());
        assert_eq!(fleet.refused().len(), 1);
        fleet.apply("run", Some(record.delete(1, SimTime::default())));
        assert!(fleet.refused().is_empty(), "it is gone");
    }

    #[test]
    fn a_run_with_more_partitions_than_a_topic_is_refused_until_it_has_them() {
        let mut fleet = Fleet::default();
        let mut record = record("run", 4);
        let specification = Arc::make_mut(&mut record.specification);
        (specification.events_partitions, specification.lanes_partitions) = (4, 2);
        fleet.own(0, Recorded::default());
        fleet.lay_out(TopicPartitions { events: 4, lanes: 2 });
        fleet.apply("run", Some(record));
        assert_eq!(fleet.lanes().count(), 2);
        for (few, says) in [
            (TopicPartitions { events: 3, lanes: 2 }, "roaming.events has 3 partitions"),
            (TopicPartitions { events: 4, lanes: 1 }, "roaming.lanes has 1 partitions"),
        ] {
            let slots = fleet.misplaced(few);
            assert_eq!(slots.len(), 2);
            fleet.release(slots);
            fleet.lay_out(few);
            assert_eq!(fleet.lanes().count(), 0);
            let told = fleet.refused()["run"].to_string();
            assert!(told.contains(says), "{told}");
            fleet.lay_out(TopicPartitions { events: 9, lanes: 9 });
            assert_eq!((fleet.lanes().count(), fleet.refused().len()), (2, 0));
        }
    }

    #[test]
    fn a_change_ahead_of_the_clock_counts_from_its_time_on() {
        let mut fleet = Fleet::default();
        let mut first = record("run", 1);
        (first.speed, first.anchor.wall_unix_ms) = (Speed::Factor(1.0), 1000);
        let second = first.with_speed(Speed::Factor(10.0), 4000, SimTime::default());
        let start = first.anchor.sim;
        fleet.apply("run", Some(first));
        // Told twice, as after a reconnect.
        fleet.apply("run", Some(second.clone()));
        fleet.apply("run", Some(second));
        let allowed = |wall| fleet.runs["run"].allowed_until(wall).since(start).ms();
        assert_eq!([2000, 3999, 4000, 4100].map(allowed), [1000, 2999, 3000, 4000]);
    }
}
