//! Membership in the group of producers: what the thread `ownership` does with librdkafka, a step at a
//! time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Instant;

use roaming_consumer::group::Change;
use roaming_producer::assignment::Assignment;
use roaming_producer::ownership::REVOKE_TIMEOUT;
use roaming_producer::sender::Command;

use super::super::World;
use super::lanes_topic::LanesTopic;

/// A member, with the partitions that it holds.
#[derive(Default)]
pub(super) struct Membership {
    assignment: Assignment,
    /// What is assigned, and where it is read.
    positions: BTreeMap<u16, u64>,
    /// What was read to its end, and told of.
    owned: BTreeSet<u16>,
    changes: VecDeque<Change>,
    /// Partitions that are given up when their lanes are at rest. Nothing else is done meanwhile.
    leaving: Option<Leaving>,
}

struct Leaving {
    partitions: BTreeSet<u16>,
    rest: Receiver<()>,
    deadline: Instant,
}

impl Membership {
    /// Tells it what changed about its assignment.
    pub(super) fn tell(&mut self, change: Change) {
        self.changes.push_back(change);
    }

    /// Lets it give up everything, as it leaves the group or has lost its membership.
    pub(super) fn give_all_up(&mut self) {
        let is_going = |partition: &u16| {
            let leaving = self.leaving.as_ref();
            leaving.is_some_and(|leaving| leaving.partitions.contains(partition))
        };
        let held: Vec<u16> = self.positions.keys().copied().filter(|p| !is_going(p)).collect();
        // What it was to be told is out of date.
        self.changes.clear();
        if !held.is_empty() {
            self.changes.push_back(Change::Revoked(held));
        }
    }

    /// Whether it holds nothing and nothing is asked of it.
    pub(super) fn has_nothing(&self) -> bool {
        self.positions.is_empty() && self.changes.is_empty() && self.leaving.is_none()
    }

    /// Whether all that it holds is read to its end.
    pub(super) fn is_settled(&self, lanes: &LanesTopic) -> bool {
        let is_read =
            |(&partition, &offset): (&u16, &u64)| lanes.read(partition, offset).is_empty();
        self.changes.is_empty() && self.leaving.is_none() && self.positions.iter().all(is_read)
    }

    /// Does a little, and tells the sender; returns the partitions that it has given up.
    pub(super) fn step(
        &mut self,
        world: &mut World<'_>,
        lanes: &LanesTopic,
        commands: &mut VecDeque<Command>,
    ) -> Vec<u16> {
        if let Some(Leaving { partitions, rest, deadline }) = &self.leaving {
            let is_late = rest.try_recv() == Err(TryRecvError::Empty);
            if is_late && world.now() < *deadline {
                return Vec::new();
            }
            if is_late {
                world.report.count("lanes not at rest in time");
            }
            let partitions = partitions.iter().copied().collect();
            self.leaving = None;
            return partitions;
        }
        match self.changes.pop_front() {
            Some(Change::Assigned(partitions)) => {
                self.assignment.assigned(&partitions.iter().copied().collect());
                self.positions.extend(partitions.into_iter().map(|partition| (partition, 0)));
            }
            Some(Change::Revoked(partitions)) => {
                let partitions: BTreeSet<u16> = partitions.into_iter().collect();
                self.assignment.revoked(&partitions);
                self.positions.retain(|partition, _| !partitions.contains(partition));
                if !self.owned.is_superset(&partitions) {
                    world.report.count("partition read while it is taken away");
                }
                self.owned.retain(|partition| !partitions.contains(partition));
                let (done, rest) = sync_channel(1);
                commands.push_back(Command::Revoked { partitions: partitions.clone(), done });
                let deadline = world.now() + REVOKE_TIMEOUT;
                self.leaving = Some(Leaving { partitions, rest, deadline });
            }
            None => self.read(world, lanes, commands),
        }
        Vec::new()
    }

    /// Reads a part of what it holds.
    fn read(
        &mut self,
        world: &mut World<'_>,
        lanes: &LanesTopic,
        commands: &mut VecDeque<Command>,
    ) {
        for (&partition, position) in &mut self.positions {
            let count = world.schedule.index(20);
            for record in lanes.read(partition, *position).iter().take(count) {
                *position = record.offset + 1;
                let read = self.assignment.read(partition, &record.key, record.value.as_deref());
                if let Err(error) = read {
                    world.trace.note(format!("{}: progress not read: {error}", world.tick));
                }
            }
            let is_at_end = lanes.read(partition, *position).is_empty();
            if is_at_end
                && count > 0
                && let Some(recorded) = self.assignment.read_to_end(partition)
            {
                self.owned.insert(partition);
                commands.push_back(Command::Owned { partition, recorded });
            }
        }
    }
}
