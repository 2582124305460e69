//! Small runs for tests: events made from the seed and their id alone, without the engine.

use std::collections::BTreeMap;

use roaming_analytics::RunView;
use roaming_events::{
    End, Event, EventId, LaneId, Marker, Outcome, PlmnId, Rat, RowKey, RunId, Sequence,
    SimDuration, SimTime, Tally, json, schema,
};

use crate::scenario::Scenario;
use crate::seed::{Concern, Seed, Stream};

/// When sample runs start: 2026-06-01T00:00:00Z.
pub const START_UNIX_MS: u64 = 1_780_272_000_000;

/// Some runs with some lanes each, all drawn from a seed.
#[derive(Clone, Debug)]
pub struct SampleScenario {
    views: Vec<RunView>,
    lanes: BTreeMap<(RunId, LaneId), SampleLane>,
    end: SimTime,
    window: SimDuration,
}

/// What happens in one lane.
#[derive(Clone, Debug)]
struct SampleLane {
    events: Vec<Event>,
    /// When the lane ends: with its run, or earlier.
    end: SimTime,
}

/// How big a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Number of runs.
    pub runs: u16,
    /// Number of lanes of each run.
    pub lanes: u16,
    /// Number of partitions of `roaming.events`.
    pub partitions: u16,
    /// The most events of a lane; some have fewer, some none.
    pub events_max: u64,
    /// How long the runs last.
    pub length: SimDuration,
    /// Length of a window, by which the ledger adds up.
    pub window: SimDuration,
}

impl Size {
    /// Draws a size at which a simulation takes milliseconds.
    pub fn draw(seed: Seed) -> Self {
        let mut stream = seed.stream(Concern::Size);
        Self {
            runs: stream.between(1, 2) as u16,
            lanes: stream.between(1, 6) as u16,
            partitions: stream.between(1, 3) as u16,
            events_max: stream.between(5, 80),
            length: SimDuration::from_secs(stream.between(600, 14_400)),
            window: SimDuration::from_secs(stream.between(1, 15) * 60),
        }
    }
}

impl SampleScenario {
    /// Makes the runs of a seed.
    pub fn new(seed: Seed, size: Size) -> Self {
        let start = SimTime::from_unix_ms(START_UNIX_MS);
        let views: Vec<RunView> = (0..size.runs)
            .map(|run| RunView {
                run: RunId::from_hash(seed.stream_of(Concern::Lane, u64::from(run)).draw()),
                lanes: size.lanes,
                partitions: size.partitions,
                start,
            })
            .collect();
        let lanes = views
            .iter()
            .flat_map(|view| LaneId::all(view.lanes).map(|lane| (view.run, lane)))
            .map(|(run, lane)| ((run, lane), SampleLane::new(seed, run, lane, &size)))
            .collect();
        Self { views, lanes, end: start + size.length, window: size.window }
    }

    /// Returns the length of a window.
    pub fn window(&self) -> SimDuration {
        self.window
    }

    /// Makes the sender of a lane, as its new owner does, from the progress that was recorded last.
    pub(crate) fn sender(
        &self,
        run: RunId,
        lane: LaneId,
        progress: Option<Sequence>,
    ) -> SampleSender {
        SampleSender {
            run,
            lane,
            sample: self.lanes[&(run, lane)].clone(),
            next: progress.unwrap_or_default(),
            acknowledged: progress.unwrap_or_default(),
            offered: progress,
            marked: SimTime::default(),
        }
    }
}

impl Scenario for SampleScenario {
    fn runs(&self) -> &[RunView] {
        &self.views
    }

    fn end(&self) -> SimTime {
        self.end
    }

    fn events(&self, run: RunId, lane: LaneId) -> Vec<Event> {
        self.lanes[&(run, lane)].events.clone()
    }

    fn ledger(&self, run: RunId) -> Tally {
        let lanes = self.lanes.iter().filter(|((of, _), _)| *of == run);
        tally(lanes.map(|((_, lane), sample)| (*lane, sample.events.as_slice())), self.window)
    }
}

