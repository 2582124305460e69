//! A store in memory, with the meaning of the SQL store, and a wrapper that makes it fail.

use std::collections::BTreeMap;

use roaming_analytics::{Checkpoint, LaneRow, Snapshot};
use roaming_events::{LaneId, RowKey, RunId, SimTime, Totals};

use crate::seed::Stream;

/// The number of an ownership of a partition. A later owner has a greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Epoch(pub u64);

/// Lanes, rows, offsets and watermarks, by partition.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    /// Identity of the log whose offsets are stored.
    token: Option<String>,
    partitions: BTreeMap<u16, Stored>,
}

/// What is stored of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Stored {
    /// The newest epoch that was given out.
    pub epoch: Epoch,
    /// The offset to read next.
    pub next_offset: Option<u64>,
    /// See [`Checkpoint::last_record_ms`].
    pub last_record_ms: Option<u64>,
    /// See [`Checkpoint::unattributed_rejects`].
    pub unattributed_rejects: u64,
    /// Lanes.
    pub lanes: BTreeMap<(RunId, LaneId), LaneRow>,
    /// Aggregate rows.
    pub rows: BTreeMap<(RunId, RowKey), Totals>,
    /// Watermarks.
    pub watermarks: BTreeMap<RunId, SimTime>,
}

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another owner has acquired the partition since.
    #[error("epoch {} of partition {partition} is over, {} has begun", epoch.0, newest.0)]
    Fenced {
        /// The partition.
        partition: u16,
        /// The epoch of the owner that wanted to commit.
        epoch: Epoch,
        /// The newest epoch.
        newest: Epoch,
    },
    /// The store holds offsets of another log.
    #[error("the store belongs to log {stored}, not to log {found}")]
    OtherLog {
        /// The log that the store belongs to.
        stored: String,
        /// The log at hand.
        found: String,
    },
    /// The store cannot be reached. Nothing was changed.
    #[error("the store is unavailable")]
    Unavailable,
    /// The store did not answer. Whether it committed is not known.
    #[error("the store did not say whether it committed")]
    UnknownOutcome,
}

impl MemoryStore {
    /// Binds the store to a log; a second time changes nothing.
    ///
    /// # Errors
    /// Fails where the store belongs to another log.
    pub fn bind_log(&mut self, token: &str) -> Result<(), StoreError> {
        let stored = self.token.get_or_insert_with(|| token.to_owned());
        if stored == token {
            Ok(())
        } else {
            Err(StoreError::OtherLog { stored: stored.clone(), found: token.to_owned() })
        }
    }

    /// Makes the caller the only owner of a partition and returns what is stored of it.
    pub fn acquire(&mut self, partition: u16) -> (Epoch, Snapshot) {
        let stored = self.partitions.entry(partition).or_default();
        stored.epoch.0 += 1;
        (stored.epoch, stored.snapshot())
    }

    /// Writes a checkpoint: all of it or nothing.
    ///
    /// # Errors
    /// Fails where a later owner has acquired the partition.
    pub fn commit(&mut self, epoch: Epoch, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let mut transaction = self.begin(epoch, checkpoint.partition)?;
        transaction.write_lanes(checkpoint);
        transaction.write_rows(checkpoint);
        self.partitions.insert(checkpoint.partition, transaction);
        Ok(())
    }

    fn begin(&self, epoch: Epoch, partition: u16) -> Result<Stored, StoreError> {
        let stored = self.partitions.get(&partition).cloned().unwrap_or_default();
        if stored.epoch != epoch {
            return Err(StoreError::Fenced { partition, epoch, newest: stored.epoch });
        }
        Ok(stored)
    }

    /// Returns rows of a partition as they are stored.
    pub fn load_rows(
        &self,
        partition: u16,
        rows: &[(RunId, RowKey)],
    ) -> Vec<(RunId, RowKey, Option<Totals>)> {
        let stored = self.partitions.get(&partition);
        let load = |key| stored.and_then(|stored| stored.rows.get(key).copied());
        rows.iter().map(|key| (key.0, key.1, load(key))).collect()
    }

    /// Returns all that is stored of a partition.
    pub fn stored(&self, partition: u16) -> Stored {
        self.partitions.get(&partition).cloned().unwrap_or_default()
    }

    /// Returns every lane of a run, in the order of lanes.
    pub fn lanes(&self, run: RunId) -> Vec<LaneRow> {
        let all = self.partitions.values().flat_map(|stored| &stored.lanes);
        let mut lanes: Vec<LaneRow> =
            all.filter(|((of, _), _)| *of == run).map(|(_, lane)| lane.clone()).collect();
        lanes.sort_by_key(|lane| lane.lane);
        lanes
    }

