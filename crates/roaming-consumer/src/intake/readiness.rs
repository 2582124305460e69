//! Whether the log can be counted, as the broker is asked and `/readyz` is told.
//!
//! The questions for the lag show that a partition's leader is away while nothing comes. That no broker
//! answers is asked beside them, since a replica without partitions has none to measure.

use std::time::{Duration, Instant};

use rdkafka::error::KafkaResult;
use roaming_service::telemetry::chain;

use crate::ConsumerError;
use crate::desk::{
    Desk, Ends, HEALTH_BROKER, HEALTH_DEAD_LETTERS, HEALTH_STORE, JobError, Request,
};
use crate::group::Group;
use crate::intake::Intake;
use crate::partition_task::{Hold, PartitionTask, Stage, Trouble};

/// Time between two measurements of the lag, and between two calls to the broker.
const LAG_INTERVAL: Duration = Duration::from_secs(1);

/// Whether a broker answers, whatever partitions are counted: it does, in the beginning.
#[derive(Default)]
pub(super) struct BrokerCalls {
    is_calling: bool,
    /// What the last call found where none answered.
    absence: Option<String>,
}

impl<G: Group, D: Desk> Intake<G, D> {
    pub(super) fn measure_lag(&mut self, now: Instant) {
        let is_due =
            self.state.lag_measured.is_none_or(|last| now.duration_since(last) >= LAG_INTERVAL);
        if !is_due {
            return;
        }
        self.state.lag_measured = Some(now);
        self.call_broker();
        for task in self.state.tasks.values_mut() {
            if task.counting().is_some() && !task.is_measuring {
                task.is_measuring = true;
                self.desk.ask(task.ticket, Request::Measure { partition: task.number });
            }
        }
    }

    pub(super) fn measured(&mut self, partition: u16, result: &KafkaResult<Ends>) {
        let Some(task) = self.state.tasks.get_mut(&partition) else { return };
        task.is_measuring = false;
        let ends = match result {
            Ok(ends) => ends,
            Err(source) => {
                self.metrics.error("broker");
                let settings = &self.config.kafka;
                let error = settings.explain("ask how far roaming.events goes", source.clone());
                task.trouble.get_or_insert_with(|| Trouble::from(&JobError::from(error)));
                return self.tell_troubles();
            }
        };
        let stored = task.stored_offset.unwrap_or(ends.low);
        self.metrics.lag(partition, ends.high.saturating_sub(stored));
        if task.trouble.take_if(|trouble| trouble.part == HEALTH_BROKER).is_some() {
            self.tell_troubles();
        }
    }

    /// Asks whether a broker answers, where nobody asks already.
    fn call_broker(&mut self) {
        if !self.state.broker.is_calling {
            self.state.broker.is_calling = true;
            self.state.tickets += 1;
            self.desk.ask(self.state.tickets, Request::CallBroker);
        }
    }

    /// Takes whether a broker answered.
    pub(super) fn answered(&mut self, result: KafkaResult<()>) {
        let absence = result.err().map(|source| {
            self.metrics.error("broker");
            chain(&self.config.kafka.explain("ask for roaming.events", source))
        });
        self.state.broker = BrokerCalls { is_calling: false, absence };
        self.tell_troubles();
    }

    /// Looks whether what keeps the log from being read is over.
    pub(super) fn look_at_log(&mut self, now: Instant) -> Result<(), ConsumerError> {
        if !self.state.blockage.is_due(now) {
            return Ok(());
        }
        self.state.tickets += 1;
        self.state.blockage.begin_look(self.state.tickets);
        self.desk.ask(self.state.tickets, Request::Look);
        // A partition tells an error once. One that is started again tells it again, if it is still there.
        for task in self.state.tasks.values_mut() {
            let number = task.number;
            if let Some(counting) = task.counting()
                && matches!(counting.hold, None | Some(Hold::Starting))
            {
                counting.release(now);
                self.group.pause(number)?;
            }
        }
        Ok(())
    }

    pub(super) fn tell_owned(&self) {
        let is_counted = |task: &&PartitionTask| matches!(task.stage, Stage::Counting(_));
        let owned = self.state.tasks.values().filter(is_counted).count();
        self.metrics.owned(owned);
        self.owned.send_replace(owned);
    }

    /// Says in `/readyz` what partitions wait for: of each part, the first one's reason. Where none waits
    /// for the broker, one may be away all the same.
    pub(super) fn tell_troubles(&self) {
        for part in [HEALTH_STORE, HEALTH_BROKER, HEALTH_DEAD_LETTERS] {
            let of_part = |task: &PartitionTask| {
                let trouble = task.trouble.as_ref().filter(|trouble| trouble.part == part)?;
                Some(format!("partition {} waits: {}", task.number, trouble.reason))
            };
            let absence = self.state.broker.absence.clone().filter(|_| part == HEALTH_BROKER);
            match self.state.tasks.values().find_map(of_part).or(absence) {
                Some(reason) => self.health.hold(part, reason),
                None => self.health.release(part),
            }
        }
    }
}
