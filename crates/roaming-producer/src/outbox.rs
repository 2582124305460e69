//! What is on its way through a client: bounded, in order, and given up at the first failure.

use std::collections::BTreeSet;

use roaming_service::topics;

use crate::client::{Client, Delivery, Outgoing, Slot, Tag, Undelivered};

/// Records on their way at most; below the client's own bound, so that it never refuses one. More would
/// only wait in the client, and be out of the processor's cache when their turn comes; these are enough for
/// a million a second where the broker takes 16 ms to answer.
const RECORDS_MAX: usize = 16_000;
/// Progress records on their way at most. They have room of their own, between [`RECORDS_MAX`] and the
/// client's bound: at full speed events take all of theirs, and a lane whose progress waits for a gap
/// between them repeats everything after a crash.
const PROGRESS_RECORDS_MAX: usize = 15_000;
/// Bytes on their way at most; below the client's own bound of 64 MiB.
const BYTES_MAX: u64 = 48 << 20;

/// A client with what is on its way through it.
pub struct Outbox<C> {
    client: C,
    records: usize,
    bytes: u64,
    progress_records: usize,
    /// Partitions of `roaming.events` whose first record through this client is on its way, or
    /// acknowledged. A broker takes whatever batch of a new client comes first, so that a second one
    /// on its way could overtake a first that is tried again, and leave a hole.
    first_sent: BTreeSet<u16>,
    first_acknowledged: BTreeSet<u16>,
}

impl<C: Client> Outbox<C> {
    /// Sends through a client that has sent nothing yet.
    pub fn new(client: C) -> Self {
        Self {
            client,
            records: 0,
            bytes: 0,
            progress_records: 0,
            first_sent: BTreeSet::new(),
            first_acknowledged: BTreeSet::new(),
        }
    }

    /// Whether one more event or marker has room.
    fn has_room(&self) -> bool {
        self.records < RECORDS_MAX + self.progress_records && self.bytes < BYTES_MAX
    }

    /// Whether one more progress record has room.
    pub fn has_room_for_progress(&self) -> bool {
        self.progress_records < PROGRESS_RECORDS_MAX
    }

    /// Whether one more piece of a snapshot has room, which is as large as hundreds of events.
    pub fn has_room_for_piece(&self) -> bool {
        self.has_room_for_progress() && self.bytes < BYTES_MAX
    }

    /// Whether a partition of `roaming.events` takes a record now.
    pub fn accepts(&self, partition: u16) -> bool {
        self.has_room()
            && (self.first_acknowledged.contains(&partition)
                || !self.first_sent.contains(&partition))
    }

    /// Hands an event, marker or end marker to the client, made at `created_unix_ms` of the wall clock.
    ///
    /// # Errors
    /// Fails where the client refuses it: give the client up.
    pub fn send_event(
        &mut self,
        partition: u16,
        (key, payload): (&[u8], &[u8]),
        tag: Tag,
        created_unix_ms: u64,
    ) -> Result<(), Undelivered> {
        self.send(&Outgoing {
            topic: topics::EVENTS,
            partition,
            key,
            payload: Some(payload),
            tag,
            // The client would read the clock for each record.
            created_unix_ms: Some(created_unix_ms),
        })?;
        if !self.first_acknowledged.contains(&partition) {
            self.first_sent.insert(partition);
        }
        Ok(())
    }

    /// Hands a progress record, or a piece of a snapshot, of the lane in `slot` to the client.
    ///
    /// # Errors
    /// As [`send_event`](Self::send_event).
    pub fn send_progress(
        &mut self,
        partition: u16,
        (key, payload): (&[u8], &[u8]),
        slot: Slot,
    ) -> Result<(), Undelivered> {
        self.send_to_lanes(partition, key, Some(payload), Tag::Progress(slot))
    }

    /// Hands a tombstone for `roaming.lanes` to the client: the key's records are to be forgotten.
    ///
    /// # Errors
    /// As [`send_event`](Self::send_event).
    pub fn send_tombstone(&mut self, partition: u16, key: &[u8]) -> Result<(), Undelivered> {
        self.send_to_lanes(partition, key, None, Tag::Tombstone)
    }

    fn send_to_lanes(
        &mut self,
        partition: u16,
        key: &[u8],
        payload: Option<&[u8]>,
        tag: Tag,
    ) -> Result<(), Undelivered> {
        self.send(&Outgoing {
            topic: topics::LANES,
            partition,
            key,
            payload,
            tag,
            created_unix_ms: None,
        })?;
        self.progress_records += 1;
        Ok(())
    }

    fn send(&mut self, record: &Outgoing<'_>) -> Result<(), Undelivered> {
        self.client.send(record)?;
        self.records += 1;
        self.bytes += record.bytes();
        Ok(())
    }

    /// Appends what was acknowledged to `deliveries`, in order within a partition. Waits for nothing.
    ///
    /// # Errors
    /// Fails where any record was not delivered: give the client up.
    pub fn poll(&mut self, deliveries: &mut Vec<Delivery>) -> Result<(), Undelivered> {
        let start = deliveries.len();
        let polled = self.client.poll(deliveries);
        for delivery in &deliveries[start..] {
            self.records -= 1;
            self.bytes -= delivery.bytes;
            match delivery.tag {
                Tag::Progress(_) | Tag::Tombstone => self.progress_records -= 1,
                Tag::Marker | Tag::Numbered(..) => {
                    self.first_acknowledged.insert(delivery.partition);
                }
            }
        }
        polled
    }

    /// Returns how many records are on their way.
    pub fn in_flight(&self) -> usize {
        self.records
    }

    /// Returns how many progress records and tombstones are on their way.
    pub fn progress_in_flight(&self) -> usize {
        self.progress_records
    }
}
