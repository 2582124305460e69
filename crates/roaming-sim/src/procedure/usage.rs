//! Usage: calls, messages and data sessions, and what the home network's policy says to them.
//!
//! A usage event tells what was used when it ended. How long it lasted is looked up backwards and never
//! reaches beyond the time of attachment.

use roaming_events::{CallDirection, Cause, Decision, EventType, Outcome, PolicyRule, Service};

use super::exchange::Exchange;
use super::{Action, Happening, Step, Wake};
use crate::distribution::{FRACTION_BITS, exponential, log_normal};
use crate::queue::Tick;
use crate::rng::Purpose;
use crate::simulation::Activity;
use crate::subscriber::{Provisioning, Seen, State};

/// The largest volume of one session, in octets: 40 bits of a record that is under way.
const VOLUME_MAX: u64 = (1 << 40) - 1;
/// What throttling leaves of a session's volume.
const THROTTLE_DIVISOR: u64 = 8;
/// Share of a session's volume that the device sends, in percent: from and to.
const UPLINK_PERCENT: (u32, u32) = (4, 18);

impl Step<'_> {
    /// Returns by how much the report of this activity is late, where it is.
    pub(super) fn lateness(&self) -> Option<Tick> {
        let draw = self.draw(Purpose::LateReport, self.subscriber.activities);
        let most = self.simulation.profile().traffic.late_report_max.ms() as u32;
        draw.happens(self.simulation.chances.late_report).then(|| draw.again().between(1, most))
    }

    /// Reports an activity that ended some time ago.
    pub(super) fn report_late(&mut self) -> Wake {
        let ended = self.subscriber.activity_due;
        let activity = self.activity();
        let happening = if activity == Activity::Session {
            let (decision, _) = self.decide();
            self.use_session(decision, ended)
        } else {
            self.use_service(activity, ended)
        };
        self.done_with_activity(happening)
    }

    /// Asks the policy about a data session; its decision is an event where it is news.
    pub(super) fn ask_policy(&mut self) -> Wake {
        let (decision, rule) = self.decide();
        if decision == Decision::Allow && self.subscriber.had_session == Seen::Yes {
            let happening = self.use_session(decision, self.now);
            return self.done_with_activity(happening);
        }
        let exchange = self.exchange(EventType::Policy, self.subscriber.activities);
        let action = Action::Policy { decision, rule };
        let happening = self.happening_of(exchange, action);
        if happening.outcome != Outcome::Success {
            return self.done_with_activity(happening);
        }
        self.subscriber.had_session = Seen::Yes;
        self.subscriber.state = State::Decided(decision);
        self.done(Some(happening), self.now + exchange.latency_ms())
    }

    pub(super) fn use_decided_session(&mut self, decision: Decision) -> Wake {
        let happening = self.use_session(decision, self.now);
        self.done_with_activity(happening)
    }

    fn decide(&self) -> (Decision, PolicyRule) {
        let policy = &self.simulation.profile().policy;
        let subscriber = &*self.subscriber;
        if subscriber.provisioning == Provisioning::DataBarred {
            (Decision::Block, PolicyRule::ServiceBarred)
        } else if u64::from(subscriber.spend_milli) * 1000 >= policy.spend_cap_millionths {
            (Decision::Block, PolicyRule::SpendCap)
        } else if u64::from(subscriber.volume_kb) * 1000 >= policy.fair_use {
            (Decision::Throttle, PolicyRule::FairUse)
        } else {
            (Decision::Allow, PolicyRule::Default)
        }
    }

    /// Uses a service other than data; it ended at `ended`.
    pub(super) fn use_service(&mut self, activity: Activity, ended: Tick) -> Happening {
        use CallDirection::{Originated, Terminated};
        match activity {
            Activity::CallOriginated => self.call(Originated, ended),
            Activity::CallTerminated => self.call(Terminated, ended),
            Activity::SmsOriginated => self.message(Originated, ended),
            Activity::SmsTerminated => self.message(Terminated, ended),
            Activity::Session | Activity::Move => {
                unreachable!("sessions and movement have procedures of their own")
            }
        }
    }

    fn call(&mut self, direction: CallDirection, ended: Tick) -> Happening {
        let activity = self.subscriber.activities;
        let exchange = self.exchange(EventType::Voice, activity);
        let failure = self.usage_failure(exchange, Cause::Congestion);
        let mean = self.simulation.profile().traffic.call_mean.ms();
        let duration_s = match failure {
            Some(_) => 0,
            None => self.lasted(mean, Purpose::CallDuration, ended),
        };
        let service = match direction {
            CallDirection::Originated => Service::VoiceOriginated,
            CallDirection::Terminated => Service::VoiceTerminated,
        };
        let action = Action::Call { direction, activity, duration_s };
        self.usage(exchange, failure, action, (service, u64::from(duration_s)), ended)
    }

    fn message(&mut self, direction: CallDirection, ended: Tick) -> Happening {
        let activity = self.subscriber.activities;
        let exchange = self.exchange(EventType::Sms, activity);
        let (service, usual) = match direction {
            CallDirection::Originated => (Service::SmsOriginated, Cause::SystemFailure),
            CallDirection::Terminated => (Service::SmsTerminated, Cause::AbsentSubscriber),
        };
        let failure = self.usage_failure(exchange, usual);
        self.usage(exchange, failure, Action::Sms { direction, activity }, (service, 1), ended)
    }

    fn use_session(&mut self, decision: Decision, ended: Tick) -> Happening {
        let activity = self.subscriber.activities;
        let exchange = self.exchange(EventType::Data, activity);
        let failure = if decision == Decision::Block {
            Some((Outcome::Rejected, Cause::BlockedByPolicy))
        } else {
            let apn_wrong = self.draw(Purpose::UsageOutcome, activity).again().below(4) == 0;
            let usual =
                if apn_wrong { Cause::MissingOrUnknownApn } else { Cause::NoResourcesAvailable };
            self.usage_failure(exchange, usual)
        };
        let traffic = &self.simulation.profile().traffic;
        let (mut duration_s, mut volume) = (0, 0);
        if failure.is_none() {
            duration_s = self.lasted(traffic.session_mean.ms(), Purpose::SessionDuration, ended);
            volume = log_normal(
                self.draw(Purpose::SessionVolume, activity),
                traffic.volume_median,
                traffic.volume_sigma_permille,
            )
            .clamp(1, VOLUME_MAX);
            if decision == Decision::Throttle {
                volume = volume.div_ceil(THROTTLE_DIVISOR);
            }
        }
        let (from, to) = UPLINK_PERCENT;
        let uplink =
            u64::from(self.draw(Purpose::SessionRouting, activity).again().between(from, to));
        let octets_uplink = volume * uplink / 100;
        let octets_downlink = volume - octets_uplink;
        let volume_kb = (volume / 1000) as u32;
        self.subscriber.volume_kb = self.subscriber.volume_kb.saturating_add(volume_kb);
        let action = Action::Session { activity, duration_s, octets_uplink, octets_downlink };
        self.usage(exchange, failure, action, (Service::Data, volume), ended)
    }

    /// Returns how long a usage that ended at `ended` lasted, in seconds: at least one, and not from
    /// before the attachment.
    pub(super) fn lasted(&self, mean_ms: u64, purpose: Purpose, ended: Tick) -> u32 {
        let drawn = (mean_ms * exponential(self.draw(purpose, self.subscriber.activities)))
            >> FRACTION_BITS;
        let attached = u64::from(ended.saturating_sub(self.subscriber.attached_at));
        (drawn.min(attached) / 1000).max(1) as u32
    }

    fn usage_failure(&self, exchange: Exchange, usual: Cause) -> Option<(Outcome, Cause)> {
        exchange.answer.failure().or_else(|| {
            self.draw(Purpose::UsageOutcome, self.subscriber.activities)
                .happens(self.simulation.chances.usage_failure)
                .then_some((Outcome::Rejected, usual))
        })
    }

    /// Ends a usage: what succeeded is charged.
    pub(super) fn usage(
        &mut self,
        exchange: Exchange,
        failure: Option<(Outcome, Cause)>,
        action: Action,
        used: (Service, u64),
        ended: Tick,
    ) -> Happening {
        let mut happening = self.happening_after(exchange, failure, action);
        happening.at = ended;
        if failure.is_none() {
            let (service, units) = used;
            let tariff = &self.simulation.profile().tariff;
            let spend = tariff.money(tariff.rate(service, units).charge).millionths();
            let milli = u32::try_from(spend / 1000).unwrap_or(u32::MAX);
            self.subscriber.spend_milli = self.subscriber.spend_milli.saturating_add(milli);
            happening.charged = Some(used);
        }
        happening
    }
}