    /// Returns the rows of a run, summed over partitions.
    pub fn rows(&self, run: RunId) -> BTreeMap<RowKey, Totals> {
        let mut rows: BTreeMap<RowKey, Totals> = BTreeMap::new();
        let all = self.partitions.values().flat_map(|stored| &stored.rows);
        for ((_, key), totals) in all.filter(|((of, _), _)| *of == run) {
            rows.entry(*key).or_default().merge(totals);
        }
        rows
    }

    /// Returns the number of records that took no lane's number, in all partitions.
    pub fn unattributed_rejects(&self) -> u64 {
        self.partitions.values().map(|stored| stored.unattributed_rejects).sum()
    }
}

impl Stored {
    fn snapshot(&self) -> Snapshot {
        // Keys ascend, so the last window of a run is its newest.
        let newest: BTreeMap<RunId, SimTime> =
            self.rows.keys().map(|(run, key)| (*run, key.window_start)).collect();
        Snapshot {
            next_offset: self.next_offset,
            last_record_ms: self.last_record_ms,
            lanes: self.lanes.values().cloned().collect(),
            newest_windows: newest.into_iter().collect(),
            unattributed_rejects: self.unattributed_rejects,
        }
    }

    fn write_lanes(&mut self, checkpoint: &Checkpoint) {
        self.next_offset = Some(checkpoint.next_offset);
        self.last_record_ms = checkpoint.last_record_ms;
        self.unattributed_rejects = checkpoint.unattributed_rejects;
        self.watermarks.extend(checkpoint.runs.iter().copied());
        self.lanes
            .extend(checkpoint.lanes.iter().map(|lane| ((lane.run, lane.lane), lane.clone())));
    }

    fn write_rows(&mut self, checkpoint: &Checkpoint) {
        for (run, key, totals) in &checkpoint.new_rows {
            let before = self.rows.insert((*run, *key), *totals);
            assert!(before.is_none(), "row {key:?} of run {run} is not new");
        }
        for (run, key, totals) in &checkpoint.changed_rows {
            let before = self.rows.insert((*run, *key), *totals);
            assert!(before.is_some(), "row {key:?} of run {run} is not here to be changed");
        }
    }
}

/// A store that fails at the times a stream says.
#[derive(Clone, Debug)]
pub struct FaultyStore {
    inner: MemoryStore,
    faults: StoreFaults,
    stream: Stream,
}

/// How often a [`FaultyStore`] fails, in a thousand calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StoreFaults {
    /// Nothing was done, and the caller is told.
    pub unavailable: u32,
    /// It was done, and the caller is not told.
    pub unknown_after_commit: u32,
    /// Nothing was done, and the caller is not told.
    pub unknown_before_commit: u32,
}

impl FaultyStore {
    /// Makes a store that fails.
    pub fn new(inner: MemoryStore, faults: StoreFaults, stream: Stream) -> Self {
        Self { inner, faults, stream }
    }

    /// Stops failing.
    pub fn heal(&mut self) {
        self.faults = StoreFaults::default();
    }

    /// Returns the store itself.
    pub fn inner(&self) -> &MemoryStore {
        &self.inner
    }

    /// See [`MemoryStore::acquire`].
    ///
    /// # Errors
    /// Fails where the store is unavailable.
    pub fn acquire(&mut self, partition: u16) -> Result<(Epoch, Snapshot), StoreError> {
        self.be_available()?;
        Ok(self.inner.acquire(partition))
    }

    /// See [`MemoryStore::load_rows`].
    ///
    /// # Errors
    /// Fails where the store is unavailable.
    pub fn load_rows(
        &mut self,
        partition: u16,
        rows: &[(RunId, RowKey)],
    ) -> Result<Vec<(RunId, RowKey, Option<Totals>)>, StoreError> {
        self.be_available()?;
        Ok(self.inner.load_rows(partition, rows))
    }

    /// See [`MemoryStore::commit`].
    ///
    /// # Errors
    /// Fails where a later owner has acquired the partition, the store is unavailable, or it does not say
    /// what it did.
    pub fn commit(&mut self, epoch: Epoch, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.be_available()?;
        if self.stream.chance(self.faults.unknown_before_commit) {
            return Err(StoreError::UnknownOutcome);
        }
        self.inner.commit(epoch, checkpoint)?;
        if self.stream.chance(self.faults.unknown_after_commit) {
            return Err(StoreError::UnknownOutcome);
        }
        Ok(())
    }

    fn be_available(&mut self) -> Result<(), StoreError> {
        if self.stream.chance(self.faults.unavailable) {
            return Err(StoreError::Unavailable);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