/// Returns what events add up to.
pub fn tally<'a>(lanes: impl Iterator<Item = (LaneId, &'a [Event])>, window: SimDuration) -> Tally {
    let mut tally = Tally::default();
    let mut payload = Vec::new();
    for (lane, events) in lanes {
        let proof = tally.lanes.entry(lane).or_default();
        for event in events {
            payload.clear();
            json::encode(event, &mut payload);
            proof.add(&event.id.text(), &payload);
            tally.rows.entry(RowKey::of(event, window)).or_default().add(event);
        }
    }
    tally
}

/// Makes an event with some variety that follows from its id alone.
pub fn event(id: EventId, emission_time: SimTime) -> Event {
    let examples = schema::examples();
    let mut stream = Seed(id.run.get())
        .stream_of(Concern::Lane, (u64::from(id.lane.get()) << 48) | id.sequence.get());
    let example = examples[stream.index(examples.len())];
    let networks = ["99901", "99902", "999003"];
    let network = |index: usize| networks[index].parse::<PlmnId>().unwrap_or(example.home_plmn);
    let is_delayed = stream.chance(150);
    let delay = SimDuration::from_secs(if is_delayed { stream.between(1, 7200) } else { 0 });
    Event {
        id,
        event_time: emission_time - delay,
        emission_time,
        home_plmn: network(stream.index(2)),
        visited_plmn: network(stream.index(networks.len())),
        rat: if stream.chance(700) { Rat::Eutran } else { Rat::Utran },
        outcome: example.outcome,
        latency_us: if example.outcome == Outcome::Success {
            1000 * stream.below(900) as u32
        } else {
            0
        },
        ..example
    }
}

impl SampleLane {
    fn new(seed: Seed, run: RunId, lane: LaneId, size: &Size) -> Self {
        let mut stream = seed.stream_of(Concern::Lane, (run.get() << 12) | u64::from(lane.get()));
        let count = lane_len(&mut stream, size.events_max);
        let length = size.length.ms();
        let end = if stream.chance(300) { stream.between(length / 4, length) } else { length };
        let mut times: Vec<u64> = (0..count).map(|_| stream.below(end)).collect();
        times.sort_unstable();
        let start = SimTime::from_unix_ms(START_UNIX_MS);
        let events = times
            .into_iter()
            .zip((0..).map_while(Sequence::try_new))
            .map(|(time, sequence)| {
                event(EventId { run, lane, sequence }, start + SimDuration::from_ms(time))
            })
            .collect();
        Self { events, end: start + SimDuration::from_ms(end) }
    }
}

/// Most lanes are busy, some have one event or none: those are where markers and ends matter.
fn lane_len(stream: &mut Stream, events_max: u64) -> u64 {
    match stream.below(10) {
        0 => 0,
        1 => 1,
        _ => stream.between(1, events_max),
    }
}

/// Sends the events of one sample lane. Its progress is the number of acknowledged events.
#[derive(Clone, Debug)]
pub(crate) struct SampleSender {
    run: RunId,
    lane: LaneId,
    sample: SampleLane,
    /// What is sent next; one more than the number of events once the end was sent.
    next: Sequence,
    acknowledged: Sequence,
    /// The progress that was offered last.
    offered: Option<Sequence>,
    /// The time of the last marker.
    marked: SimTime,
}

/// What a sender does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It sends an event.
    Event(EventId),
    /// It says that nothing is emitted before a time.
    Marker(Marker),
    /// It says that the lane is at its end.
    End(EventId),
    /// It has nothing to say for now.
    Wait,
    /// It has said everything.
    Done,
}

/// An acknowledgement out of order: the session must be given up, and its lanes resumed from recorded
/// progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GiveUp;

