//! One owned partition, from its acquisition to its end.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roaming_analytics::{Observation, Partition};
use roaming_events::{Event, Record, RunId};
use roaming_service::backoff::Backoff;
use roaming_service::telemetry::chain;
use roaming_store::Epoch;
use tracing::trace;

use crate::dead_letter::DeadLetter;
use crate::desk::{JobError, Request, Ticket};
use crate::group::Arrival;
use crate::metrics::Delta;
use crate::runs::KnownRun;

/// The most dead letters of a partition that wait for a checkpoint. At it the partition pauses.
const LETTERS_MAX: usize = 1000;

/// Pauses between attempts when the store or the broker is away, or another owner had the partition.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);

/// A partition that the group gave us.
pub(crate) struct PartitionTask {
    pub(crate) number: u16,
    pub(crate) ticket: Ticket,
    pub(crate) stage: Stage,
    /// Whether it is to be handed over: no more of it is counted, and what was is stored at once.
    pub(crate) is_leaving: bool,
    pub(crate) backoff: Backoff,
    /// A checkpoint of which nobody knows whether it counts: the store says so when it is acquired.
    pub(crate) in_doubt: Option<InFlight>,
    /// What it waits for now.
    pub(crate) trouble: Option<Trouble>,
    /// How far the store has it, for the lag.
    pub(crate) stored_offset: Option<u64>,
    /// Whether a question for the partition's ends is on its way.
    pub(crate) is_measuring: bool,
}

/// Why a partition waits, as `/readyz` says it.
pub(crate) struct Trouble {
    pub(crate) part: &'static str,
    pub(crate) reason: String,
}

impl From<&JobError> for Trouble {
    fn from(error: &JobError) -> Self {
        Self { part: error.part(), reason: chain(error) }
    }
}

/// Where a partition stands.
pub(crate) enum Stage {
    /// The store is being asked for it.
    Acquiring,
    /// It could not be had; it is asked for again at this time.
    Resting(Instant),
    /// It is being counted.
    Counting(Box<Counting>),
}

/// A partition that is being counted.
pub(crate) struct Counting {
    pub(crate) machine: Partition,
    pub(crate) epoch: Epoch,
    /// Where the partition began when it was acquired: where to read from if nothing was ever read.
    first_offset: u64,
    pub(crate) holding_since: Instant,
    pub(crate) hold: Option<Hold>,
    pub(crate) flight: Option<Flight>,
    /// What was observed since the last checkpoint was taken.
    pub(crate) open: Delta,
    pub(crate) letters: Vec<DeadLetter>,
    /// The time that the log gives the last record observed.
    last_record_ms: Option<u64>,
    pub(crate) last_flush: Instant,
    /// Not before this time is the store asked again.
    pub(crate) retry_at: Option<Instant>,
    /// Records before this offset are of runs that are known by now, or of none.
    pub(crate) runs_known_before: u64,
    /// Whether the control topic is being read for it.
    pub(crate) is_learning: bool,
    /// Whether rows were loaded since the last checkpoint.
    pub(crate) has_loaded: bool,
}

/// Why a partition is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The client has not started it yet.
    Starting,
    /// A record is of a run that nobody here knows; the control topic is being read.
    UnknownRun,
    /// A bound is reached: a checkpoint must be written first.
    Checkpoint,
    /// The store or the broker does not take what is counted.
    Unavailable,
}

/// What a partition waits for.
pub(crate) enum Flight {
    Loading,
    Writing(Box<InFlight>),
}

/// A checkpoint that is being written.
pub(crate) struct InFlight {
    pub(crate) next_offset: u64,
    pub(crate) delta: Delta,
    pub(crate) since: Instant,
}

/// What the intake has to do after a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    GoOn,
    /// Pause the partition; the record comes again.
    Pause(Hold),
}

impl PartitionTask {
    pub(crate) fn new(number: u16, ticket: Ticket) -> Self {
        Self {
            number,
            ticket,
            stage: Stage::Acquiring,
            is_leaving: false,
            backoff: Backoff::new(PAUSE_FIRST, PAUSE_LONGEST),
            in_doubt: None,
            trouble: None,
            stored_offset: None,
            is_measuring: false,
        }
    }

    pub(crate) fn counting(&mut self) -> Option<&mut Counting> {
        match &mut self.stage {
            Stage::Counting(counting) => Some(counting),
            Stage::Acquiring | Stage::Resting(_) => None,
        }
    }

    /// Throws the state away, to be acquired again at a time.
    pub(crate) fn rest_until(&mut self, time: Instant) {
        if let Some(counting) = self.counting()
            && let Some(Flight::Writing(in_flight)) = counting.flight.take()
        {
            self.in_doubt = Some(*in_flight);
        }
        self.stage = Stage::Resting(time);
    }

