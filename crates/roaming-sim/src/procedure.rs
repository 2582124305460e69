//! Procedures: what happens to a subscriber when it wakes, and when it wakes again.
//!
//! [`Step::wake`] looks at the subscriber's state and leads to one procedure, each in a file of its own.
//! A step says at most one thing: what takes several exchanges takes several steps, so that the queue
//! keeps the events of all subscribers in order.

mod attached;
mod exchange;
mod misbehaviour;
mod record;
mod registration;
mod usage;

use roaming_events::{
    CallDirection, Cause, Decision, DetachType, Outcome, PolicyRule, Rat, Service, UpdateType,
};

pub(crate) use record::{Charged, Pending, Stage};

use self::exchange::Exchange;
use crate::profile::FraudPattern;
use crate::queue::Tick;
use crate::rng::{Draw, Purpose};
use crate::simulation::Simulation;
use crate::subscriber::{State, Subscriber};

/// One step of one subscriber.
pub(crate) struct Step<'a> {
    pub(crate) simulation: &'a Simulation,
    /// The subscriber's number in the run.
    pub(crate) index: u32,
    pub(crate) now: Tick,
    pub(crate) subscriber: &'a mut Subscriber,
}

/// What came of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wake {
    /// What happened, where anything did.
    pub(crate) happening: Option<Happening>,
    /// When the subscriber wakes again; `None` where nothing further happens to it in this run.
    pub(crate) next: Option<Tick>,
}

/// An event before it has a number and an identity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happening {
    /// When it happened; it is emitted now.
    pub(crate) at: Tick,
    pub(crate) visited: u8,
    pub(crate) rat: Rat,
    pub(crate) outcome: Outcome,
    pub(crate) cause: Option<Cause>,
    pub(crate) latency_us: u32,
    pub(crate) action: Action,
    /// Units of a service that a wholesale record is to charge.
    pub(crate) charged: Option<(Service, u64)>,
    /// The pattern of misbehaviour that it is part of.
    pub(crate) label: Option<FraudPattern>,
}

/// What happened, with numbers in the place of what can be derived from them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    LocationUpdate { update_type: UpdateType, attempt: u8 },
    Authentication,
    Steering { preferred: u8, attempt: u8 },
    Handover { moves: u16 },
    Call { direction: CallDirection, activity: u32, duration_s: u32 },
    CostlyCall { activity: u32, duration_s: u32 },
    Sms { direction: CallDirection, activity: u32 },
    Session { activity: u32, duration_s: u32, octets_uplink: u64, octets_downlink: u64 },
    Policy { decision: Decision, rule: PolicyRule },
    Detach { detach_type: DetachType },
    TapOut(Pending),
    TapIn(Pending),
}

impl Step<'_> {
    /// Lets the subscriber do what its state leads to.
    pub(crate) fn wake(mut self) -> Wake {
        match self.subscriber.state {
            State::Home => self.begin_trip(),
            State::Authenticating => self.authenticate(),
            State::Updating => self.update_location(),
            State::Steered => self.steer(),
            State::Attached => self.act(),
            State::Moving => self.update_area(),
            State::Refreshing => self.update_periodically(),
            State::Decided(decision) => self.use_decided_session(decision),
            State::Reporting => self.report_late(),
            State::Lost => self.detach_implicitly(),
        }
    }

    fn draw(&self, purpose: Purpose, counter: u32) -> Draw {
        self.simulation.draw(purpose, self.index, counter)
    }

    /// Returns what came of a procedure of this subscriber, at present.
    fn happening(&self, outcome: Outcome, cause: Option<Cause>, action: Action) -> Happening {
        Happening {
            at: self.now,
            visited: self.subscriber.visited,
            rat: self.subscriber.rat,
            outcome,
            cause,
            latency_us: 0,
            action,
            charged: None,
            label: self.misbehaving(),
        }
    }

    /// Returns what came of a procedure that only its exchange can stop.
    fn happening_of(&self, exchange: Exchange, action: Action) -> Happening {
        self.happening_after(exchange, exchange.answer.failure(), action)
    }

    /// Returns what came of a procedure whose exchange is known, and its failure.
    fn happening_after(
        &self,
        exchange: Exchange,
        failure: Option<(Outcome, Cause)>,
        action: Action,
    ) -> Happening {
        let (outcome, cause) = match failure {
            Some((outcome, cause)) => (outcome, Some(cause)),
            None => (Outcome::Success, None),
        };
        let happening = self.happening(outcome, cause, action);
        Happening { latency_us: exchange.latency_us, ..happening }
    }

    /// Ends the step; a wake at or after the end of the run does not come.
    fn done(&self, happening: Option<Happening>, next: Tick) -> Wake {
        Wake { happening, next: (next < self.simulation.end).then_some(next) }
    }
}
