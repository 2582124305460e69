//! The lanes that this process owns, of every run.
//!
//! Control records, assigned partitions and their recorded progress come in; it keeps which lanes are to
//! be driven, and from where. It sends nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use roaming_events::{LaneId, RunId, SimDuration, SimTime};
use roaming_sim::control::{ControlRecord, RunState};
use roaming_sim::{Simulation, Specification, SpecificationError};

use crate::lane::LaneSender;
use crate::outbox::{SLOTS_MAX, Slot};
use crate::progress::Progress;

/// The lanes of a run advance together within a window of this length, also at full speed, so that the
/// consumer has few windows open: its own length by default.
pub const WINDOW: SimDuration = SimDuration::from_secs(15 * 60);

/// Progress of the lanes of one partition of `roaming.lanes`.
pub type PartitionProgress = BTreeMap<(RunId, LaneId), Progress>;

/// Runs, and the lanes of them that this process owns.
#[derive(Default)]
pub struct Fleet {
    pub(crate) runs: BTreeMap<String, Run>,
    pub(crate) lanes: Vec<Option<OwnedLane>>,
    /// The partitions of `roaming.lanes` that this process owns, with the progress of lanes that it does
    /// not drive now: because they are finished, or their run is not known yet.
    owned: BTreeMap<u16, PartitionProgress>,
}

/// A run as its control record wants it.
pub struct Run {
    pub(crate) record: ControlRecord,
    /// The record that the run was paused from: until the pause's anchor, which lies a little ahead, it
    /// goes on at this pace.
    paused_from: Option<ControlRecord>,
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
    /// When it last said something.
    pub(crate) last_sent: Instant,
}

impl Fleet {
    /// Returns the lanes that must be stopped before [`apply`](Self::apply) is called with the same
    /// record: those of a run that is stopped, deleted, or replaced by another of its name.
    pub fn superseded(&self, name: &str, record: Option<&ControlRecord>) -> Vec<Slot> {
        let Some(run) = self.runs.get(name) else { return Vec::new() };
        let goes_on = record.is_some_and(|record| {
            record.run == run.record.run && record.state != RunState::Stopped
        });
        if goes_on { Vec::new() } else { run.slots.values().copied().collect() }
    }

    /// Takes a run's control record into account; `None` where it was deleted.
    ///
    /// # Errors
    /// Fails where this engine cannot simulate the run, or there are too many lanes; the run is then
    /// not driven, and the others go on.
    pub fn apply(&mut self, name: &str, record: Option<ControlRecord>) -> Result<(), FleetError> {
        let known = self.runs.get_mut(name);
        match (record, known) {
            (Some(record), Some(run)) if run.record.run == record.run => run.set_record(record),
            (Some(record), _) => {
                self.runs.remove(name);
                let simulation = Simulation::try_new(Arc::clone(&record.specification))?;
                let run = Run {
                    window_end: record.specification.start(),
                    record,
                    paused_from: None,
                    simulation: Arc::new(simulation),
                    slots: BTreeMap::new(),
                };
                self.runs.insert(name.to_owned(), run);
            }
            (None, _) => {
                self.runs.remove(name);
            }
        }
        self.take_up()
    }

    /// Owns a partition of `roaming.lanes`, whose records say `progress`.
    ///
    /// # Errors
    /// Fails where there are too many lanes.
    pub fn own(&mut self, partition: u16, progress: PartitionProgress) -> Result<(), FleetError> {
        self.owned.insert(partition, progress);
        self.take_up()
    }

    /// Gives partitions up; their lanes must have been [released](Self::release).
    pub fn disown(&mut self, partitions: &BTreeSet<u16>) {
        self.owned.retain(|partition, _| !partitions.contains(partition));
    }

    /// Returns the lanes whose progress stands in one of these partitions.
    pub fn slots_in(&self, partitions: &BTreeSet<u16>) -> Vec<Slot> {
        let owned = self.lanes().filter(|(_, lane)| partitions.contains(&lane.lanes_partition));
        owned.map(|(slot, _)| slot).collect()
    }

