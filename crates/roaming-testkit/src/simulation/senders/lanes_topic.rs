//! The compacted topic `roaming.lanes`.

use std::collections::BTreeSet;

use roaming_events::{LaneId, RunId};
use roaming_producer::progress::{self, Progress};

/// The topic: of each key, the last record is kept at least.
pub(super) struct LanesTopic {
    partitions: Vec<Vec<LanesRecord>>,
    /// The next record's offset, in whatever partition.
    next_offset: u64,
    /// The lanes whose end was told, whatever was told later.
    ended: BTreeSet<(RunId, LaneId)>,
}

/// A record; one without a value takes its key's back.
pub(super) struct LanesRecord {
    pub(super) offset: u64,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

impl LanesTopic {
    pub(super) fn new(partitions: u16) -> Self {
        let partitions = (0..partitions).map(|_| Vec::new()).collect();
        Self { partitions, next_offset: 0, ended: BTreeSet::new() }
    }

    pub(super) fn partitions(&self) -> u16 {
        self.partitions.len() as u16
    }

    /// Appends a record and returns its offset.
    pub(super) fn append(&mut self, partition: u16, key: Vec<u8>, value: Option<Vec<u8>>) -> u64 {
        let offset = self.next_offset;
        if let Ok((lane, Some(progress))) = Progress::read(&key, value.as_deref())
            && progress.ended
        {
            self.ended.insert(lane);
        }
        self.partitions[usize::from(partition)].push(LanesRecord { offset, key, value });
        self.next_offset += 1;
        offset
    }

    /// Returns the records of a partition from `offset` on.
    pub(super) fn read(&self, partition: u16, offset: u64) -> &[LanesRecord] {
        let records = &self.partitions[usize::from(partition)];
        &records[records.partition_point(|record| record.offset < offset)..]
    }

    /// Removes the records that later ones of the same key replace.
    pub(super) fn compact(&mut self, partition: u16) {
        let records = &mut self.partitions[usize::from(partition)];
        let mut kept = BTreeSet::new();
        let mut newest: Vec<_> = records.drain(..).rev().collect();
        newest.retain(|record| kept.insert(record.key.clone()));
        newest.reverse();
        *records = newest;
    }

    /// Loses all records of a partition.
    pub(super) fn lose(&mut self, partition: u16) {
        self.partitions[usize::from(partition)].clear();
    }

    /// Whether the end of a lane was ever told.
    pub(super) fn has_ended(&self, run: RunId, lane: LaneId) -> bool {
        self.ended.contains(&(run, lane))
    }

    /// Returns the progress that stands there of a lane.
    pub(super) fn progress(&self, run: RunId, lane: LaneId) -> Option<Progress> {
        let key = progress::key(run, lane);
        let records = &self.partitions[usize::from(lane.partition(self.partitions()))];
        let last = records.iter().rev().find(|record| record.key == key.as_bytes())?;
        Progress::read(&last.key, last.value.as_deref()).ok()?.1
    }
}
