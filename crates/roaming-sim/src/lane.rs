//! A lane: a fixed share of the subscribers, and their events in order.

use std::borrow::Cow;
use std::sync::Arc;

use roaming_events::{
    Body, Event, EventId, LaneId, Outcome, Rat, Routing, Sequence, SimTime, TapRecord,
};

use crate::identity::{costly_party, other_party};
use crate::procedure::{Action, Charged, Happening, Pending, Stage, Step};
use crate::profile::FraudPattern;
use crate::queue::{Queue, Tick, grow_gently};
use crate::rng::Purpose;
use crate::simulation::Simulation;
use crate::snapshot::State;
use crate::subscriber::Subscriber;

/// The subscribers whose number modulo the number of lanes is the lane's: an iterator of their events.
///
/// Events are numbered 0, 1, 2, … and their emission times never decrease. A lane depends on the
/// specification alone: neither on other lanes nor on when or where it is computed.
#[derive(Debug)]
pub struct Lane {
    simulation: Arc<Simulation>,
    id: LaneId,
    subscribers: Vec<Subscriber>,
    /// Wholesale records under way. Their nodes in the queue follow those of the subscribers.
    records: Vec<Pending>,
    /// The first free place in `records`.
    free: u32,
    queue: Queue,
    next: Sequence,
    /// Nothing is emitted before this tick.
    floor: u64,
}

/// Something that happened in a lane: a happening, and to whom.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// The subscriber, counted within the lane.
    subscriber: u32,
    now: Tick,
    happening: Happening,
}

impl Lane {
    pub(crate) fn new(simulation: Arc<Simulation>, lane: LaneId) -> Self {
        let lanes = simulation.specification.lanes;
        assert!(lane.get() < lanes, "lane {lane} of {lanes}");
        let indices = simulation.subscribers_of(lane);
        let mut queue = Queue::new(indices.len() as u32);
        let mut subscribers = Vec::with_capacity(indices.len());
        let arrival = simulation.profile().trips.arrival.ms().min(u64::from(simulation.end)) as u32;
        for (local, index) in (0..).zip(indices) {
            subscribers.push(Subscriber::new(&simulation, index));
            queue.schedule(local, simulation.draw(Purpose::FirstTrip, index, 0).below(arrival));
        }
        Self {
            simulation,
            id: lane,
            subscribers,
            records: Vec::new(),
            free: Pending::NONE,
            queue,
            next: Sequence::ZERO,
            floor: 0,
        }
    }

