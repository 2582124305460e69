//! Registration in a visited network: authentication, location update, steering, retries.

use roaming_events::{Cause, EventType, Outcome, Rat, UpdateType};

use super::exchange::Exchange;
use super::{Action, Step, Wake};
use crate::distribution::{FRACTION_BITS, exponential};
use crate::queue::Tick;
use crate::rng::Purpose;
use crate::simulation::NO_NETWORK;
use crate::subscriber::{Provisioning, Seen, State};

/// Wait of a device before it tries again (T3411, TS 24.301 §10.2).
const RETRY_MS: Tick = 10_000;
/// Attempts before it backs off.
const ATTEMPTS_MAX: u8 = 5;
/// Wait of a device that backs off (T3402).
const BACK_OFF_MS: Tick = 12 * 60_000;
/// Mean wait of a device whose subscription is unknown, on top of [`BACK_OFF_MS`]: it is switched on
/// again, or its firmware tries for ever.
const UNKNOWN_MEAN_MS: u64 = 60 * 60_000;
/// Devices do not wait equally long.
const RETRY_SPREAD_MS: u32 = 5_000;

impl Step<'_> {
    pub(super) fn begin_trip(&mut self) -> Wake {
        let trip = u32::from(self.subscriber.trips) + 1;
        let stay = self.simulation.profile().trips;
        let beyond = (stay.stay_mean.ms() * exponential(self.draw(Purpose::TripLength, trip)))
            >> FRACTION_BITS;
        let end = u64::from(self.now) + stay.stay_min.ms() + beyond;
        let end = end.min(u64::from(self.simulation.end)) as Tick;
        let visited = self.simulation.visited.pick(self.draw(Purpose::Destination, trip)) as u8;
        let subscriber = &mut *self.subscriber;
        subscriber.trips = trip as u16;
        subscriber.visited = visited;
        subscriber.trip_end = end;
        subscriber.volume_kb = 0;
        subscriber.spend_milli = 0;
        subscriber.had_session = Seen::No;
        self.stay_for_misbehaviour();
        self.begin_series();
        self.authenticate()
    }

    /// Begins a series of attempts to register in the visited network.
    pub(super) fn begin_series(&mut self) {
        self.subscriber.attempt = 1;
        self.subscriber.refusals = 0;
        self.subscriber.state = State::Authenticating;
        self.choose_rat();
    }

    pub(super) fn authenticate(&mut self) -> Wake {
        if self.now >= self.subscriber.trip_end {
            return self.go_home(None);
        }
        self.subscriber.registrations += 1;
        let attempt = self.subscriber.registrations;
        let exchange = self.exchange(EventType::Authentication, attempt);
        let unknown = self.subscriber.provisioning == Provisioning::Unknown;
        let failure = exchange.answer.failure().or_else(|| {
            if unknown {
                return Some((Outcome::Rejected, Cause::UnknownSubscriber));
            }
            let chance = self.simulation.chances.authentication_failure;
            self.draw(Purpose::AuthenticationOutcome, attempt)
                .happens(chance)
                .then_some((Outcome::Rejected, Cause::UserAuthenticationFailed))
        });
        self.answer(exchange, failure, Action::Authentication, State::Updating)
    }

    pub(super) fn update_location(&mut self) -> Wake {
        let number = self.subscriber.registrations;
        let exchange = self.exchange(EventType::LocationUpdate, number);
        let failure = exchange.answer.failure().or_else(|| self.refusal(number));
        let attempt = self.subscriber.attempt;
        let action = Action::LocationUpdate { update_type: UpdateType::Initial, attempt };
        match failure {
            Some((outcome, cause @ Cause::RoamingNotAllowed)) => {
                self.subscriber.refusals += 1;
                self.subscriber.state = State::Steered;
                let happening = self.happening_after(exchange, Some((outcome, cause)), action);
                self.done(Some(happening), self.now + exchange.latency_ms())
            }
            Some(_) => {
                if matches!(failure, Some((_, Cause::RatNotAllowed))) {
                    self.subscriber.rat = self.fallback_rat();
                }
                self.answer(exchange, failure, action, State::Updating)
            }
            None => {
                let happening = self.happening_of(exchange, action);
                self.subscriber.attached_at = self.now;
                let next = self.attached_next();
                self.done(Some(happening), next)
            }
        }
    }

    /// The home network names the network that it prefers; the device looks for it.
    pub(super) fn steer(&mut self) -> Wake {
        let (refusals, preferred) = (self.subscriber.refusals, self.preferred());
        let action = Action::Steering { preferred, attempt: refusals };
        let happening = self.happening(Outcome::Rejected, Some(Cause::RoamingNotAllowed), action);
        let trip = u32::from(self.subscriber.trips);
        let last = refusals == self.simulation.profile().registration.refusals_max;
        if last && self.draw(Purpose::Coverage, trip).happens(self.simulation.chances.coverage) {
            self.subscriber.visited = preferred;
            self.choose_rat();
        }
        self.subscriber.state = State::Authenticating;
        let wait = self.retry_wait(Cause::RoamingNotAllowed);
        self.subscriber.attempt = self.subscriber.attempt.saturating_add(1);
        self.done(Some(happening), self.now + wait)
    }

    /// Ends the trip of a subscriber that is not attached any more, or never was.
    pub(super) fn go_home(&mut self, happening: Option<super::Happening>) -> Wake {
        self.subscriber.state = State::Home;
        let trip = u32::from(self.subscriber.trips);
        let pause = self.simulation.profile().trips.pause_mean.ms();
        let pause = (pause * exponential(self.draw(Purpose::TripPause, trip))) >> FRACTION_BITS;
        let next = (u64::from(self.now) + pause).min(u64::from(Tick::MAX));
        self.done(happening, next as Tick)
    }

    /// Ends a step of the series: on to `then`, or to the next attempt where there was a failure.
    fn answer(
        &mut self,
        exchange: Exchange,
        failure: Option<(Outcome, Cause)>,
        action: Action,
        then: State,
    ) -> Wake {
        let happening = self.happening_after(exchange, failure, action);
        let mut next = self.now + exchange.latency_ms();
        if let Some((_, cause)) = failure {
            self.subscriber.state = State::Authenticating;
            next += self.retry_wait(cause);
            self.subscriber.attempt = self.subscriber.attempt.saturating_add(1);
        } else {
            self.subscriber.state = then;
        }
        self.done(Some(happening), next)
    }

    /// Returns why the home network refuses a registration that reached it.
    fn refusal(&self, number: u32) -> Option<(Outcome, Cause)> {
        if self.is_steered() {
            return Some((Outcome::Rejected, Cause::RoamingNotAllowed));
        }
        let draw = self.draw(Purpose::RegistrationOutcome, number);
        let chances = &self.simulation.chances;
        if draw.happens(chances.system_failure) {
            return Some((Outcome::Failed, Cause::SystemFailure));
        }
        let restricted = self.subscriber.rat == Rat::Nr && self.fallback_rat() != Rat::Nr;
        (restricted && draw.again().happens(chances.rat_not_allowed))
            .then_some((Outcome::Rejected, Cause::RatNotAllowed))
    }

    /// Whether the home network sends the subscriber elsewhere: not more often than it may in a row, so
    /// that nobody stays without service.
    fn is_steered(&self) -> bool {
        let (visited, preferred) = (self.subscriber.visited, self.preferred());
        let trip = u32::from(self.subscriber.trips);
        preferred != NO_NETWORK
            && preferred != visited
            && self.subscriber.refusals < self.simulation.profile().registration.refusals_max
            && self.draw(Purpose::SteeringQuota, trip).happens(self.simulation.chances.steered)
    }

    /// Returns the network that the home network prefers in this country.
    fn preferred(&self) -> u8 {
        let visited = usize::from(self.subscriber.visited);
        self.simulation.networks[visited].preferred[usize::from(self.subscriber.home)]
    }

    fn choose_rat(&mut self) {
        let tables = &self.simulation.networks[usize::from(self.subscriber.visited)];
        let draw = self.draw(Purpose::Rat, self.subscriber.registrations);
        self.subscriber.rat = tables.rats[tables.rat.pick(draw)];
    }

    /// Returns a technology of the visited network that every subscription includes.
    fn fallback_rat(&self) -> Rat {
        let tables = &self.simulation.networks[usize::from(self.subscriber.visited)];
        tables.rats.iter().copied().find(|rat| *rat != Rat::Nr).unwrap_or(Rat::Nr)
    }

    /// Returns how long the device waits before its next attempt.
    fn retry_wait(&self, cause: Cause) -> Tick {
        let draw = self.draw(Purpose::RetryDelay, self.subscriber.registrations);
        let spread = draw.below(RETRY_SPREAD_MS);
        if cause == Cause::UnknownSubscriber {
            return BACK_OFF_MS + ((UNKNOWN_MEAN_MS * exponential(draw)) >> FRACTION_BITS) as Tick;
        }
        let backs_off = cause != Cause::RoamingNotAllowed
            && self.subscriber.attempt.is_multiple_of(ATTEMPTS_MAX);
        spread + if backs_off { BACK_OFF_MS } else { RETRY_MS }
    }
}
