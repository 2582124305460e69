//! Lane ownership: what an owner sends, and what it may record.
//!
//! The promise behind it is that a sequence can repeat on the log but never jump. It rests on two rules,
//! both kept here: a lane sends its sequences in order from where its recorded progress stands, and
//! records only what the broker acknowledged without a gap.
//!
//! Pure: it knows no clock and no broker.

use std::collections::VecDeque;
use std::sync::Arc;

use roaming_events::{End, EventId, LaneId, Marker, RunId, Sequence, SimTime, json};
use roaming_sim::{Lane, Simulation};

use crate::progress::Progress;
use crate::snapshot::Snapshot;

/// How many events a lane moves forward in one step while it goes to where its progress stands: about 30
/// ms of work, so that the thread that drives many lanes stays responsive.
pub(crate) const FORWARD_STEP: u64 = 100_000;

/// One lane in the hands of its owner.
pub struct LaneSender {
    simulation: Arc<Simulation>,
    lane: LaneId,
    /// What the engine is made of; from the lane's beginning where there is none.
    snapshot: Option<Arc<Snapshot>>,
    /// `None` until the first step: making it takes as long as moving it.
    engine: Option<Lane>,
    /// Where recorded progress stands: what lies before it is not sent again.
    resume_at: Sequence,
    acknowledged: Sequence,
    acknowledged_time: SimTime,
    /// Emission times of what was sent and is not acknowledged, oldest first; the end marker last.
    in_flight: VecDeque<SimTime>,
    end: EndMarker,
    /// The lane has nothing to send before this time.
    quiet_until: SimTime,
    /// The time of the last marker.
    marked: SimTime,
    /// What was handed out to be recorded last.
    offered: Option<(Sequence, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndMarker {
    Ahead,
    Sent,
    Acknowledged,
}

/// What the owner has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the payload under this id.
    Event {
        /// Identity and key of the event.
        id: EventId,
        /// When it is due, simulated.
        emission_time: SimTime,
    },
    /// Send the payload, which is the end marker, under this id.
    End {
        /// Identity and key of the end marker; its sequence is the lane's number of events.
        id: EventId,
    },
    /// Nothing yet: the lane moved a part of the way to where its progress stands. Ask again.
    Forwarding,
    /// Nothing is due before the time that was asked for.
    Wait,
    /// The end marker was sent; nothing will follow.
    Done,
}

impl LaneSender {
    /// Takes a lane over from where `progress` stands; from its start where there is none. A `snapshot` that
    /// is not ahead of it shortens the way.
    pub fn resume(
        simulation: Arc<Simulation>,
        lane: LaneId,
        progress: Option<&Progress>,
        snapshot: Option<Arc<Snapshot>>,
    ) -> Self {
        let start = simulation.specification().start();
        let ended = progress.is_some_and(|progress| progress.ended);
        let acknowledged = progress.map_or(Sequence::ZERO, |progress| progress.acknowledged);
        Self {
            simulation,
            lane,
            snapshot: snapshot.filter(|snapshot| snapshot.sequence <= acknowledged),
            engine: None,
            resume_at: acknowledged,
            acknowledged,
            acknowledged_time: progress.map_or(start, |progress| progress.emission_time),
            in_flight: VecDeque::new(),
            end: if ended { EndMarker::Acknowledged } else { EndMarker::Ahead },
            quiet_until: SimTime::default(),
            marked: SimTime::default(),
            offered: progress.map(|progress| (progress.acknowledged, progress.ended)),
        }
    }

