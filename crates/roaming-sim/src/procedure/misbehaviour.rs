//! Subscribers that misbehave for a time, as the profile's `fraud` says.

use roaming_events::{EventType, Service};

use super::{Action, Step, Wake};
use crate::distribution::{FRACTION_BITS, exponential};
use crate::profile::FraudPattern;
use crate::queue::Tick;
use crate::rng::{Draw, Purpose};

/// Mean time between the calls of revenue share fraud. They last longer than that: they overlap.
const COSTLY_CALL_GAP_MS: u64 = 4 * 60_000;
const COSTLY_CALL_MEAN_MS: u64 = 25 * 60_000;
/// Mean time from a registration of a storm to the next: more than 50 an hour.
const STORM_GAP_MS: u64 = 40_000;

impl Step<'_> {
    /// Returns the pattern that the subscriber follows now.
    pub(super) fn misbehaving(&self) -> Option<FraudPattern> {
        let fraud = &self.simulation.profile().fraud[usize::from(self.subscriber.pattern()?)];
        let (from, until) = (fraud.from.ms(), (fraud.from + fraud.lasts).ms());
        (from..until).contains(&u64::from(self.now)).then_some(fraud.pattern)
    }

    /// Keeps a subscriber abroad for as long as it is to misbehave there.
    pub(super) fn stay_for_misbehaviour(&mut self) {
        if let Some(pattern) = self.subscriber.pattern() {
            let fraud = &self.simulation.profile().fraud[usize::from(pattern)];
            let until = (fraud.from + fraud.lasts).ms().min(u64::from(self.simulation.end)) as Tick;
            self.subscriber.trip_end = self.subscriber.trip_end.max(until);
        }
    }

    /// Brings the next activity forward where the subscriber misbehaves by then.
    pub(super) fn hasten(&self, usual: Tick, draw: Draw) -> Tick {
        let Some(pattern) = self.subscriber.pattern() else { return usual };
        let fraud = &self.simulation.profile().fraud[usize::from(pattern)];
        let gap_ms = match fraud.pattern {
            FraudPattern::Irsf => COSTLY_CALL_GAP_MS,
            FraudPattern::RegistrationStorm => STORM_GAP_MS,
        };
        let begin = u64::from(self.now).max(fraud.from.ms());
        let due = begin + 1 + ((gap_ms * exponential(draw.again())) >> FRACTION_BITS);
        if due < (fraud.from + fraud.lasts).ms() { usual.min(due as Tick) } else { usual }
    }

    /// Does what the pattern is about, in the place of an activity.
    pub(super) fn misbehave(&mut self, pattern: FraudPattern) -> Wake {
        match pattern {
            FraudPattern::Irsf => self.call_costly(),
            FraudPattern::RegistrationStorm => {
                self.subscriber.activities += 1;
                self.begin_series();
                self.authenticate()
            }
        }
    }

    fn call_costly(&mut self) -> Wake {
        let activity = self.subscriber.activities;
        let exchange = self.exchange(EventType::Voice, activity);
        let failure = exchange.answer.failure();
        let duration_s = match failure {
            Some(_) => 0,
            None => self.lasted(COSTLY_CALL_MEAN_MS, Purpose::CallDuration, self.now),
        };
        let action = Action::CostlyCall { activity, duration_s };
        let used = (Service::VoiceOriginated, u64::from(duration_s));
        let happening = self.usage(exchange, failure, action, used, self.now);
        self.done_with_activity(happening)
    }
}