impl SampleSender {
    /// Returns what is to be sent next, of what is emitted before `until`, and puts it into `payload`.
    pub(crate) fn next(&mut self, until: SimTime, payload: &mut Vec<u8>) -> Step {
        payload.clear();
        let SampleLane { events, end } = &self.sample;
        let count = events.len() as u64;
        if self.next.get() > count {
            return Step::Done;
        }
        let event = events.get(self.next.get() as usize);
        if let Some(event) = event.filter(|event| event.emission_time < until) {
            self.next = self.next.next();
            json::encode(event, payload);
            return Step::Event(event.id);
        }
        if event.is_none() && *end <= until {
            let id = EventId { run: self.run, lane: self.lane, sequence: self.next };
            self.next = self.next.next();
            End { id, emission_time: *end }.encode(payload);
            return Step::End(id);
        }
        if self.marked < until {
            self.marked = until;
            let (run, lane, next) = (self.run, self.lane, self.next);
            let marker = Marker { run, lane, next, emission_time: until };
            marker.encode(payload);
            return Step::Marker(marker);
        }
        Step::Wait
    }

    /// Learns that the log holds the numbered record `sequence`, and all numbered records of this sender
    /// before it.
    pub(crate) fn acknowledged(&mut self, sequence: Sequence) -> Result<(), GiveUp> {
        if sequence != self.acknowledged || sequence >= self.next {
            return Err(GiveUp);
        }
        self.acknowledged = sequence.next();
        Ok(())
    }

    /// Returns the progress to record, where it changed since the last call: never ahead of what was
    /// acknowledged.
    pub(crate) fn progress(&mut self) -> Option<Sequence> {
        let progress = self.acknowledged;
        (self.offered.replace(progress) != Some(progress)).then_some(progress)
    }
}

#[cfg(test)]
mod tests {
    use roaming_events::Record;

    use super::*;

    const SIZE: Size = Size {
        runs: 2,
        lanes: 3,
        partitions: 2,
        events_max: 20,
        length: SimDuration::from_secs(3600),
        window: SimDuration::from_secs(900),
    };

    #[test]
    fn lanes_repeat_and_their_time_does_not_go_back() {
        let scenario = SampleScenario::new(Seed(3), SIZE);
        let again = SampleScenario::new(Seed(3), SIZE);
        for view in scenario.runs() {
            for lane in LaneId::all(view.lanes) {
                let events = scenario.events(view.run, lane);
                assert_eq!(events, again.events(view.run, lane));
                assert!(events.is_sorted_by_key(|event| event.emission_time));
                assert!(events.iter().all(|event| event.event_time <= event.emission_time));
            }
        }
        assert!(scenario.ledger(scenario.runs()[0].run).events() > 0);
    }

    #[test]
    fn a_sender_says_everything_and_then_its_end() {
        let scenario = SampleScenario::new(Seed(3), SIZE);
        let run = scenario.runs()[0].run;
        let lane = LaneId::try_new(1).unwrap();
        let mut sender = scenario.sender(run, lane, None);
        let events = scenario.events(run, lane);
        let mut payload = Vec::new();
        for event in &events {
            assert_eq!(sender.next(SimTime::MAX, &mut payload), Step::Event(event.id));
            assert_eq!(Record::decode(&event.id.text(), &payload), Ok(Record::Event(*event)));
        }
        assert!(matches!(sender.next(SimTime::MAX, &mut payload), Step::End(_)));
        assert_eq!(sender.next(SimTime::MAX, &mut payload), Step::Done);
        assert_eq!(sender.progress(), Some(Sequence::ZERO));
        assert_eq!(sender.acknowledged(events[1].id.sequence), Err(GiveUp));
        sender.acknowledged(Sequence::ZERO).unwrap();
        let progress = sender.progress().unwrap();
        assert_eq!(sender.progress(), None);
        let mut later = scenario.sender(run, lane, Some(progress));
        assert_eq!(later.next(SimTime::MAX, &mut payload), Step::Event(events[1].id));
    }
}
