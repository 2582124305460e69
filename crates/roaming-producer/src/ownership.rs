//! Membership in the group of producers: who is assigned a partition of `roaming.lanes` owns its lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use roaming_service::health::Health;
use roaming_service::kafka::{
    ClientError, KafkaSettings, PRODUCER_GROUP, log_library_error, log_library_line,
};
use roaming_service::telemetry::chain;
use roaming_service::topics;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::fleet::PartitionProgress;
use crate::progress::{self, Progress};
use crate::sender::{Command, DRAIN_TIMEOUT};

/// How often the thread looks whether it is to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long a rebalance waits for the lanes to come to rest: as long as they may take, and some more.
const REVOKE_TIMEOUT: Duration = DRAIN_TIMEOUT.saturating_mul(2);
/// The part that holds readiness until the group has assigned partitions, or none.
const HEALTH_PART: &str = "group";

/// Takes part in the group until `stop`, and leaves it then; has a thread of its own.
///
/// Leaving takes the same way as losing partitions to another member: their lanes stop, and their
/// progress is recorded, before it returns.
///
/// # Errors
/// Fails where the client library refuses the settings. A broker that is away is waited for.
pub fn run(
    settings: &KafkaSettings,
    commands: mpsc::Sender<Command>,
    health: Health,
    stop: &CancellationToken,
) -> Result<(), ClientError> {
    health.hold(HEALTH_PART, "waiting for partitions of roaming.lanes");
    let membership = Membership { commands, health, reading: Mutex::default() };
    let consumer: BaseConsumer<Membership> = settings
        .consumer(PRODUCER_GROUP)
        // Progress is always read whole. What compaction removed meanwhile was replaced.
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .create_with_context(membership)
        .map_err(|source| settings.explain("create a client", source))?;
    consumer
        .subscribe(&[topics::LANES])
        .map_err(|source| settings.explain("subscribe to roaming.lanes", source))?;
    while !stop.is_cancelled() {
        match consumer.poll(POLL_INTERVAL) {
            Some(Ok(message)) => {
                let key = message.key().unwrap_or_default();
                let (partition, offset) = (message.partition(), message.offset());
                consumer.context().read(partition, offset, key, message.payload());
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                consumer.context().read_to_end(partition);
            }
            // It tries again by itself; what it may not do is for a person to mend.
            Some(Err(error)) => {
                let error = settings.explain("take part in the group roaming-producer", error);
                if error.is_denial() {
                    warn!(error = chain(&error), "no lanes from the group");
                    consumer.context().health.hold(HEALTH_PART, chain(&error));
                }
            }
            None => {}
        }
    }
    // Dropping it closes it: the revocation below runs, and the group hears that the member is gone.
    drop(consumer);
    Ok(())
}

struct Membership {
    commands: mpsc::Sender<Command>,
    health: Health,
    /// Assigned partitions whose end has not been reached, with what was read of them. Partitions that
    /// are owned are not here: what comes after is this process's own progress.
    reading: Mutex<BTreeMap<u16, PartitionProgress>>,
}

impl Membership {
    fn read(&self, partition: i32, offset: i64, key: &[u8], value: Option<&[u8]>) {
        let mut reading = self.reading();
        let Some(lanes) = reading.get_mut(&number(partition)) else { return };
        match Progress::read(key, value) {
            Ok(lane) => progress::keep(lanes, lane),
            // Without it the lane repeats more; nothing is lost.
            Err(error) => {
                warn!(partition, offset, error = chain(&error), "progress record passed over");
            }
        }
    }

    fn read_to_end(&self, partition: i32) {
        let partition = number(partition);
        if let Some(progress) = self.reading().remove(&partition) {
            // It fails only where the sender is gone, and then the process ends.
            let _ = self.commands.blocking_send(Command::Owned { partition, progress });
        }
    }

    fn assigned(&self, partitions: &BTreeSet<u16>) {
        if partitions.is_empty() {
            debug!("no partitions of lanes assigned");
        } else {
            info!(?partitions, "partitions of lanes assigned, reading their progress");
        }
        self.reading().extend(partitions.iter().map(|&partition| (partition, BTreeMap::new())));
        self.health.release(HEALTH_PART);
    }

    fn revoked(&self, partitions: BTreeSet<u16>) {
        self.reading().retain(|partition, _| !partitions.contains(partition));
        let (done, rest) = sync_channel(1);
        let told = self.commands.blocking_send(Command::Revoked { partitions, done });
        if told.is_ok() && rest.recv_timeout(REVOKE_TIMEOUT).is_err() {
            warn!(
                "lanes did not come to rest in time; their next owner repeats what is not recorded"
            );
        }
    }

    fn reading(&self) -> MutexGuard<'_, BTreeMap<u16, PartitionProgress>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_library_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_library_error(&error, reason);
    }
}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.assigned(&partitions(list)),
            Rebalance::Revoke(list) => self.revoked(partitions(list)),
            Rebalance::Error(error) => warn!(error = chain(error), "rebalance failed"),
        }
    }
}

fn partitions(list: &TopicPartitionList) -> BTreeSet<u16> {
    list.elements().iter().map(|element| number(element.partition())).collect()
}

/// Partitions that are assigned are never negative.
fn number(partition: i32) -> u16 {
    partition.unsigned_abs() as u16
}
