//! Drives one lane onto the wire, as far as time, flow control and room allow.

use std::collections::BTreeSet;
use std::time::Duration;

use roaming_events::SimTime;
use roaming_sim::control::Speed;

use crate::client::{Client, Delivery, Slot, Tag, Undelivered};
use crate::clock::Moment;
use crate::fleet::{Fleet, OwnedLane, Run};
use crate::flow::FlowControl;
use crate::lane::{AcknowledgementError, Step};
use crate::metrics::ProducerMetrics;
use crate::outbox::Outbox;
use crate::watch::Committed;

/// How many events a lane sends before the next one has its turn.
const BURST: usize = 256;
/// After how long without a record a lane says that it is quiet.
const MARKER_INTERVAL: Duration = Duration::from_secs(1);

/// The client, and what decides whether it takes more.
pub struct Wire<C> {
    outbox: Outbox<C>,
    flow: FlowControl,
    committed: Committed,
    metrics: ProducerMetrics,
    /// Partitions that flow control holds now.
    held: BTreeSet<u16>,
    payload: Vec<u8>,
    deliveries: Vec<Delivery>,
}

/// Up to when a lane may go, and how late that makes its events.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Events before this time may leave.
    pub until: SimTime,
    /// The simulated time that the wall clock stands for, and simulated seconds a second; `None` at full
    /// speed.
    clock: Option<(SimTime, f64)>,
}

impl Pace {
    /// Returns the pace of a run at a wall time, held back at the end of its window.
    pub fn of(run: &Run, wall_unix_ms: u64) -> Self {
        let allowed = run.allowed_until(wall_unix_ms);
        let clock = match run.record.speed {
            Speed::Max => None,
            Speed::Factor(factor) => Some((allowed, factor)),
        };
        Self { until: allowed.min(run.window_end), clock }
    }

    /// Returns by how many seconds of the wall clock an event leaves after its time.
    fn lateness(&self, emission_time: SimTime) -> Option<f64> {
        let (now, factor) = self.clock?;
        Some(now.since(emission_time).ms() as f64 / 1000.0 / factor)
    }
}

/// What came of a lane's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It sent, or moved towards where its progress stands.
    Moved,
    /// It has something to send and may not yet.
    Held,
    /// It has nothing to send now, or ever.
    Quiet,
}

