//! The coordinator of a group: who owns which partition.
//!
//! Rebalances are cooperative: partitions that do not move stay with their owners, and one that moves is
//! assigned anew when its owner has given it up or is expelled.

use std::collections::{BTreeMap, BTreeSet};

use roaming_consumer::group::Change;

/// Names a member.
pub(super) type MemberId = u64;

/// Who reads which partition.
#[derive(Default)]
pub(super) struct Coordinator {
    members: BTreeSet<MemberId>,
    owners: BTreeMap<u16, MemberId>,
    /// Partitions that their owners were asked to give up.
    revoking: BTreeSet<u16>,
    /// Moves the assignment, so that a rebalance has something to do.
    rotation: usize,
    /// Members that say nothing, and the tick at which their sessions time out.
    silent: Vec<(u64, MemberId)>,
}

impl Coordinator {
    pub(super) fn join(&mut self, id: MemberId) {
        self.members.insert(id);
    }

    /// Takes a member out: its session timed out, or it left.
    pub(super) fn expel(&mut self, id: MemberId) {
        self.members.remove(&id);
        self.owners.retain(|partition, owner| {
            if *owner == id {
                self.revoking.remove(partition);
            }
            *owner != id
        });
    }

    /// Takes that a member says nothing from here on: its session times out at a tick.
    pub(super) fn falls_silent(&mut self, id: MemberId, times_out: u64) {
        self.silent.push((times_out, id));
    }

    /// Expels the members whose sessions have timed out.
    pub(super) fn time_out(&mut self, tick: u64) {
        for (_, id) in
            self.silent.extract_if(.., |(times_out, _)| *times_out <= tick).collect::<Vec<_>>()
        {
            self.expel(id);
        }
    }

    /// Whether a member is one, as the coordinator sees it.
    pub(super) fn has(&self, id: MemberId) -> bool {
        self.members.contains(&id)
    }

    /// Gives partitions to other members.
    pub(super) fn rotate(&mut self) {
        self.rotation += 1;
    }

    /// Whether each partition is where it belongs.
    pub(super) fn is_settled(&self, partitions: u16) -> bool {
        self.revoking.is_empty() && self.owners.len() == usize::from(partitions)
    }

    /// Takes that a member gave partitions up.
    pub(super) fn given_up(&mut self, id: MemberId, partitions: &[u16]) {
        for partition in partitions {
            if self.owners.get(partition) == Some(&id) {
                self.owners.remove(partition);
                self.revoking.remove(partition);
            }
        }
    }

    /// Whether the group takes an offset of a partition from a member.
    pub(super) fn takes_offset(&self, id: MemberId, partition: u16) -> bool {
        self.owners.get(&partition) == Some(&id)
    }

    /// Returns what members are to be told: first what they are to give up, then what is theirs.
    pub(super) fn assign(&mut self, partitions: u16) -> Vec<(MemberId, Change)> {
        let ids: Vec<MemberId> = self.members.iter().copied().collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let mut assigned: BTreeMap<MemberId, Vec<u16>> = BTreeMap::new();
        let mut revoked: BTreeMap<MemberId, Vec<u16>> = BTreeMap::new();
        for partition in 0..partitions {
            let wanted = ids[(usize::from(partition) + self.rotation) % ids.len()];
            match self.owners.get(&partition) {
                None => {
                    self.owners.insert(partition, wanted);
                    assigned.entry(wanted).or_default().push(partition);
                }
                Some(owner) if *owner != wanted && self.revoking.insert(partition) => {
                    revoked.entry(*owner).or_default().push(partition);
                }
                Some(_) => {}
            }
        }
        let revoked = revoked.into_iter().map(|(id, partitions)| (id, Change::Revoked(partitions)));
        let assigned = assigned.into_iter();
        let assigned = assigned.map(|(id, partitions)| (id, Change::Assigned(partitions)));
        revoked.chain(assigned).collect()
    }
}