    /// Stops driving lanes, and keeps where they are.
    pub fn release(&mut self, slots: &[Slot]) {
        for &slot in slots {
            let Some(lane) = self.lanes[usize::from(slot)].take() else { continue };
            if let Some(progress) = self.owned.get_mut(&lane.lanes_partition) {
                progress.insert((lane.run, lane.lane), lane.sender.position());
            }
            for run in self.runs.values_mut().filter(|run| run.record.run == lane.run) {
                run.slots.remove(&lane.lane);
            }
        }
    }

    /// Starts every lane again from what was acknowledged: its client was given up.
    pub fn restart(&mut self) {
        for run in self.runs.values() {
            for &slot in run.slots.values() {
                if let Some(lane) = &mut self.lanes[usize::from(slot)] {
                    lane.sender = run.resume(lane.lane, Some(&lane.sender.position()));
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
        self.owned.values().flat_map(BTreeMap::values).copied().chain(driven)
    }

    /// Begins to drive the lanes that are owned, wanted and not driven yet.
    fn take_up(&mut self) -> Result<(), FleetError> {
        for (name, run) in &mut self.runs {
            if run.record.state == RunState::Stopped {
                continue;
            }
            let specification = Arc::clone(&run.record.specification);
            for lane in LaneId::all(specification.lanes) {
                let lanes_partition = lane.partition(specification.lanes_partitions);
                let Some(progress) = self.owned.get_mut(&lanes_partition) else { continue };
                let key = (run.record.run, lane);
                let ended = progress.get(&key).is_some_and(|progress| progress.ended);
                if ended || run.slots.contains_key(&lane) {
                    continue;
                }
                let Some(slot) = free_slot(&mut self.lanes) else {
                    return Err(FleetError::TooMany { run: name.clone() });
                };
                let progress = progress.remove(&key);
                self.lanes[usize::from(slot)] = Some(OwnedLane {
                    sender: run.resume(lane, progress.as_ref()),
                    run: run.record.run,
                    lane,
                    events_partition: lane.partition(specification.events_partitions),
                    lanes_partition,
                    last_sent: Instant::now(),
                });
                run.slots.insert(lane, slot);
                // The window opens anew where the earliest lane is.
                run.window_end = specification.start();
            }
        }
        Ok(())
    }
}

fn free_slot(lanes: &mut Vec<Option<OwnedLane>>) -> Option<Slot> {
    let free = lanes.iter().position(Option::is_none).unwrap_or(lanes.len());
    if free >= SLOTS_MAX {
        return None;
    }
    if free == lanes.len() {
        lanes.push(None);
    }
    Slot::try_from(free).ok()
}

impl Run {
    /// Returns the run's specification.
    pub fn specification(&self) -> &Specification {
        &self.record.specification
    }

    fn set_record(&mut self, record: ControlRecord) {
        let before = std::mem::replace(&mut self.record, record);
        if self.record.state != RunState::Paused {
            self.paused_from = None;
        } else if before.state == RunState::Running {
            self.paused_from = Some(before);
        }
    }

    /// Returns the simulated time before which events may leave at a wall time.
    pub(crate) fn allowed_until(&self, wall_unix_ms: u64) -> SimTime {
        let allowed = self.record.allowed_until(wall_unix_ms);
        let before = self.paused_from.as_ref().map(|before| before.allowed_until(wall_unix_ms));
        before.map_or(allowed, |before| before.min(allowed))
    }

    fn resume(&self, lane: LaneId, progress: Option<&Progress>) -> LaneSender {
        let specification = self.specification();
        let bounds = (specification.start(), specification.end());
        LaneSender::resume(self.record.run, lane, self.simulation.lane(lane), bounds, progress)
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
    /// There is no room for more lanes.
    #[error(
        "lanes of run {run} are left out: {SLOTS_MAX} are driven already; add replicas, or delete finished runs"
    )]
    TooMany {
        /// The run's name.
        run: String,
    },
}