    /// Returns what to do about the time before `until`, and puts what is to be sent into `payload`.
    ///
    /// What it returned counts as sent: an owner that could not send it must give the lane up, and resume
    /// it from [`position`](Self::position).
    pub fn next(&mut self, until: SimTime, payload: &mut Vec<u8>) -> Step {
        if self.end != EndMarker::Ahead {
            return Step::Done;
        }
        if self.is_behind() {
            return self.forward();
        }
        if until <= self.quiet_until {
            return Step::Wait;
        }
        payload.clear();
        // Only a look beyond the end shows that nothing is left.
        let ending = until >= self.end_time();
        let looked_at = if ending { SimTime::MAX } else { until };
        if let Some(event) = self.engine.as_mut().and_then(|engine| engine.next_before(looked_at)) {
            json::encode(&event, payload);
            self.in_flight.push_back(event.emission_time);
            return Step::Event { id: event.id, emission_time: event.emission_time };
        }
        if ending {
            return self.end(payload);
        }
        self.quiet_until = until;
        Step::Wait
    }

    fn forward(&mut self) -> Step {
        let Some(engine) = &mut self.engine else {
            let (simulation, lane) = (&self.simulation, self.lane);
            let restored = self.snapshot.take().and_then(|from| from.restore(simulation, lane));
            self.engine = Some(restored.unwrap_or_else(|| simulation.lane(lane)));
            return Step::Forwarding;
        };
        let step = engine.sequence().get().saturating_add(FORWARD_STEP);
        let target =
            Sequence::try_new(step).map_or(self.resume_at, |step| step.min(self.resume_at));
        engine.forward_to(target);
        if engine.is_exhausted() {
            // Recorded progress is never ahead of the lane; where a damaged record says so, the lane's
            // own end counts.
            self.acknowledged = engine.sequence();
        }
        Step::Forwarding
    }

    /// When the run ends, simulated; the end marker carries it.
    fn end_time(&self) -> SimTime {
        self.simulation.specification().end()
    }

    fn end(&mut self, payload: &mut Vec<u8>) -> Step {
        let id = EventId { run: self.simulation.run(), lane: self.lane, sequence: self.sequence() };
        End { id, emission_time: self.end_time() }.encode(payload);
        self.in_flight.push_back(self.end_time());
        self.end = EndMarker::Sent;
        Step::End { id }
    }

    /// Returns the sequence of what is sent next.
    fn sequence(&self) -> Sequence {
        self.engine.as_ref().map_or(self.resume_at, Lane::sequence)
    }

    /// Returns a marker for the time up to which the lane is known to be quiet, and puts it into
    /// `payload`; `None` where the last one, or an event, says as much.
    ///
    /// It is not acknowledged: whoever loses it loses nothing but time.
    pub fn marker(&mut self, payload: &mut Vec<u8>) -> Option<Marker> {
        if self.end != EndMarker::Ahead || self.quiet_until <= self.marked {
            return None;
        }
        self.marked = self.quiet_until;
        let marker = Marker {
            run: self.simulation.run(),
            lane: self.lane,
            next: self.sequence(),
            emission_time: self.quiet_until,
        };
        payload.clear();
        marker.encode(payload);
        Some(marker)
    }

    /// Takes note that the broker holds the event, or the end marker, with this sequence.
    ///
    /// # Errors
    /// Fails where it is not the next one in order, or was not sent: the client must be given up.
    pub fn acknowledged(&mut self, sequence: Sequence) -> Result<(), AcknowledgementError> {
        let in_order = sequence == self.acknowledged;
        let Some(emission_time) = self.in_flight.front().copied().filter(|_| in_order) else {
            return Err(AcknowledgementError {
                run: self.simulation.run(),
                lane: self.lane,
                expected: self.acknowledged,
                found: sequence,
                in_flight: self.in_flight.len(),
            });
        };
        self.in_flight.pop_front();
        self.acknowledged_time = emission_time;
        if self.end == EndMarker::Sent && self.in_flight.is_empty() {
            self.end = EndMarker::Acknowledged;
        } else {
            self.acknowledged = sequence.next();
        }
        Ok(())
    }

    /// Returns the progress to record, where it changed since the last call.
    pub fn progress(&mut self) -> Option<Progress> {
        if !self.has_unrecorded() {
            return None;
        }
        let progress = self.position();
        self.offered = Some((progress.acknowledged, progress.ended));
        Some(progress)
    }

