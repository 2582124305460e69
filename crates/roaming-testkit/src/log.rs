//! A partitioned log in memory, with the meaning of a Kafka topic.

use std::collections::BTreeMap;

/// A topic: partitions of records that are read by offset, and the offsets that groups committed.
#[derive(Clone, Debug)]
pub struct Log {
    token: String,
    partitions: Vec<Partition>,
    offsets: BTreeMap<(String, u16), u64>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its offset.
    pub offset: u64,
    /// Its message key.
    pub key: Vec<u8>,
    /// Its payload.
    pub payload: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Partition {
    /// Offset of the first record that is kept.
    start: u64,
    records: Vec<LogRecord>,
}

/// The record asked for is no longer kept, or never was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} of partition {partition} is outside of {start} to {end}")]
pub struct OffsetOutOfRange {
    /// The partition.
    pub partition: u16,
    /// The offset asked for.
    pub offset: u64,
    /// Offset of the first record that is kept.
    pub start: u64,
    /// Offset of the next record to be written.
    pub end: u64,
}

impl Log {
    /// Makes an empty log with the identity `token`.
    pub fn new(token: &str, partitions: u16) -> Self {
        let partitions = vec![Partition::default(); usize::from(partitions)];
        Self { token: token.to_owned(), partitions, offsets: BTreeMap::new() }
    }

    /// Returns the identity of the log: another log has other records under the same offsets.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns the number of partitions.
    pub fn partitions(&self) -> u16 {
        self.partitions.len() as u16
    }

    /// Appends a record and returns its offset.
    ///
    /// # Panics
    /// Panics where there is no such partition.
    pub fn append(&mut self, partition: u16, key: Vec<u8>, payload: Vec<u8>) -> u64 {
        let partition = &mut self.partitions[usize::from(partition)];
        let offset = partition.end();
        partition.records.push(LogRecord { offset, key, payload });
        offset
    }

    /// Returns at most `count` records from `offset` on; none at the end of the partition.
    ///
    /// # Errors
    /// Fails where `offset` is not from the first record kept to the end: never skips.
    ///
    /// # Panics
    /// Panics where there is no such partition.
    pub fn read(
        &self,
        partition: u16,
        offset: u64,
        count: usize,
    ) -> Result<&[LogRecord], OffsetOutOfRange> {
        let Partition { start, records } = &self.partitions[usize::from(partition)];
        let end = start + records.len() as u64;
        if !(*start..=end).contains(&offset) {
            return Err(OffsetOutOfRange { partition, offset, start: *start, end });
        }
        let from = (offset - start) as usize;
        Ok(&records[from..records.len().min(from.saturating_add(count))])
    }

    /// Returns the offset of the first record that is kept.
    pub fn start(&self, partition: u16) -> u64 {
        self.partitions[usize::from(partition)].start
    }

    /// Returns the offset of the next record to be written.
    pub fn end(&self, partition: u16) -> u64 {
        self.partitions[usize::from(partition)].end()
    }

    /// Drops the records before `offset`, as retention does. An offset beyond the end drops all.
    pub fn truncate(&mut self, partition: u16, offset: u64) {
        let partition = &mut self.partitions[usize::from(partition)];
        let offset = offset.clamp(partition.start, partition.end());
        partition.records.drain(..(offset - partition.start) as usize);
        partition.start = offset;
    }

    /// Notes the offset that a group will read next. Any group member may, at any time, also backwards.
    pub fn commit(&mut self, group: &str, partition: u16, offset: u64) {
        self.offsets.insert((group.to_owned(), partition), offset);
    }

    /// Returns the offset that a group noted last.
    pub fn committed(&self, group: &str, partition: u16) -> Option<u64> {
        self.offsets.get(&(group.to_owned(), partition)).copied()
    }
}

impl Partition {
    fn end(&self) -> u64 {
        self.start + self.records.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        let mut log = Log::new("a", 2);
        for key in 0..5 {
            assert_eq!(log.append(1, vec![key], vec![]), u64::from(key));
        }
        log
    }

    #[test]
    fn records_are_read_from_an_offset_on() {
        let log = log();
        let offsets = |records: &[LogRecord]| records.iter().map(|r| r.offset).collect::<Vec<_>>();
        assert_eq!(offsets(log.read(1, 1, 2).unwrap()), [1, 2]);
        assert_eq!(offsets(log.read(1, 4, 9).unwrap()), [4]);
        assert_eq!(offsets(log.read(1, 5, 9).unwrap()), [0; 0]);
        assert_eq!(offsets(log.read(0, 0, 9).unwrap()), [0; 0]);
    }

    #[test]
    fn what_is_not_kept_is_refused_and_offsets_stay() {
        let mut log = log();
        log.truncate(1, 3);
        assert_eq!(
            log.read(1, 2, 1),
            Err(OffsetOutOfRange { partition: 1, offset: 2, start: 3, end: 5 })
        );
        assert!(log.read(1, 6, 1).is_err());
        assert_eq!(log.read(1, 3, 1).unwrap()[0].key, [3]);
        log.truncate(1, 1);
        assert_eq!(log.start(1), 3);
        log.truncate(1, 99);
        assert_eq!((log.start(1), log.end(1)), (5, 5));
        assert_eq!(log.append(1, vec![], vec![]), 5);
    }

    #[test]
    fn groups_note_offsets() {
        let mut log = log();
        assert_eq!(log.committed("g", 1), None);
        log.commit("g", 1, 4);
        log.commit("g", 1, 2);
        assert_eq!(log.committed("g", 1), Some(2));
        assert_eq!(log.committed("h", 1), None);
    }
}
