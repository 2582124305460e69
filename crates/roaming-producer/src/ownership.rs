//! Membership in the group of producers: who is assigned a partition of `roaming.lanes` owns its lanes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use roaming_service::health::Health;
use roaming_service::kafka::{
    ClientError, KafkaSettings, KnownBrokers, PRODUCER_GROUP, REPLACED_INTERVAL, fatal_or,
    forgotten_error, log_library_error, log_library_line,
};
use roaming_service::telemetry::chain;
use roaming_service::topics;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::assignment::Assignment;
use crate::sender::{Command, DRAIN_TIMEOUT};

/// How often the thread looks whether it is to stop.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long a rebalance waits for the lanes to come to rest: as long as they may take, and some more.
pub const REVOKE_TIMEOUT: Duration = DRAIN_TIMEOUT.saturating_mul(2);
/// How long after a refusal to read `roaming.lanes` it is asked for again.
const ASK_AGAIN_INTERVAL: Duration = Duration::from_secs(2);
/// What fails where the group is out of reach.
const TAKE_PART: &str = "take part in the group roaming-producer";
/// The part that holds readiness until the group has assigned partitions, or none.
const HEALTH_GROUP: &str = "group";
/// The part that holds readiness while `roaming.lanes` may not be read.
const HEALTH_LANES: &str = "lanes";

/// Takes part in the group until `stop`, and leaves it then; has a thread of its own.
///
/// Leaving takes the same way as losing partitions to another member: their lanes stop, and their
/// progress is recorded, before it returns. A client that is lost leaves too, and another one joins.
///
/// # Errors
/// Fails where the client library refuses the settings, and where another member has this one's name. A broker
/// that is away is waited for.
pub fn run(
    settings: &KafkaSettings,
    commands: &mpsc::Sender<Command>,
    health: &Health,
    stop: &CancellationToken,
) -> Result<(), ClientError> {
    // Whether the client took the place of one that the group took for another member.
    let mut is_second = false;
    while !stop.is_cancelled() {
        health.hold(HEALTH_GROUP, "waiting for partitions of roaming.lanes");
        // Where they may not be read the new client is told so again.
        health.release(HEALTH_LANES);
        let consumer = join(settings, commands.clone(), health.clone())?;
        let member = Arc::clone(consumer.context());
        match take_part(settings, &consumer, stop) {
            Ok(()) => {}
            Err(error @ ClientError::Replaced { .. }) => {
                if is_second && !member.joined_before(REPLACED_INTERVAL) {
                    return Err(error);
                }
                is_second = true;
                warn!(error = chain(&error), "the client is lost, another one takes its place");
                member.leave(consumer);
                continue;
            }
            Err(error @ ClientError::Unreachable { .. }) => {
                is_second = false;
                warn!(
                    error = chain(&error),
                    "the client has forgotten all brokers, another one takes its place"
                );
                member.leave(consumer);
                continue;
            }
            Err(error) => return Err(error),
        }
        // Dropping it closes it: the revocation below runs, and the group hears that the member is gone.
        drop(consumer);
    }
    Ok(())
}

fn join(
    settings: &KafkaSettings,
    commands: mpsc::Sender<Command>,
    health: Health,
) -> Result<BaseConsumer<Membership>, ClientError> {
    let consumer: BaseConsumer<Membership> = settings
        .consumer(PRODUCER_GROUP)
        // Progress is always read whole. What compaction removed meanwhile was replaced.
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .create_with_context(Membership::new(commands, health))
        .map_err(|source| settings.explain("create a client", source))?;
    consumer
        .subscribe(&[topics::LANES])
        .map_err(|source| settings.explain("subscribe to roaming.lanes", source))?;
    Ok(consumer)
}

/// Takes part until `stop`, or until the client is lost: that is an error.
fn take_part(
    settings: &KafkaSettings,
    consumer: &BaseConsumer<Membership>,
    stop: &CancellationToken,
) -> Result<(), ClientError> {
    let member = consumer.context();
    // When roaming.lanes was refused, or asked for again after that.
    let mut refused: Option<Instant> = None;
    while !stop.is_cancelled() {
        match consumer.poll(POLL_INTERVAL) {
            Some(Ok(message)) => {
                let key = message.key().unwrap_or_default();
                let (partition, offset) = (message.partition(), message.offset());
                member.read(partition, offset, key, message.payload());
                member.may_read(&mut refused);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                member.read_to_end(partition);
                member.may_read(&mut refused);
            }
            // It tries again by itself; what it may not do is for a person to mend.
            Some(Err(error)) => match fatal_or(consumer.client(), error) {
                error @ KafkaError::MessageConsumptionFatal(_) => {
                    return Err(settings.explain(TAKE_PART, error));
                }
                error if is_about_the_topic(&error) => {
                    let error = settings.explain("read roaming.lanes", error);
                    if refused.replace(Instant::now()).is_none() {
                        member.hold(HEALTH_LANES, &error);
                    }
                }
                error => {
                    let error = settings.explain(TAKE_PART, error);
                    if error.is_denial() {
                        member.hold(HEALTH_GROUP, &error);
                    }
                }
            },
            None if member.brokers.are_forgotten() => {
                return Err(settings.explain(TAKE_PART, forgotten_error()));
            }
            None => {}
        }
        if refused.is_some_and(|at| at.elapsed() > ASK_AGAIN_INTERVAL) {
            refused = Some(Instant::now());
            ask_again(consumer);
        }
    }
    Ok(())
}

