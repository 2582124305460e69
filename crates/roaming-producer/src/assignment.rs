//! Which partitions of `roaming.lanes` are assigned and not owned yet, and what was read of their progress.
//!
//! Pure: what the group says and what is read comes in; it knows no client and no thread.

use std::collections::{BTreeMap, BTreeSet};

use roaming_events::{LaneId, RunId};

use crate::fleet::{PartitionProgress, Recorded};
use crate::progress::{self, Progress, ProgressError};
use crate::snapshot::{PieceKey, Pieces};

/// Assigned partitions whose end has not been reached, with what was read of them. Partitions that are owned
/// are not here: what comes after is this process's own progress.
#[derive(Default)]
pub struct Assignment {
    reading: BTreeMap<u16, Reading>,
}

/// What was read of a partition.
#[derive(Default)]
struct Reading {
    progress: PartitionProgress,
    pieces: BTreeMap<(RunId, LaneId), Pieces>,
}

impl Assignment {
    /// Takes note that partitions are assigned: they are to be read from their start.
    pub fn assigned(&mut self, partitions: &BTreeSet<u16>) {
        self.reading.extend(partitions.iter().map(|&partition| (partition, Reading::default())));
    }

    /// Takes a record of a partition into account, if the partition is being read.
    ///
    /// # Errors
    /// Fails where the record is neither progress nor a piece of a snapshot. Its lane repeats more without
    /// it, or takes longer to get there; nothing is lost.
    pub fn read(
        &mut self,
        partition: u16,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), ProgressError> {
        let Some(reading) = self.reading.get_mut(&partition) else { return Ok(()) };
        if let Some(key) = PieceKey::read(key) {
            reading.pieces.entry((key.run, key.lane)).or_default().read(key, value)?;
        } else {
            progress::keep(&mut reading.progress, Progress::read(key, value)?);
        }
        Ok(())
    }

    /// Returns what stands in a partition which was read to its end: it is owned from here on. `None` where
    /// it was not being read.
    pub fn read_to_end(&mut self, partition: u16) -> Option<Recorded> {
        let Reading { progress, pieces } = self.reading.remove(&partition)?;
        let assembled = pieces.into_iter().map(|(lane, pieces)| (lane, pieces.assemble()));
        Some(Recorded { progress, snapshots: assembled.collect() })
    }

    /// Takes note that partitions are taken away, owned or still being read.
    pub fn revoked(&mut self, partitions: &BTreeSet<u16>) {
        self.reading.retain(|partition, _| !partitions.contains(partition));
    }
}

#[cfg(test)]
mod tests {
    use roaming_events::{LaneId, RunId, Sequence, SimTime};

    use super::*;

    fn progress(acknowledged: u64) -> Progress {
        Progress {
            run: "0048d159e26af37b".parse::<RunId>().expect("a run"),
            lane: LaneId::default(),
            acknowledged: Sequence::try_new(acknowledged).expect("a sequence"),
            emission_time: SimTime::default(),
            ended: false,
        }
    }

    /// Has it read a record, and returns whether that was progress.
    fn read(assignment: &mut Assignment, partition: u16, record: &Progress) -> bool {
        let (key, value) = (record.key(), record.encode());
        assignment.read(partition, key.as_bytes(), Some(&value)).is_ok()
    }

    #[test]
    fn a_partition_is_owned_once_with_the_last_progress_of_its_lanes() {
        let mut assignment = Assignment::default();
        assignment.assigned(&BTreeSet::from([1, 2]));
        assert!(read(&mut assignment, 1, &progress(3)));
        assert!(assignment.read(1, b"no lane", Some(b"no progress")).is_err());
        assert!(read(&mut assignment, 1, &progress(7)));
        let last = progress(7);
        let lanes = PartitionProgress::from([((last.run, last.lane), last)]);
        let owned = Recorded { progress: lanes, ..Recorded::default() };
        assert_eq!(assignment.read_to_end(1), Some(owned));
        // From here on it is the owner's own progress, and each end of it is told.
        assert!(read(&mut assignment, 1, &progress(9)));
        assert_eq!(assignment.read_to_end(1), None);
        assert_eq!(assignment.read_to_end(2), Some(Recorded::default()));
    }

    #[test]
    fn a_partition_that_is_taken_away_while_it_is_read_is_not_owned() {
        let mut assignment = Assignment::default();
        assignment.assigned(&BTreeSet::from([1, 2]));
        assert!(read(&mut assignment, 1, &progress(3)));
        assignment.revoked(&BTreeSet::from([1]));
        assert_eq!(assignment.read_to_end(1), None);
        assignment.assigned(&BTreeSet::from([1]));
        assert_eq!(assignment.read_to_end(1), Some(Recorded::default()), "read anew");
        assert!(assignment.read_to_end(2).is_some(), "the other goes on");
    }
}
