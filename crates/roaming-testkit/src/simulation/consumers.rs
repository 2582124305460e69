//! Owners of partitions, and their flushes, step by step.

use std::collections::{BTreeMap, BTreeSet};

use roaming_analytics::invariant::Subject;
use roaming_analytics::{Checkpoint, Observation, Partition, RejectReason};
use roaming_events::{Record, RunId, SimTime};

use super::report::{Finding, Outcome};
use super::{World, check};
use crate::log::LogRecord;
use crate::scenario::Scenario;
use crate::store::{Epoch, StoreError};

/// The consumer group.
const GROUP: &str = "roaming-consumer";

/// All owners of partitions, present and earlier.
pub(super) struct Consumers {
    owners: Vec<Owner>,
    /// Checkpoints on their way to the store whose owners are gone.
    orphans: Vec<(Epoch, Checkpoint)>,
    partitions: u16,
    /// The topic `roaming.events.dlq`, deduplicated by origin.
    pub(super) dead_letters: BTreeSet<(u16, u64)>,
    /// The newest epoch of each partition.
    epochs: BTreeMap<u16, Epoch>,
}

/// One consumer's hold on a partition.
struct Owner {
    partition: u16,
    epoch: Epoch,
    state: Partition,
    /// The offset to fetch next.
    position: u64,
    /// Rejected records that are not yet dead letters.
    rejected: Vec<u64>,
    /// The checkpoint on its way to the store.
    writing: Option<Checkpoint>,
    /// The offset to note for the group.
    noting: Option<u64>,
    is_full: bool,
    /// The tick at which it learns that it is no owner any more; `None` for the present owner.
    zombie_until: Option<u64>,
    watermarks: BTreeMap<RunId, SimTime>,
}

/// Whether an owner goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    GoesOn,
    /// It throws its state away.
    Ends,
}

impl Consumers {
    pub(super) fn new(partitions: u16) -> Self {
        Self {
            owners: Vec::new(),
            orphans: Vec::new(),
            partitions,
            dead_letters: BTreeSet::new(),
            epochs: BTreeMap::new(),
        }
    }

    /// Lets faults happen.
    pub(super) fn fail<S: Scenario>(&mut self, world: &mut World<'_, S>) {
        if world.fault.chance(world.faults.consumer_crash) && !self.owners.is_empty() {
            let owner = self.owners.swap_remove(world.fault.index(self.owners.len()));
            world.report.count("consumer crash");
            world.trace.note(format!("{}: consumer of {} crashes", world.tick, owner.partition));
            // What was on its way to the store may still get there.
            self.orphans.extend(owner.writing.map(|checkpoint| (owner.epoch, checkpoint)));
        }
        let present: Vec<usize> =
            (0..self.owners.len()).filter(|i| self.owners[*i].zombie_until.is_none()).collect();
        if world.fault.chance(world.faults.consumer_rebalance) && !present.is_empty() {
            let owner = &mut self.owners[present[world.fault.index(present.len())]];
            let ticks = world.fault.between(0, world.faults.zombie_ticks_max);
            owner.zombie_until = Some(world.tick + ticks);
            world.report.count("consumer rebalance");
            if owner.writing.is_some() {
                world.report.count("consumer rebalance in a flush");
            }
            world.trace.note(format!("{}: partition {} moves", world.tick, owner.partition));
        }
        if world.fault.chance(world.faults.truncation) {
            for partition in 0..self.partitions {
                let stored = world.store.inner().stored(partition).next_offset.unwrap_or(0);
                let noted = world.log.committed(GROUP, partition).unwrap_or(0);
                world.log.truncate(partition, stored.min(noted));
            }
            world.report.count("truncation");
        }
    }

    /// Ends every earlier owner.
    pub(super) fn heal<S: Scenario>(&mut self, world: &mut World<'_, S>) -> Outcome {
        self.owners.retain(|owner| owner.zombie_until.is_none());
        while !self.orphans.is_empty() {
            self.arrive(world)?;
        }
        Ok(())
    }

    /// Whether everything in the log is in the store, and noted.
    pub(super) fn are_idle<S: Scenario>(&self, world: &World<'_, S>) -> bool {
        let is_idle = |owner: &Owner| {
            let end = world.log.end(owner.partition);
            let stored = world.store.inner().stored(owner.partition);
            owner.position == end
                && owner.noting.is_none()
                && owner.writing.is_none()
                && stored.next_offset.unwrap_or(0) == end
        };
        self.owners.len() == usize::from(self.partitions) && self.owners.iter().all(is_idle)
    }

