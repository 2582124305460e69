//! The client of a member of the consumer group.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::rc::Rc;

use rdkafka::consumer::CommitMode;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use roaming_consumer::ConsumerError;
use roaming_consumer::group::{Arrival, Change, Group};

use crate::log::{Log, LogRecord};

/// The client of a member; clones share it.
#[derive(Clone, Default)]
pub(super) struct Member {
    client: Rc<RefCell<Client>>,
}

#[derive(Default)]
struct Client {
    reading: BTreeMap<u16, Reading>,
    /// What was read ahead.
    fetched: VecDeque<(u16, LogRecord)>,
    errors: VecDeque<KafkaError>,
    changes: Vec<Change>,
    given_up: Vec<u16>,
    commits: Vec<(u16, u64)>,
    is_lost: bool,
    /// Whether what was read ahead of a partition comes although it was paused.
    is_slow_to_pause: bool,
}

/// How a partition is read.
#[derive(Default)]
struct Reading {
    /// What is fetched next; `None` before it is known, and where the log does not have it.
    position: Option<u64>,
    is_started: bool,
}

impl Member {
    /// Tells the client what changed about its assignment.
    pub(super) fn tell(&self, change: Change) {
        let mut client = self.client.borrow_mut();
        if let Change::Assigned(partitions) = &change {
            client.reading.extend(partitions.iter().map(|&number| (number, Reading::default())));
        }
        client.changes.push(change);
    }

    /// Lets the client learn that it is no member any more.
    pub(super) fn lose(&self) {
        let mut client = self.client.borrow_mut();
        client.is_lost = true;
        // What was asked before is owed still.
        let asked: BTreeSet<u16> = client
            .changes
            .iter()
            .flat_map(|change| match change {
                Change::Revoked(partitions) => partitions.clone(),
                Change::Assigned(_) => Vec::new(),
            })
            .collect();
        let lost = client.reading.keys().copied().filter(|number| !asked.contains(number));
        let lost: Vec<u16> = lost.collect();
        if !lost.is_empty() {
            client.changes.push(Change::Revoked(lost));
        }
    }

    /// Whether everything that was lost is given up, so that it may join again.
    pub(super) fn has_nothing(&self) -> bool {
        self.client.borrow().reading.is_empty()
    }

    /// Takes that it is a member again.
    pub(super) fn rejoined(&self) {
        self.client.borrow_mut().is_lost = false;
    }

    /// Starts partitions that were assigned, and fetches: `count` says how many records of each.
    pub(super) fn fetch(&self, log: &Log, mut count: impl FnMut() -> usize) {
        let client = &mut *self.client.borrow_mut();
        for (&number, reading) in &mut client.reading {
            reading.is_started = true;
            let Some(position) = reading.position else { continue };
            if let Ok(records) = log.read(number, position, count()) {
                reading.position = Some(position + records.len() as u64);
                client.fetched.extend(records.iter().map(|record| (number, record.clone())));
            } else {
                reading.position = None;
                let error = RDKafkaErrorCode::AutoOffsetReset;
                client.errors.push_back(KafkaError::MessageConsumption(error));
            }
        }
    }

    /// Lets the client read some partition again from an earlier place, as one that was moved too late.
    pub(super) fn rewind(&self, log: &Log, back: u64) -> bool {
        let mut client = self.client.borrow_mut();
        let mut readings = client.reading.iter_mut();
        let read =
            readings.find_map(|(number, reading)| Some((number, reading.position.as_mut()?)));
        let Some((number, position)) = read else { return false };
        *position = position.saturating_sub(back).max(log.start(*number));
        true
    }

    /// Says whether pauses take hold at once.
    pub(super) fn be_slow_to_pause(&self, is_slow: bool) {
        self.client.borrow_mut().is_slow_to_pause = is_slow;
    }

    /// Returns the offsets that were to be committed, and the partitions that were given up, since the last
    /// call.
    pub(super) fn take_told(&self) -> (Vec<(u16, u64)>, Vec<u16>) {
        let mut client = self.client.borrow_mut();
        (mem::take(&mut client.commits), mem::take(&mut client.given_up))
    }
}

impl Group for Member {
    fn poll<R>(&self, take: impl FnOnce(Result<Arrival<'_>, KafkaError>) -> R) -> Option<R> {
        let mut client = self.client.borrow_mut();
        if let Some(error) = client.errors.pop_front() {
            drop(client);
            return Some(take(Err(error)));
        }
        let (partition, record) = client.fetched.pop_front()?;
        drop(client);
        let LogRecord { offset, key, payload } = &record;
        Some(take(Ok(Arrival { partition, offset: *offset, log_time_ms: None, key, payload })))
    }

    fn changes(&self) -> Vec<Change> {
        mem::take(&mut self.client.borrow_mut().changes)
    }

    fn resume(&self, partition: u16, offset: u64) -> Result<bool, ConsumerError> {
        let client = &mut *self.client.borrow_mut();
        let reading = client.reading.get_mut(&partition).filter(|reading| reading.is_started);
        let Some(reading) = reading else { return Ok(false) };
        reading.position = Some(offset);
        client.fetched.retain(|(of, _)| *of != partition);
        Ok(true)
    }

    fn rouse(&self, _: &[u16]) {}

    fn pause(&self, partition: u16) -> Result<(), ConsumerError> {
        let client = &mut *self.client.borrow_mut();
        if let Some(reading) = client.reading.get_mut(&partition) {
            reading.position = None;
        }
        if !client.is_slow_to_pause {
            client.fetched.retain(|(of, _)| *of != partition);
        }
        Ok(())
    }

    fn commit(
        &self,
        offsets: impl IntoIterator<Item = (u16, u64)>,
        _: CommitMode,
    ) -> KafkaResult<()> {
        self.client.borrow_mut().commits.extend(offsets);
        Ok(())
    }

    fn has_lost_assignment(&self) -> bool {
        self.client.borrow().is_lost
    }

    fn give_up(&self, partitions: &[u16]) -> Result<(), ConsumerError> {
        let client = &mut *self.client.borrow_mut();
        client.reading.retain(|number, _| !partitions.contains(number));
        client.fetched.retain(|(of, _)| !partitions.contains(of));
        client.given_up.extend(partitions);
        Ok(())
    }
}