    /// Whether everything observed is stored, or there is nothing to store.
    pub(crate) fn is_settled(&self) -> bool {
        match &self.stage {
            Stage::Counting(counting) => counting.flight.is_none() && counting.is_clean(),
            Stage::Acquiring | Stage::Resting(_) => true,
        }
    }
}

impl Counting {
    pub(crate) fn new(machine: Partition, epoch: Epoch, first_offset: u64, now: Instant) -> Self {
        Self {
            machine,
            epoch,
            first_offset,
            holding_since: now,
            hold: Some(Hold::Starting),
            flight: None,
            open: Delta::default(),
            letters: Vec::new(),
            last_record_ms: None,
            last_flush: now,
            retry_at: None,
            runs_known_before: 0,
            is_learning: false,
            has_loaded: false,
        }
    }

    /// Returns the offset to read next.
    pub(crate) fn next_offset(&self) -> u64 {
        self.machine.next_offset().unwrap_or(self.first_offset)
    }

    /// Lets the partition be started again as soon as the client can.
    pub(crate) fn release(&mut self, now: Instant) {
        self.hold = Some(Hold::Starting);
        self.holding_since = now;
    }

    fn is_clean(&self) -> bool {
        self.open.records() == 0 && self.letters.is_empty()
    }

    /// Observes a record. `run_of` finds a run that this consumer knows.
    pub(crate) fn observe(
        &mut self,
        arrival: &Arrival<'_>,
        unstored_events_max: u64,
        run_of: impl Fn(RunId) -> Option<Arc<KnownRun>>,
    ) -> After {
        if self.hold.is_some() {
            // Read ahead before the pause took hold; it comes again.
            return After::GoOn;
        }
        if self.open.records() >= unstored_events_max || self.letters.len() >= LETTERS_MAX {
            return After::Pause(Hold::Checkpoint);
        }
        let mut observation = self.observe_once(arrival);
        if let Observation::UnknownRun(run) = observation {
            if let Some(known) = run_of(run) {
                self.machine.register_run(known.view());
                observation = self.observe_once(arrival);
            } else if arrival.offset < self.runs_known_before {
                observation = self.machine.reject_foreign(arrival.offset);
                self.count(arrival, observation, None, String::new());
            }
        }
        match observation {
            Observation::UnknownRun(_) => After::Pause(Hold::UnknownRun),
            Observation::Full => After::Pause(Hold::Checkpoint),
            _ => After::GoOn,
        }
    }

    fn observe_once(&mut self, arrival: &Arrival<'_>) -> Observation {
        let record = Record::decode(arrival.key, arrival.payload);
        let (event, detail) = match &record {
            Ok(Record::Event(event)) => (Some(*event), String::new()),
            Ok(_) => (None, String::new()),
            Err(error) => (None, error.to_string()),
        };
        let observation =
            self.machine.observe(arrival.offset, record, arrival.key, arrival.payload);
        let Arrival { partition, offset, .. } = *arrival;
        trace!(partition, offset, observation = observation.as_str(), "record");
        match observation {
            Observation::UnknownRun(_) | Observation::Full | Observation::Reread => {}
            _ => self.count(arrival, observation, event.as_ref(), detail),
        }
        observation
    }

    fn count(
        &mut self,
        arrival: &Arrival<'_>,
        observation: Observation,
        event: Option<&Event>,
        detail: String,
    ) {
        self.open.add(observation, event);
        self.last_record_ms = arrival.log_time_ms;
        if let Observation::Rejected(reason) = observation {
            let partition = self.machine.partition();
            self.letters.push(DeadLetter::new(partition, arrival, reason, detail));
        }
    }

    /// Returns whether a checkpoint is due, where nothing is asked of the store already.
    pub(crate) fn is_due(&self, now: Instant, interval: Duration) -> bool {
        let is_wanted = match self.hold {
            Some(Hold::Checkpoint | Hold::Unavailable) => true,
            _ => now.duration_since(self.last_flush) >= interval,
        };
        self.flight.is_none()
            && !self.is_clean()
            && is_wanted
            && self.retry_at.is_none_or(|at| now >= at)
    }

    /// Takes what is to be asked of the store: rows first, where the state machine misses some.
    pub(crate) fn flush(&mut self, now: Instant) -> Option<Request> {
        let keys = self.machine.missing_rows();
        if !keys.is_empty() {
            self.flight = Some(Flight::Loading);
            return Some(Request::Load { partition: self.machine.partition(), keys });
        }
        let mut checkpoint = self.machine.checkpoint()?;
        checkpoint.last_record_ms = self.last_record_ms;
        let in_flight = InFlight {
            next_offset: checkpoint.next_offset,
            delta: mem::take(&mut self.open),
            since: now,
        };
        self.flight = Some(Flight::Writing(Box::new(in_flight)));
        self.last_flush = now;
        self.has_loaded = false;
        Some(Request::Write {
            epoch: self.epoch,
            checkpoint: Box::new(checkpoint),
            letters: mem::take(&mut self.letters),
        })
    }
}
