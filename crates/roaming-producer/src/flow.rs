//! Flow control: how many bytes may stand unread in a partition.
//!
//! Pure: what was sent, what the broker acknowledged and what the consumers committed comes in; whether
//! more may be sent comes out. Only what this process sent is counted, so that with several producers
//! the bound holds for each of them.

use std::collections::VecDeque;

/// Into how many parts the bound is cut: that many places are remembered for a partition at most, and
/// what is unread is overstated by one part at most.
const PARTS: u64 = 128;

/// The unread bytes of every partition of `roaming.events`.
pub struct FlowControl {
    unread_bytes_max: u64,
    partitions: Vec<PartitionFlow>,
}

#[derive(Default)]
struct PartitionFlow {
    /// Bytes handed to the client, acknowledged or not.
    sent: u64,
    acknowledged: u64,
    read: u64,
    /// Offsets, each with the bytes acknowledged up to and with it; in order.
    places: VecDeque<(u64, u64)>,
}

impl FlowControl {
    /// Makes a control that lets `unread_bytes_max` bytes stand unread in each partition.
    pub fn new(unread_bytes_max: u64) -> Self {
        Self { unread_bytes_max, partitions: Vec::new() }
    }

    /// Whether a partition takes more.
    pub fn allows(&self, partition: u16) -> bool {
        self.unread(partition) < self.unread_bytes_max
    }

    /// Returns the bytes that were sent to a partition and are not known to be read.
    pub fn unread(&self, partition: u16) -> u64 {
        self.partitions.get(usize::from(partition)).map_or(0, |flow| flow.sent - flow.read)
    }

    /// Takes note of bytes handed to the client.
    pub fn sent(&mut self, partition: u16, bytes: u64) {
        self.partition(partition).sent += bytes;
    }

    /// Takes note that the broker holds `bytes` more, the last of them at `offset`.
    pub fn acknowledged(&mut self, partition: u16, offset: u64, bytes: u64) {
        let part = self.unread_bytes_max / PARTS;
        let flow = self.partition(partition);
        flow.acknowledged += bytes;
        let last = flow.places.back().map_or(flow.read, |&(_, bytes)| bytes);
        if flow.acknowledged - last >= part {
            flow.places.push_back((offset, flow.acknowledged));
        }
    }

    /// Takes note that the consumers will read on at `next_offset`.
    pub fn committed(&mut self, partition: u16, next_offset: u64) {
        let flow = self.partition(partition);
        while let Some(&(offset, bytes)) = flow.places.front() {
            if offset >= next_offset {
                break;
            }
            flow.read = bytes;
            flow.places.pop_front();
        }
    }

    /// Forgets what was handed to a client that was given up.
    pub fn forget_in_flight(&mut self) {
        for flow in &mut self.partitions {
            flow.sent = flow.acknowledged;
        }
    }

    fn partition(&mut self, partition: u16) -> &mut PartitionFlow {
        let index = usize::from(partition);
        if self.partitions.len() <= index {
            self.partitions.resize_with(index + 1, PartitionFlow::default);
        }
        &mut self.partitions[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1280;
    const RECORD: u64 = 10;

    /// Sends and acknowledges `count` records of ten bytes with the offsets from `first` on.
    fn fill(flow: &mut FlowControl, first: u64, count: u64) {
        for offset in first..first + count {
            flow.sent(3, RECORD);
            flow.acknowledged(3, offset, RECORD);
        }
    }

    #[test]
    fn a_full_partition_takes_no_more_until_the_consumers_commit() {
        let mut flow = FlowControl::new(MAX);
        fill(&mut flow, 0, 127);
        assert!(flow.allows(3));
        fill(&mut flow, 127, 1);
        assert!(!flow.allows(3));
        assert!(flow.allows(2), "partitions are independent");
        flow.committed(3, 0);
        assert!(!flow.allows(3), "the offset committed is the next one to read");
        flow.committed(3, 1);
        assert_eq!(flow.unread(3), MAX - RECORD);
        assert!(flow.allows(3));
        flow.committed(3, 128);
        assert_eq!(flow.unread(3), 0);
    }

    #[test]
    fn what_is_on_its_way_counts_until_its_client_is_given_up() {
        let mut flow = FlowControl::new(MAX);
        flow.sent(0, MAX);
        assert!(!flow.allows(0));
        flow.forget_in_flight();
        assert!(flow.allows(0));
    }

    #[test]
    fn few_places_are_remembered_and_none_is_read_too_early() {
        let mut flow = FlowControl::new(MAX * 100);
        fill(&mut flow, 0, 12_799);
        assert!(flow.partitions[3].places.len() <= 128);
        flow.committed(3, 150);
        let truly_unread = (12_799 - 150) * RECORD;
        assert!(flow.unread(3) >= truly_unread);
        assert!(flow.unread(3) <= truly_unread + MAX * 100 / PARTS);
    }
}