    /// Checks that the watermarks of all runs have come up to the time allowed.
    pub(super) fn check_watermarks<S: Scenario>(&mut self, world: &World<'_, S>) -> Outcome {
        // A number that is missing for good, because its record is broken, holds its lane's time; and a
        // lane that has ended says nothing of later times.
        if world.options.faults.damage > 0 || world.until > world.scenario.end() {
            return Ok(());
        }
        for owner in &mut self.owners {
            for view in world.scenario.runs() {
                owner.state.register_run(*view);
                if !owner.state.is_finished(view.run) {
                    let watermark = owner.state.watermark(view.run);
                    let sent = world.until - world.scenario.marker_lag();
                    check(&Subject::Reached { watermark, sent })?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn tick<S: Scenario>(&mut self, world: &mut World<'_, S>) -> Outcome {
        for partition in 0..self.partitions {
            let is_owned =
                self.owners.iter().any(|o| o.partition == partition && o.zombie_until.is_none());
            if !is_owned && world.schedule.chance(500) {
                self.acquire(world, partition);
            }
        }
        if !self.orphans.is_empty() && world.schedule.chance(200) {
            self.arrive(world)?;
        }
        let mut index = 0;
        while index < self.owners.len() {
            let mut fate = Fate::GoesOn;
            for _ in 0..world.schedule.between(0, 3) {
                fate = self.step(world, index)?;
                if fate == Fate::Ends {
                    break;
                }
            }
            let has_learnt =
                self.owners[index].zombie_until.is_some_and(|until| until <= world.tick);
            if fate == Fate::Ends || has_learnt {
                let owner = self.owners.swap_remove(index);
                self.orphans.extend(owner.writing.map(|checkpoint| (owner.epoch, checkpoint)));
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    fn acquire<S: Scenario>(&mut self, world: &mut World<'_, S>, partition: u16) {
        let Ok((epoch, snapshot)) = world.store.acquire(partition) else {
            world.report.count("acquisition failed");
            return;
        };
        world.trace.note(format!(
            "{}: acquire {partition} as epoch {} at {:?}",
            world.tick, epoch.0, snapshot.next_offset
        ));
        self.epochs.insert(partition, epoch);
        let mut position = snapshot.next_offset.unwrap_or(0);
        if world.fault.chance(world.faults.rewind) {
            position = position.min(world.log.committed(GROUP, partition).unwrap_or(0));
        }
        let mut state = Partition::restore(partition, world.options.config, snapshot);
        // The control topic is read at its own pace: some runs are known at once, others on demand.
        for view in world.scenario.runs() {
            if world.schedule.chance(500) {
                state.register_run(*view);
            }
        }
        self.owners.push(Owner {
            partition,
            epoch,
            state,
            position,
            rejected: Vec::new(),
            writing: None,
            noting: None,
            is_full: false,
            zombie_until: None,
            watermarks: BTreeMap::new(),
        });
    }

    /// Takes one step of one owner.
    fn step<S: Scenario>(
        &mut self,
        world: &mut World<'_, S>,
        index: usize,
    ) -> Result<Fate, Finding> {
        let owner = &mut self.owners[index];
        if let Some(offset) = owner.noting.take() {
            world.log.commit(GROUP, owner.partition, offset);
            return Ok(Fate::GoesOn);
        }
        if owner.writing.is_some() && (owner.is_full || world.schedule.chance(500)) {
            return self.commit(world, index);
        }
        let at_end = owner.position == world.log.end(owner.partition);
        if owner.writing.is_none() && (owner.is_full || at_end || world.schedule.chance(150)) {
            self.flush(world, index);
            return Ok(Fate::GoesOn);
        }
        if owner.is_full { Ok(Fate::GoesOn) } else { owner.fetch(world) }
    }

    /// Goes on with a flush by one step: dead letters, missing rows, checkpoint.
    fn flush<S: Scenario>(&mut self, world: &mut World<'_, S>, index: usize) {
        let owner = &mut self.owners[index];
        let missing = owner.state.missing_rows();
        if let Some(offset) = owner.rejected.first().copied() {
            self.dead_letters.insert((owner.partition, offset));
            owner.rejected.remove(0);
        } else if missing.is_empty() {
            owner.writing = owner.state.checkpoint();
        } else if let Ok(rows) = world.store.load_rows(owner.partition, &missing) {
            world.report.add("row reloaded", rows.len() as u64);
            owner.state.supply_rows(rows);
        } else {
            world.report.count("reload failed");
        }
    }

    /// Lets the checkpoint on its way reach the store.
    fn commit<S: Scenario>(
        &mut self,
        world: &mut World<'_, S>,
        index: usize,
    ) -> Result<Fate, Finding> {
        let owner = &mut self.owners[index];
        let Some(checkpoint) = owner.writing.take() else { return Ok(Fate::GoesOn) };
        let (epoch, next_offset) = (owner.epoch, checkpoint.next_offset);
        let result = write(world, &self.epochs, epoch, &checkpoint)?;
        match result {
            Ok(()) => {
                owner.state.committed();
                owner.noting = Some(next_offset);
                owner.is_full = false;
            }
            // The same checkpoint again, or a newer one: both must do.
            Err(StoreError::Unavailable) if world.schedule.chance(500) => {
                owner.writing = Some(checkpoint);
            }
            Err(StoreError::Unavailable) => {}
            Err(_) => return Ok(Fate::Ends),
        }
        Ok(Fate::GoesOn)
    }

    /// Lets a checkpoint whose owner is gone reach the store.
    fn arrive<S: Scenario>(&mut self, world: &mut World<'_, S>) -> Outcome {
        let index = world.schedule.index(self.orphans.len());
        let (epoch, checkpoint) = self.orphans.swap_remove(index);
        world.report.count("orphaned checkpoint");
        write(world, &self.epochs, epoch, &checkpoint).map(|_| ())
    }
}

/// Writes a checkpoint to the store and checks what the store makes of it.
fn write<S: Scenario>(
    world: &mut World<'_, S>,
    epochs: &BTreeMap<u16, Epoch>,
    epoch: Epoch,
    checkpoint: &Checkpoint,
) -> Result<Result<(), StoreError>, Finding> {
    let partition = checkpoint.partition;
    let before = world.store.inner().stored(partition);
    let result = world.store.commit(epoch, checkpoint);
    let after = world.store.inner().stored(partition);
    world.report.count(match &result {
        Ok(()) => "commit",
        Err(StoreError::Fenced { .. }) => "commit fenced",
        Err(StoreError::UnknownOutcome) if after == before => "commit lost",
        Err(StoreError::UnknownOutcome) => "commit unacknowledged",
        Err(_) => "commit failed",
    });
    world.trace.note(format!(
        "{}: commit {partition} epoch {} offset {} lanes {} rows {}: {result:?}",
        world.tick,
        epoch.0,
        checkpoint.next_offset,
        checkpoint.lanes.len(),
        checkpoint.new_rows.len() + checkpoint.changed_rows.len()
    ));
    if after != before {
        let newest = epochs.get(&partition).copied().unwrap_or_default();
        check(&Subject::Commit { epoch: epoch.0, newest: newest.0 })?;
        world.oracle.check_stored(&before, &after)?;
    }
    Ok(result)
}

impl Owner {
    /// Fetches some records and observes them.
    fn fetch<S: Scenario>(&mut self, world: &mut World<'_, S>) -> Result<Fate, Finding> {
        let count = world.schedule.between(1, 20) as usize;
        let records = match world.log.read(self.partition, self.position, count) {
            Ok(records) => records.to_vec(),
            Err(error) => {
                // Where the group's noted offset is no longer kept, what is stored says where to go on.
                let stored = self.state.next_offset().unwrap_or(0);
                return if stored >= error.start {
                    self.position = stored;
                    Ok(Fate::GoesOn)
                } else if self.zombie_until.is_some() {
                    world.report.count("retention overtook a zombie");
                    Ok(Fate::Ends)
                } else {
                    Err(error.into())
                };
            }
        };
        for record in records {
            match self.observe(world, &record) {
                Observation::Full => {
                    self.is_full = true;
                    break;
                }
                Observation::Rejected(_) => self.rejected.push(record.offset),
                _ => {}
            }
            self.position = record.offset + 1;
        }
        for view in world.scenario.runs() {
            let after = self.state.watermark(view.run);
            let before = self.watermarks.insert(view.run, after).unwrap_or_default();
            check(&Subject::Watermark { before, after })?;
        }
        Ok(Fate::GoesOn)
    }

    fn observe<S: Scenario>(
        &mut self,
        world: &mut World<'_, S>,
        record: &LogRecord,
    ) -> Observation {
        let LogRecord { offset, key, payload } = record;
        let observe = |state: &mut Partition| {
            state.observe(*offset, Record::decode(key, payload), key, payload)
        };
        let mut observation = observe(&mut self.state);
        if let Observation::UnknownRun(run) = observation {
            world.report.count("unknown run");
            observation = match world.scenario.runs().iter().find(|view| view.run == run) {
                Some(view) => {
                    self.state.register_run(*view);
                    observe(&mut self.state)
                }
                None => self.state.reject_foreign(*offset),
            };
        }
        world.report.count(name(observation));
        observation
    }
}

fn name(observation: Observation) -> &'static str {
    match observation {
        Observation::Counted => "counted",
        Observation::Corrected => "corrected",
        Observation::Filled => "filled",
        Observation::Jumped => "jumped",
        Observation::Duplicate => "duplicate",
        Observation::Marker { moved: true } => "marker",
        Observation::Marker { moved: false } => "marker ignored",
        Observation::End => "end",
        Observation::Rejected(reason) => match reason {
            RejectReason::UnreadableKey => "rejected: unreadable key",
            RejectReason::UnreadablePayload => "rejected: unreadable payload",
            RejectReason::UnknownRun => "rejected: unknown run",
            RejectReason::UnknownLane => "rejected: unknown lane",
            RejectReason::WrongPartition => "rejected: wrong partition",
            RejectReason::ImpossibleSequence => "rejected: impossible sequence",
            RejectReason::BeyondEnd => "rejected: beyond end",
            RejectReason::EndConflict => "rejected: end conflict",
            RejectReason::TooManyGaps => "rejected: too many gaps",
        },
        Observation::Reread => "reread",
        Observation::UnknownRun(_) => "unknown run",
        Observation::Full => "full",
    }
}
