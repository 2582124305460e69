//! An attached subscriber: its activities, movement, periodic updates, and how it leaves.

use roaming_events::{DetachType, EventType, Outcome, UpdateType};

use super::exchange::Answer;
use super::{Action, Step, Wake};
use crate::queue::Tick;
use crate::rng::Purpose;
use crate::simulation::Activity;
use crate::subscriber::State;

/// How long the network keeps a device that missed its periodic update (TS 24.301 §5.3.5: four
/// minutes).
const IMPLICIT_DETACH_MS: Tick = 4 * 60_000;
/// How long a device that was lost takes to come back.
const RETURN_MS: Tick = 60_000;
/// Of 20 moves, those into another area, and those that choose the technology anew.
const AREA_CHANGES: u32 = 5;
const RAT_CHANGES: u32 = 2;
/// Counters of draws for the location updates of attached subscribers, beside those of registrations.
const PERIODIC: u32 = 1 << 31;
const NORMAL: u32 = 1 << 30;

impl Step<'_> {
    /// Does what the time has come for.
    pub(super) fn act(&mut self) -> Wake {
        if self.now >= self.subscriber.trip_end {
            return self.detach();
        }
        if self.now < self.subscriber.activity_due {
            let counter = PERIODIC | u32::from(self.subscriber.periodic_updates);
            return self.authenticate_again(counter, State::Refreshing);
        }
        if let Some(pattern) = self.misbehaving() {
            return self.misbehave(pattern);
        }
        let activity = self.activity();
        if activity == Activity::Move {
            return self.relocate();
        }
        if let Some(delay) = self.lateness() {
            self.subscriber.state = State::Reporting;
            return Wake { happening: None, next: Some(self.now + delay) };
        }
        if activity == Activity::Session {
            return self.ask_policy();
        }
        let happening = self.use_service(activity, self.now);
        self.done_with_activity(happening)
    }

    /// Returns the kind of the activity that is due.
    pub(super) fn activity(&self) -> Activity {
        let draw = self.draw(Purpose::ActivityKind, self.subscriber.activities);
        let kinds = &self.simulation.classes[usize::from(self.subscriber.device)].kinds;
        Activity::ALL[kinds.pick(draw)]
    }

    /// Ends a step that ended an activity: the next one is scheduled.
    pub(super) fn done_with_activity(&mut self, happening: super::Happening) -> Wake {
        self.subscriber.activities += 1;
        let next = self.attached_next();
        self.done(Some(happening), next)
    }

    /// Chooses the next activity and returns when the subscriber wakes.
    pub(super) fn attached_next(&mut self) -> Tick {
        self.subscriber.state = State::Attached;
        let until = self.subscriber.trip_end;
        let draw = self.draw(Purpose::ActivityGap, self.subscriber.activities);
        let usual = self
            .simulation
            .next_activity(self.subscriber.device, draw, self.now, until)
            .unwrap_or(Tick::MAX);
        self.subscriber.activity_due = self.hasten(usual, draw);
        self.next_wake()
    }

    /// Returns when an attached subscriber wakes: for its activity, for the end of its trip, or for an
    /// update when nothing was heard of it for long enough.
    fn next_wake(&self) -> Tick {
        let periodic = self.simulation.profile().registration.periodic_update.ms() as Tick;
        self.subscriber
            .activity_due
            .min(self.subscriber.trip_end)
            .min(self.now.saturating_add(periodic))
            .max(self.now)
    }

    /// Asks for authentication of an attached subscriber, as before any location update; then `then`.
    fn authenticate_again(&mut self, counter: u32, then: State) -> Wake {
        let exchange = self.exchange(EventType::Authentication, counter);
        let happening = self.happening_of(exchange, Action::Authentication);
        if exchange.answer == Answer::Given {
            self.subscriber.state = then;
            return self.done(Some(happening), self.now + exchange.latency_ms());
        }
        if then == State::Moving {
            return self.done_with_activity(happening);
        }
        self.done_with_refresh(happening, exchange.answer)
    }

    /// Ends a periodic update: a device that gets no answer is lost, one that is refused tries later.
    fn done_with_refresh(&mut self, happening: super::Happening, answer: Answer) -> Wake {
        self.subscriber.periodic_updates = self.subscriber.periodic_updates.wrapping_add(1);
        if answer == Answer::Missing {
            self.subscriber.state = State::Lost;
            return self.done(Some(happening), self.now + IMPLICIT_DETACH_MS);
        }
        self.subscriber.state = State::Attached;
        let next = self.next_wake();
        self.done(Some(happening), next)
    }

    pub(super) fn update_periodically(&mut self) -> Wake {
        let counter = PERIODIC | u32::from(self.subscriber.periodic_updates);
        let exchange = self.exchange(EventType::LocationUpdate, counter);
        let action = Action::LocationUpdate { update_type: UpdateType::Periodic, attempt: 1 };
        let happening = self.happening_of(exchange, action);
        self.done_with_refresh(happening, exchange.answer)
    }

    pub(super) fn update_area(&mut self) -> Wake {
        let counter = NORMAL | self.subscriber.activities;
        let exchange = self.exchange(EventType::LocationUpdate, counter);
        let action = Action::LocationUpdate { update_type: UpdateType::Normal, attempt: 1 };
        let happening = self.happening_of(exchange, action);
        self.done_with_activity(happening)
    }

    /// The network gives up; the device finds it again and registers.
    pub(super) fn detach_implicitly(&mut self) -> Wake {
        let action = Action::Detach { detach_type: DetachType::Implicit };
        let happening = self.happening(Outcome::Success, None, action);
        self.begin_series();
        self.done(Some(happening), self.now + RETURN_MS)
    }

    fn detach(&mut self) -> Wake {
        let trip = u32::from(self.subscriber.trips);
        // Most people leave the country with the device switched on.
        let detach_type = if self.draw(Purpose::DetachKind, trip).below(4) == 0 {
            DetachType::SwitchOff
        } else {
            DetachType::LeavesCoverage
        };
        let exchange = self.exchange(EventType::Detach, trip);
        // A purge that is not answered changes nothing for the subscriber that left.
        let happening = self.happening_of(exchange, Action::Detach { detach_type });
        self.go_home(Some(happening))
    }

    /// Moves to another cell, and sometimes to another area or technology.
    fn relocate(&mut self) -> Wake {
        let activity = self.subscriber.activities;
        let place = self.draw(Purpose::HandoverRat, activity).below(20);
        self.subscriber.moves = self.subscriber.moves.wrapping_add(1);
        if place < AREA_CHANGES {
            return self.authenticate_again(NORMAL | activity, State::Moving);
        }
        let exchange = self.handover(activity);
        if place >= 20 - RAT_CHANGES && exchange.answer == Answer::Given {
            let tables = &self.simulation.networks[usize::from(self.subscriber.visited)];
            let draw = self.draw(Purpose::Rat, NORMAL | activity);
            self.subscriber.rat = tables.rats[tables.rat.pick(draw)];
        }
        let action = Action::Handover { moves: self.subscriber.moves };
        let happening = self.happening_of(exchange, action);
        self.done_with_activity(happening)
    }
}