/// Why a client is given up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A record was not delivered, or not taken.
    #[error(transparent)]
    Delivery(#[from] Undelivered),
    /// The reports do not add up.
    #[error("delivery reports are out of order")]
    Order(#[from] AcknowledgementError),
    /// What was on its way did not arrive in time.
    #[error("{in_flight} records were still on their way after {waited:?}")]
    Late {
        /// Records on their way.
        in_flight: usize,
        /// How long they were waited for.
        waited: Duration,
    },
}

impl<C: Client> Wire<C> {
    /// Sends through a client that has sent nothing yet; `unread_bytes_max` is the bound of flow control.
    pub fn new(
        client: C,
        unread_bytes_max: u64,
        committed: Committed,
        metrics: ProducerMetrics,
    ) -> Self {
        Self {
            outbox: Outbox::new(client),
            flow: FlowControl::new(unread_bytes_max),
            committed,
            metrics,
            held: BTreeSet::new(),
            payload: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    /// Gives the client up for a new one. What was on its way may arrive all the same.
    pub fn replace(&mut self, client: C) {
        self.outbox = Outbox::new(client);
        self.flow.forget_in_flight();
    }

    /// Gives a lane its turn: a burst of events at most.
    ///
    /// # Errors
    /// Fails where the client must be given up.
    pub fn drive(
        &mut self,
        slot: Slot,
        lane: &mut OwnedLane,
        pace: &Pace,
        now: Moment,
    ) -> Result<Turn, WireError> {
        let partition = lane.events_partition;
        let mut turn = Turn::Quiet;
        for _ in 0..BURST {
            if !self.takes(partition) {
                return Ok(if turn == Turn::Moved { Turn::Moved } else { Turn::Held });
            }
            let id = match lane.sender.next(pace.until, &mut self.payload) {
                Step::Event { id, emission_time } => {
                    if turn == Turn::Quiet
                        && let Some(lateness) = pace.lateness(emission_time)
                    {
                        self.metrics.lateness.observe(lateness);
                    }
                    id
                }
                Step::End { id } => id,
                Step::Forwarding => return Ok(Turn::Moved),
                Step::Wait if turn == Turn::Moved => return Ok(Turn::Moved),
                Step::Wait => {
                    self.mark(lane, now)?;
                    return Ok(Turn::Quiet);
                }
                Step::Done => return Ok(turn),
            };
            let key = id.text();
            let bytes = (key.len() + self.payload.len()) as u64;
            let tag = Tag::Numbered(slot, id.sequence);
            self.outbox.send_event(partition, (&key, &self.payload), tag, now.unix_ms)?;
            self.flow.sent(partition, bytes);
            lane.last_sent = Some(now.instant);
            turn = Turn::Moved;
        }
        Ok(turn)
    }

    /// Whether a partition takes a record now.
    fn takes(&mut self, partition: u16) -> bool {
        if self.flow.allows(partition) {
            self.held.remove(&partition);
            return self.outbox.accepts(partition);
        }
        if self.held.insert(partition) {
            self.metrics.flow_waits.inc();
        }
        false
    }

    /// Says that a lane is quiet, where it said nothing for a while.
    fn mark(&mut self, lane: &mut OwnedLane, now: Moment) -> Result<(), WireError> {
        let last_sent = *lane.last_sent.get_or_insert(now.instant);
        if now.since(last_sent) < MARKER_INTERVAL {
            return Ok(());
        }
        let Some(marker) = lane.sender.marker(&mut self.payload) else { return Ok(()) };
        let key = marker.key();
        let record = (key.as_slice(), self.payload.as_slice());
        self.outbox.send_event(lane.events_partition, record, Tag::Marker, now.unix_ms)?;
        self.flow.sent(lane.events_partition, (key.len() + self.payload.len()) as u64);
        self.metrics.markers.inc();
        lane.last_sent = Some(now.instant);
        Ok(())
    }

    /// Hands the progress of a lane to the client, where it changed and there is room.
    ///
    /// # Errors
    /// As [`drive`](Self::drive).
    pub fn record(&mut self, slot: Slot, lane: &mut OwnedLane) -> Result<(), WireError> {
        if !self.outbox.has_room_for_progress() {
            return Ok(());
        }
        if let Some(progress) = lane.sender.progress() {
            let (key, value) = (progress.key(), progress.encode());
            self.outbox.send_progress(lane.lanes_partition, (key.as_bytes(), &value), slot)?;
            lane.progress_in_flight += 1;
            self.metrics.progress_records.inc();
        }
        Ok(())
    }

    /// Hands a piece of a lane's snapshot to the client, its key and value; says whether there was room.
    ///
    /// # Errors
    /// As [`drive`](Self::drive).
    pub fn write_piece(
        &mut self,
        slot: Slot,
        lane: &mut OwnedLane,
        (key, value): &(String, Vec<u8>),
    ) -> Result<bool, WireError> {
        let has_room = self.outbox.has_room_for_piece();
        if has_room {
            self.outbox.send_progress(lane.lanes_partition, (key.as_bytes(), value), slot)?;
            lane.progress_in_flight += 1;
            self.metrics.snapshot_pieces.inc();
        }
        Ok(has_room)
    }

    /// Hands a tombstone for a record of `roaming.lanes` to the client; says whether there was room.
    ///
    /// # Errors
    /// As [`drive`](Self::drive).
    pub fn forget(&mut self, lanes_partition: u16, key: &str) -> Result<bool, WireError> {
        let has_room = self.outbox.has_room_for_progress();
        if has_room {
            self.outbox.send_tombstone(lanes_partition, key.as_bytes())?;
        }
        Ok(has_room)
    }

    /// Takes what the broker and the consumers have said, and tells the lanes; returns how many records
    /// the broker acknowledged.
    ///
    /// # Errors
    /// As [`drive`](Self::drive).
    pub fn settle(&mut self, fleet: &mut Fleet) -> Result<usize, WireError> {
        self.deliveries.clear();
        let polled = self.outbox.poll(&mut self.deliveries);
        let (mut events, mut bytes, mut order) = (0, 0, Ok(()));
        for delivery in &self.deliveries {
            let Delivery { tag, partition, offset, bytes: octets } = *delivery;
            // A lane is released only when nothing of it is on its way, so that it is found here.
            match tag {
                Tag::Numbered(slot, sequence) => {
                    self.flow.acknowledged(partition, offset, octets);
                    if let Some(lane) = fleet.lane_mut(slot) {
                        order = lane.sender.acknowledged(sequence);
                        if order.is_err() {
                            break;
                        }
                        events += u64::from(!lane.sender.has_ended());
                    }
                    bytes += octets;
                }
                Tag::Marker => self.flow.acknowledged(partition, offset, octets),
                Tag::Progress(slot) => {
                    if let Some(lane) = fleet.lane_mut(slot) {
                        lane.progress_in_flight -= 1;
                    }
                }
                Tag::Tombstone => {}
            }
        }
        self.metrics.events_acknowledged.inc_by(events);
        self.metrics.bytes_acknowledged.inc_by(bytes);
        self.metrics.records_in_flight.set(i64::try_from(self.outbox.in_flight()).unwrap_or(0));
        let flow = &mut self.flow;
        self.committed.for_each(|partition, offset| flow.committed(partition, offset));
        order?;
        polled?;
        Ok(self.deliveries.len())
    }

    /// Returns how many records are on their way.
    pub fn in_flight(&self) -> usize {
        self.outbox.in_flight()
    }

    /// Returns how many progress records and tombstones are on their way.
    pub fn progress_in_flight(&self) -> usize {
        self.outbox.progress_in_flight()
    }

    /// Whether flow control holds a partition.
    pub fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Returns the partitions that flow control holds.
    pub fn held(&self) -> &BTreeSet<u16> {
        &self.held
    }
}
