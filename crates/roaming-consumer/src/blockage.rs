//! What keeps the log from being read, as `/readyz` says it.
//!
//! The client library tells once what is wrong, goes on trying, and never says that it is over. A record
//! says so; where none comes, the log is looked at until nothing is wrong any more.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use roaming_service::health::Health;
use roaming_service::kafka::{ClientError, KafkaSettings};
use roaming_service::telemetry::chain;
use roaming_service::topics;
use tracing::{info, warn};

use crate::desk::{Ends, Ticket};

/// Time between two looks, and how long nothing must have been told after a good one: long enough for a
/// partition that is started again to tell what is wrong with it.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// The part that holds readiness while the group does not take this member.
const HEALTH_GROUP: &str = "group";
/// The part that holds readiness while the log cannot be read.
const HEALTH_LOG: &str = "log";

/// What keeps the log from being read: nothing, in the beginning.
pub(crate) struct Blockage {
    settings: KafkaSettings,
    health: Health,
    is_outside_group: bool,
    /// Where the log itself cannot be read.
    look: Option<Look>,
}

/// How far it is known whether that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Something was wrong then.
    Wanted(Instant),
    /// Somebody looks.
    Underway(Ticket),
    /// Somebody has looked, and nothing was wrong then.
    Clear(Instant),
}

impl Blockage {
    pub(crate) fn new(settings: KafkaSettings, health: Health) -> Self {
        Self { settings, health, is_outside_group: false, look: None }
    }

    /// Whether something keeps the log from being read, as far as is known.
    pub(crate) fn is_there(&self) -> bool {
        self.is_outside_group || self.look.is_some()
    }

    /// Takes an error that came while the log was read. What only a person can mend is told.
    pub(crate) fn find(&mut self, error: KafkaError, now: Instant) {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        let error = match code {
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
                ClientError::UnknownTopic { topic: topics::EVENTS.to_owned() }
            }
            _ => self.settings.explain("read roaming.events as the group roaming-consumer", error),
        };
        if !error.is_denial() && !matches!(error, ClientError::UnknownTopic { .. }) {
            return;
        }
        if !self.is_there() {
            warn!(error = chain(&error), "nothing to count");
        }
        if code == Some(Code::GroupAuthorizationFailed) {
            self.is_outside_group = true;
            self.health.hold(HEALTH_GROUP, chain(&error));
        } else {
            self.look = Some(Look::Wanted(now));
            self.health.hold(HEALTH_LOG, chain(&error));
        }
    }

    /// Takes that the group took this member.
    pub(crate) fn joined(&mut self) {
        self.is_outside_group = false;
        self.health.release(HEALTH_GROUP);
    }

    /// Takes that the log is read.
    pub(crate) fn clear(&mut self) {
        info!("roaming.events is read again");
        self.look = None;
        self.health.release(HEALTH_LOG);
        self.joined();
    }

    /// Returns whether somebody is to look now.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let is_past = |since| now.duration_since(since) >= LOOK_INTERVAL;
        match self.look {
            Some(Look::Wanted(since)) => is_past(since),
            Some(Look::Clear(since)) if is_past(since) => {
                info!("roaming.events can be read again");
                self.look = None;
                self.health.release(HEALTH_LOG);
                false
            }
            _ => false,
        }
    }

    /// Takes that somebody looks.
    pub(crate) fn begin_look(&mut self, ticket: Ticket) {
        self.look = Some(Look::Underway(ticket));
    }

    /// Takes what a look found. It says nothing where something was told since it began.
    pub(crate) fn end_look(&mut self, ticket: Ticket, result: KafkaResult<Ends>, now: Instant) {
        if self.look != Some(Look::Underway(ticket)) {
            return;
        }
        self.look = Some(if result.is_ok() { Look::Clear(now) } else { Look::Wanted(now) });
        if let Err(error) = result {
            self.find(error, now);
        }
    }
}
