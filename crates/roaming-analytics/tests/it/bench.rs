//! A partition over a store, and short ways to feed it.

use roaming_analytics::{
    Checkpoint, LaneRow, Observation, Partition, PartitionConfig, RunView, Snapshot,
};
use roaming_events::{
    End, Event, EventId, LaneId, Marker, Record, RunId, Sequence, SimDuration, SimTime, json,
};
use roaming_testkit::sample::{self, START_UNIX_MS};
use roaming_testkit::{Epoch, MemoryStore};

/// The partition that is tested, of [`PARTITIONS`].
pub(crate) const PARTITION: u16 = 0;
/// Lanes 0 and 2 of three live in the partition, lane 1 does not.
pub(crate) const PARTITIONS: u16 = 2;
pub(crate) const LANES: u16 = 3;

pub(crate) const CONFIG: PartitionConfig =
    PartitionConfig { window: SimDuration::from_secs(900), gaps_max: 4, rows_max: 1000 };

pub(crate) struct Bench {
    pub(crate) state: Partition,
    pub(crate) store: MemoryStore,
    config: PartitionConfig,
    epoch: Epoch,
    offset: u64,
}

pub(crate) fn run() -> RunId {
    RunId::from_hash(77)
}

pub(crate) fn view() -> RunView {
    RunView { run: run(), lanes: LANES, partitions: PARTITIONS, start: time(0) }
}

pub(crate) fn lane(number: u16) -> LaneId {
    LaneId::try_new(number).expect("tests use small numbers")
}

pub(crate) fn sequence(number: u64) -> Sequence {
    Sequence::try_new(number).expect("tests use small numbers")
}

pub(crate) fn id(lane_number: u16, number: u64) -> EventId {
    EventId { run: run(), lane: lane(lane_number), sequence: sequence(number) }
}

/// A time after the run's start.
pub(crate) fn time(seconds: u64) -> SimTime {
    SimTime::from_unix_ms(START_UNIX_MS) + SimDuration::from_secs(seconds)
}

/// An event that is emitted when it happens.
pub(crate) fn event(lane_number: u16, number: u64, seconds: u64) -> Event {
    let event = sample::event(id(lane_number, number), time(seconds));
    Event { event_time: event.emission_time, ..event }
}

pub(crate) fn payload(record: &Record) -> Vec<u8> {
    let mut payload = Vec::new();
    match record {
        Record::Event(event) => json::encode(event, &mut payload),
        Record::Marker(marker) => marker.encode(&mut payload),
        Record::End(end) => end.encode(&mut payload),
    }
    payload
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(CONFIG)
    }

    pub(crate) fn with(config: PartitionConfig) -> Self {
        let mut store = MemoryStore::default();
        let (epoch, snapshot) = store.acquire(PARTITION);
        assert_eq!(snapshot, Snapshot::default());
        let mut state = Partition::new(PARTITION, config);
        state.register_run(view());
        Self { state, store, config, epoch, offset: 0 }
    }

    /// Observes a record at the next offset.
    pub(crate) fn bytes(&mut self, key: &[u8], payload: &[u8]) -> Observation {
        let observation =
            self.state.observe(self.offset, Record::decode(key, payload), key, payload);
        if !matches!(observation, Observation::Full | Observation::UnknownRun(_)) {
            self.offset += 1;
        }
        observation
    }

    pub(crate) fn record(&mut self, record: Record) -> Observation {
        self.bytes(&record.id().text(), &payload(&record))
    }

    /// Observes an event that is emitted when it happens.
    pub(crate) fn event(&mut self, lane: u16, number: u64, seconds: u64) -> Observation {
        self.record(Record::Event(event(lane, number, seconds)))
    }

    pub(crate) fn marker(&mut self, lane_number: u16, next: u64, seconds: u64) -> Observation {
        let (lane, next) = (lane(lane_number), sequence(next));
        let emission_time = time(seconds);
        self.record(Record::Marker(Marker { run: run(), lane, next, emission_time }))
    }

    pub(crate) fn end(&mut self, lane: u16, count: u64, seconds: u64) -> Observation {
        self.record(Record::End(End { id: id(lane, count), emission_time: time(seconds) }))
    }

    /// Observes a record with a readable key and a broken payload.
    pub(crate) fn broken(&mut self, lane: u16, number: u64) -> Observation {
        self.bytes(&id(lane, number).text(), b"{\"type\":\"voice\"")
    }

    pub(crate) fn lane(&self, number: u16) -> &LaneRow {
        self.state.lane(run(), lane(number)).expect("the lane lives here")
    }

    pub(crate) fn gaps(&self, number: u16) -> Vec<(u64, u64)> {
        self.lane(number).gaps.iter().map(|(from, to)| (from.get(), to.get())).collect()
    }

    /// Takes a checkpoint, with the rows that it misses.
    pub(crate) fn checkpoint(&mut self) -> Option<Checkpoint> {
        let rows = self.store.load_rows(PARTITION, &self.state.missing_rows());
        self.state.supply_rows(rows);
        self.state.checkpoint()
    }

    /// Brings all that was observed to the store.
    pub(crate) fn flush(&mut self) {
        if let Some(checkpoint) = self.checkpoint() {
            self.store.commit(self.epoch, &checkpoint).expect("this is the only owner");
            self.state.committed();
        }
    }

    /// Forgets everything but the store, and goes on from there. Returns the offset to go on from.
    pub(crate) fn restart(&mut self) -> u64 {
        let (epoch, snapshot) = self.store.acquire(PARTITION);
        self.epoch = epoch;
        self.offset = snapshot.next_offset.unwrap_or(0);
        self.state = Partition::restore(PARTITION, self.config, snapshot);
        self.state.register_run(view());
        self.offset
    }
}