    /// Returns all that its further events depend on.
    pub(crate) fn state(&self) -> State<'_> {
        State {
            run: self.simulation.run,
            lane: self.id,
            next: self.next,
            floor: self.floor,
            subscribers: Cow::Borrowed(&self.subscribers),
            records: Cow::Borrowed(&self.records),
            free: self.free,
            slot: self.queue.slot(),
            due: self.queue.due(),
        }
    }

    /// Returns the lane in a state that was checked.
    pub(crate) fn resume(simulation: Arc<Simulation>, state: State<'_>) -> Self {
        Self {
            simulation,
            id: state.lane,
            subscribers: state.subscribers.into_owned(),
            records: state.records.into_owned(),
            free: state.free,
            queue: Queue::restore(state.slot, &state.due),
            next: state.next,
            floor: state.floor,
        }
    }

    /// Returns the next event whose emission time is before `until`; `None` where there is none, now or
    /// ever.
    pub fn next_before(&mut self, until: SimTime) -> Option<Event> {
        let moment = self.moment_before(self.ticks(until))?;
        let event = self.event(&moment);
        self.count(&moment);
        Some(event)
    }

    /// Moves on until the next event has the number `sequence`, or to the end where there are fewer.
    /// Going back is not possible: a lower number changes nothing.
    pub fn forward_to(&mut self, sequence: Sequence) {
        while self.next < sequence {
            let Some(moment) = self.moment_before(u64::MAX) else { break };
            self.count(&moment);
        }
    }

    /// Returns the number that the next event will have.
    pub fn sequence(&self) -> Sequence {
        self.next
    }

    /// Whether the lane has ended. It is known at the latest when [`Lane::next_before`] of
    /// [`SimTime::MAX`] has returned `None`.
    pub fn is_exhausted(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns a time before which nothing further is emitted; the run's end where the lane has ended.
    pub fn time(&self) -> SimTime {
        if self.is_exhausted() {
            return self.simulation.specification.end();
        }
        let tick = self.queue.lower_bound().max(self.floor).min(u64::from(Tick::MAX));
        self.simulation.time(tick as Tick)
    }

    /// Returns the lane's number.
    pub fn id(&self) -> LaneId {
        self.id
    }

    /// Returns the next event and the pattern of misbehaviour that it is part of.
    pub(crate) fn next_labelled(&mut self) -> Option<(EventId, SimTime, Option<FraudPattern>)> {
        let moment = self.moment_before(u64::MAX)?;
        let label = moment.happening.label;
        let labelled = (self.event_id(self.next), self.simulation.time(moment.happening.at), label);
        self.count(&moment);
        Some(labelled)
    }

    fn ticks(&self, time: SimTime) -> u64 {
        time.since(self.simulation.profile().start).ms()
    }

    /// Takes one step after the other until something happens.
    fn moment_before(&mut self, until: u64) -> Option<Moment> {
        while let Some((now, node)) = self.queue.pop_before(until) {
            let subscribers = self.subscribers.len() as u32;
            if node >= subscribers {
                return Some(self.move_record(node, now));
            }
            let step = Step {
                simulation: &self.simulation,
                index: index_of(&self.simulation, self.id, node),
                now,
                subscriber: &mut self.subscribers[node as usize],
            };
            let wake = step.wake();
            if let Some(next) = wake.next {
                self.queue.schedule(node, next);
            }
            if let Some(happening) = wake.happening {
                return Some(Moment { subscriber: node, now, happening });
            }
        }
        self.floor = self.floor.max(until.min(u64::from(Tick::MAX)));
        None
    }

    /// Gives what happened its number, and sends its record on its way where it is charged.
    fn count(&mut self, moment: &Moment) {
        if let Some((service, units)) = moment.happening.charged {
            let record = Pending::new(Charged {
                subscriber: moment.subscriber,
                usage: self.next,
                service,
                units,
                visited: moment.happening.visited,
                rat: moment.happening.rat,
            });
            let node = self.store(record);
            let delays = self.simulation.profile().records;
            let delay = self.record_delay(
                Purpose::TapOutDelay,
                &record,
                moment.now,
                (delays.tap_out_min.ms(), delays.tap_out_max.ms()),
            );
            self.queue.schedule(node, moment.now + delay);
        }
        self.next = self.next.next();
    }

    /// Puts a record in a free place and returns its node.
    fn store(&mut self, record: Pending) -> u32 {
        let subscribers = self.subscribers.len() as u32;
        if self.free == Pending::NONE {
            grow_gently(&mut self.records);
            self.records.push(record);
            let node = self.queue.add_node();
            debug_assert_eq!(node, subscribers + self.records.len() as u32 - 1);
            return node;
        }
        let place = self.free;
        let slot = &mut self.records[place as usize];
        self.free = slot.subscriber;
        *slot = record;
        subscribers + place
    }

    /// Takes a record to its next station.
    fn move_record(&mut self, node: u32, now: Tick) -> Moment {
        let place = node - self.subscribers.len() as u32;
        let record = self.records[place as usize];
        let action = match record.stage {
            Stage::Out => {
                self.records[place as usize].stage = Stage::In;
                let delays = self.simulation.profile().records;
                let range = (delays.tap_in_min.ms(), delays.tap_in_max.ms());
                let delay = self.record_delay(Purpose::TapInDelay, &record, now, range);
                self.queue.schedule(node, now + delay);
                Action::TapOut(record)
            }
            Stage::In => {
                self.records[place as usize].subscriber = self.free;
                self.free = place;
                Action::TapIn(record)
            }
        };
        let happening = Happening {
            at: now,
            visited: record.visited,
            rat: record.rat,
            outcome: Outcome::Success,
            cause: None,
            latency_us: 0,
            action,
            charged: None,
            label: None,
        };
        Moment { subscriber: record.subscriber, now, happening }
    }

    /// Returns how long a record takes from `now` to its next station, between two times in
    /// milliseconds.
    fn record_delay(
        &self,
        purpose: Purpose,
        record: &Pending,
        now: Tick,
        range: (u64, u64),
    ) -> Tick {
        let index = index_of(&self.simulation, self.id, record.subscriber);
        self.simulation.draw(purpose, index, now).between(range.0 as u32, range.1 as u32)
    }

    fn event_id(&self, sequence: Sequence) -> EventId {
        EventId { run: self.simulation.run, lane: self.id, sequence }
    }

    /// Builds the event with the next number.
    fn event(&self, moment: &Moment) -> Event {
        let simulation = &*self.simulation;
        let profile = simulation.profile();
        let Moment { subscriber: local, now, ref happening } = *moment;
        let subscriber = &self.subscribers[local as usize];
        let index = index_of(simulation, self.id, local);
        Event {
            id: self.event_id(self.next),
            event_time: simulation.time(happening.at),
            emission_time: simulation.time(now),
            subscriber: simulation.identities.subscriber(index, subscriber.home, subscriber.device),
            home_plmn: profile.home_networks[usize::from(subscriber.home)].plmn,
            visited_plmn: profile.visited_networks[usize::from(happening.visited)].plmn,
            rat: happening.rat,
            outcome: happening.outcome,
            cause: happening.cause,
            latency_us: happening.latency_us,
            body: self.body(index, subscriber, happening),
        }
    }

    fn body(&self, index: u32, subscriber: &Subscriber, happening: &Happening) -> Body {
        let simulation = &*self.simulation;
        let draw = |purpose, counter| simulation.draw(purpose, index, counter);
        let party = |activity| draw(Purpose::OtherParty, activity);
        let cell = |moves: u16| (draw(Purpose::Cell, u32::from(moves)).bits() >> 36) as u32;
        match happening.action {
            Action::LocationUpdate { update_type, attempt } => {
                Body::LocationUpdate { update_type, attempt }
            }
            Action::Authentication => Body::Authentication { vectors: vectors(happening.rat) },
            Action::Steering { preferred, attempt } => Body::Steering {
                preferred_plmn: simulation.profile().visited_networks[usize::from(preferred)].plmn,
                attempt,
            },
            Action::Handover { moves } => Body::Handover {
                source_cell: cell(moves.wrapping_sub(1)),
                target_cell: cell(moves),
            },
            Action::Call { direction, activity, duration_s } => Body::Voice {
                call_direction: direction,
                other_party: other_party(party(activity).below(u32::MAX)),
                duration_s,
            },
            Action::CostlyCall { activity, duration_s } => Body::Voice {
                call_direction: roaming_events::CallDirection::Originated,
                // A few ranges of a hundred numbers.
                other_party: costly_party(party(activity).below(300)),
                duration_s,
            },
            Action::Sms { direction, activity } => Body::Sms {
                call_direction: direction,
                other_party: other_party(party(activity).below(u32::MAX)),
            },
            Action::Session { activity, duration_s, octets_uplink, octets_downlink } => {
                let breaks_out = draw(Purpose::SessionRouting, activity)
                    .happens(simulation.chances.local_breakout);
                Body::Data {
                    apn: simulation.profile().traffic.apn,
                    routing: if breaks_out { Routing::LocalBreakout } else { Routing::HomeRouted },
                    charging_id: party(activity).below(u32::MAX),
                    duration_s,
                    octets_uplink,
                    octets_downlink,
                }
            }
            Action::Policy { decision, rule } => Body::Policy { decision, rule },
            Action::Detach { detach_type } => Body::Detach { detach_type },
            Action::TapOut(record) => Body::TapOut(self.tap_record(subscriber, &record)),
            Action::TapIn(record) => Body::TapIn(self.tap_record(subscriber, &record)),
        }
    }

    fn tap_record(&self, subscriber: &Subscriber, record: &Pending) -> TapRecord {
        let profile = self.simulation.profile();
        let rated = profile.tariff.rate(record.service, record.units());
        TapRecord {
            usage_id: self.event_id(record.usage()),
            sender: profile.visited_networks[usize::from(record.visited)].tadig,
            recipient: profile.home_networks[usize::from(subscriber.home)].tadig,
            service: record.service,
            chargeable_units: record.units(),
            charged_units: rated.charged_units,
            charge: profile.tariff.money(rated.charge),
        }
    }
}

impl Iterator for Lane {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.next_before(SimTime::MAX)
    }
}

/// Returns the number in the run of a subscriber that is counted within its lane.
fn index_of(simulation: &Simulation, lane: LaneId, local: u32) -> u32 {
    u32::from(lane.get()) + local * u32::from(simulation.specification.lanes)
}

/// Returns how many authentication vectors a serving node asks for: 4G and 5G take them one by one.
fn vectors(rat: Rat) -> u8 {
    match rat {
        Rat::Geran | Rat::Utran => 3,
        Rat::Eutran | Rat::Nr => 1,
    }
}