    /// Whether [`progress`](Self::progress) has something to return.
    pub fn has_unrecorded(&self) -> bool {
        let offer = (self.acknowledged, self.has_ended());
        let first = self.offered.is_none() && offer == (Sequence::ZERO, false);
        !first && self.offered != Some(offer)
    }

    /// Whether the lane moves to where its progress stands, so that its next step sends nothing.
    pub fn is_behind(&self) -> bool {
        let is_there = |engine: &Lane| engine.sequence() >= self.resume_at || engine.is_exhausted();
        self.end == EndMarker::Ahead && !self.engine.as_ref().is_some_and(is_there)
    }

    /// Returns how far it is to where the lane sends from, in events that the engine goes through; making the
    /// engine takes about as long as one for each subscriber.
    pub(crate) fn way(&self) -> u64 {
        let (at, making) = match (&self.engine, &self.snapshot) {
            _ if !self.is_behind() => (self.resume_at, 0),
            (Some(engine), _) => (engine.sequence(), 0),
            (None, Some(snapshot)) => (snapshot.sequence, self.subscribers()),
            (None, None) => (Sequence::ZERO, self.subscribers()),
        };
        self.resume_at.get().saturating_sub(at.get()) + making
    }

    /// Returns how many subscribers the lane has, and not fewer.
    pub(crate) fn subscribers(&self) -> u64 {
        let specification = self.simulation.specification();
        u64::from(specification.profile.subscribers).div_ceil(u64::from(specification.lanes))
    }

    /// Returns the engine of a lane that has something to send and is where it sends from.
    pub(crate) fn engine(&self) -> Option<&Lane> {
        let is_sending = self.end == EndMarker::Ahead && !self.is_behind();
        self.engine.as_ref().filter(|_| is_sending)
    }

    /// Returns the first sequence that no progress handed out so far says to be acknowledged.
    pub(crate) fn recorded(&self) -> Sequence {
        self.offered.map_or(Sequence::ZERO, |(acknowledged, _)| acknowledged)
    }

    /// Takes note that what [`progress`](Self::progress) returned last may not have been recorded.
    pub fn record_again(&mut self) {
        self.offered = None;
    }

    /// Returns how far the lane is acknowledged: where another owner may resume it.
    pub fn position(&self) -> Progress {
        Progress {
            run: self.simulation.run(),
            lane: self.lane,
            acknowledged: self.acknowledged,
            emission_time: self.acknowledged_time,
            ended: self.has_ended(),
        }
    }

    /// Returns a lower bound of the time of what is sent next; `None` where nothing will be.
    pub fn time(&self) -> Option<SimTime> {
        match self.end {
            EndMarker::Ahead => {
                let engine = self.engine.as_ref();
                let next = engine.map_or(self.acknowledged_time, Lane::time);
                Some(next.max(self.quiet_until).min(self.end_time()))
            }
            EndMarker::Sent | EndMarker::Acknowledged => None,
        }
    }

    /// Whether the end marker is acknowledged.
    pub fn has_ended(&self) -> bool {
        self.end == EndMarker::Acknowledged
    }

    /// Whether the end marker is acknowledged, and the progress that says so was handed out.
    pub fn is_recorded_to_its_end(&self) -> bool {
        self.has_ended() && self.offered.is_some_and(|(_, ended)| ended)
    }

    /// Returns how many records were sent and are not acknowledged, markers left out.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

/// An acknowledgement that is not the next one in order: the client that sent it cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "lane {lane} of run {run}: sequence {found} was acknowledged where {expected} was expected, with {in_flight} in flight"
)]
pub struct AcknowledgementError {
    /// The run.
    pub run: RunId,
    /// The lane.
    pub lane: LaneId,
    /// The sequence that had to be next.
    pub expected: Sequence,
    /// The sequence that was acknowledged.
    pub found: Sequence,
    /// How many records were in flight.
    pub in_flight: usize,
}

#[cfg(test)]
mod tests;