/// Has the client say again what the broker says of `roaming.lanes`: it reports a refusal once, and where
/// nothing new is written nothing that tells of its end.
fn ask_again(consumer: &BaseConsumer<Membership>) {
    // Fetching that begins anew reports a refusal, a record, or the end of the partition.
    let began_anew = consumer
        .assignment()
        .and_then(|assigned| consumer.pause(&assigned).and_then(|()| consumer.resume(&assigned)));
    if let Err(error) = began_anew {
        warn!(error = chain(&error), "roaming.lanes not asked for again, trying after a pause");
    }
}

fn is_about_the_topic(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
}

struct Membership {
    commands: mpsc::Sender<Command>,
    health: Health,
    assignment: Mutex<Assignment>,
    /// What the client has, owned or still being read.
    partitions: Mutex<BTreeSet<u16>>,
    /// Whether the client is lost and has given up what it had.
    has_left: AtomicBool,
    /// When the client was assigned partitions for the first time.
    joined: OnceLock<Instant>,
    brokers: KnownBrokers,
}

impl Membership {
    fn new(commands: mpsc::Sender<Command>, health: Health) -> Self {
        Self {
            commands,
            health,
            assignment: Mutex::default(),
            partitions: Mutex::default(),
            has_left: AtomicBool::new(false),
            joined: OnceLock::new(),
            brokers: KnownBrokers::default(),
        }
    }

    /// Says what this client may not do.
    fn hold(&self, part: &'static str, error: &ClientError) {
        warn!(error = chain(error), "a right is missing");
        self.health.hold(part, chain(error));
    }

    /// Takes back that `roaming.lanes` may not be read.
    fn may_read(&self, refused: &mut Option<Instant>) {
        if refused.take().is_some() {
            info!("roaming.lanes may be read again");
            self.health.release(HEALTH_LANES);
        }
    }

    fn read(&self, partition: i32, offset: i64, key: &[u8], value: Option<&[u8]>) {
        if let Err(error) = self.assignment().read(number(partition), key, value) {
            warn!(partition, offset, error = chain(&error), "record of roaming.lanes passed over");
        }
    }

    fn read_to_end(&self, partition: i32) {
        let partition = number(partition);
        let read = self.assignment().read_to_end(partition);
        if let Some(recorded) = read {
            // It fails only where the sender is gone, and then the process ends.
            let _ = self.commands.blocking_send(Command::Owned { partition, recorded });
        }
    }

    fn assigned(&self, partitions: &BTreeSet<u16>) {
        if partitions.is_empty() {
            debug!("no partitions of lanes assigned");
        } else {
            info!(?partitions, "partitions of lanes assigned, reading their progress");
        }
        self.assignment().assigned(partitions);
        self.partitions().extend(partitions);
        self.joined.get_or_init(Instant::now);
        self.health.release(HEALTH_GROUP);
    }

    /// Gives up all that a lost client has; what the library says of it from here on is about nothing.
    fn leave(&self, lost: BaseConsumer<Self>) {
        self.has_left.store(true, Ordering::Release);
        self.health.hold(HEALTH_GROUP, "joining the group roaming-producer again");
        let all = self.partitions().clone();
        self.revoked(all);
        // It waits for brokers that it does not know before it ends.
        thread::spawn(move || drop(lost));
    }

    /// Whether the client was assigned partitions for the first time longer ago than an interval.
    fn joined_before(&self, interval: Duration) -> bool {
        self.joined.get().is_some_and(|joined| joined.elapsed() > interval)
    }

    fn revoked(&self, mut partitions: BTreeSet<u16>) {
        partitions.retain(|partition| self.partitions().remove(partition));
        if partitions.is_empty() {
            return;
        }
        self.assignment().revoked(&partitions);
        let (done, rest) = sync_channel(1);
        let told = self.commands.blocking_send(Command::Revoked { partitions, done });
        if told.is_ok() && rest.recv_timeout(REVOKE_TIMEOUT).is_err() {
            warn!(
                "lanes did not come to rest in time; their next owner repeats what is not recorded"
            );
        }
    }

    fn partitions(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assignment(&self) -> MutexGuard<'_, Assignment> {
        self.assignment.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_library_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_library_error(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.brokers.read(statistics);
    }
}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if self.has_left.load(Ordering::Acquire) {
            return;
        }
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
