//! Watches how far the consumers are, for the flow control, and how many partitions the topics have.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionList;
use roaming_service::health::Health;
use roaming_service::kafka::{Broker, ClientError, KafkaSettings, LogContext};
use roaming_service::telemetry::chain;
use roaming_service::topics;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::fleet::TopicPartitions;
use crate::sender::Command;

/// How often the consumers' offsets are asked for while something is unread. Kafka keeps many seconds' work
/// unread…
const KAFKA_INTERVAL: Duration = Duration::from_millis(100);
/// …and the embedded broker some tenths of one.
const EMBEDDED_INTERVAL: Duration = Duration::from_millis(20);
/// How often while nothing is.
const IDLE_INTERVAL: Duration = Duration::from_millis(200);
/// How long one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the topics are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// The part that holds readiness while a topic is missing.
const HEALTH_TOPICS: &str = "topics";
/// Events of the client that are served after a question that failed.
const EVENTS_MAX: usize = 1000;
/// The part that holds readiness while the consumers' offsets are not known.
const HEALTH_OFFSETS: &str = "offsets";

/// The offsets that the consumers committed; clones share them.
#[derive(Clone, Default)]
pub struct Committed {
    /// Per partition the next offset to read; `None` where nothing is committed.
    offsets: Arc<Mutex<BTreeMap<u16, Option<u64>>>>,
    busy: Arc<AtomicBool>,
    /// Whether the last question got no answer.
    unknown: Arc<AtomicBool>,
}

impl Committed {
    /// Asks for a partition to be watched.
    pub fn watch(&self, partition: u16) {
        self.lock().entry(partition).or_default();
    }

    /// Takes note of the next offset that the consumers will read; `None` where nothing is committed.
    pub fn tell(&self, partition: u16, offset: Option<u64>) {
        self.lock().insert(partition, offset);
    }

    /// Says whether anything is unread.
    pub fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Whether the offsets are what the consumers committed lately.
    pub fn are_known(&self) -> bool {
        !self.unknown.load(Ordering::Relaxed)
    }

    /// Calls `each` with every partition that has an offset, and the offset.
    pub fn for_each(&self, mut each: impl FnMut(u16, u64)) {
        for (&partition, &offset) in &*self.lock() {
            if let Some(offset) = offset {
                each(partition, offset);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, Option<u64>>> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the watch is made of.
pub struct Watch {
    /// Where to look.
    pub settings: KafkaSettings,
    /// The group of the consumers.
    pub group: String,
    /// Where it shows how far they are.
    pub committed: Committed,
    /// How many partitions the topics had before.
    pub partitions: TopicPartitions,
    /// Where it tells of other numbers.
    pub commands: mpsc::Sender<Command>,
    /// Where it says what it cannot see.
    pub health: Health,
}

/// Keeps `committed` up to date, and tells of topics with other partitions, until `stop`; has a thread of
/// its own.
///
/// # Errors
/// Fails where the client library refuses the settings. A broker that is away is waited for.
pub fn run(watch: &Watch, stop: &CancellationToken) -> Result<(), ClientError> {
    let Watch { settings, group, committed, health, .. } = watch;
    // It has the group's name but does not join: it only asks the coordinator.
    let connect = || -> Result<BaseConsumer<LogContext>, ClientError> {
        let client = settings.consumer(group).create_with_context(LogContext::default());
        client.map_err(|source| settings.explain("create a client", source))
    };
    let mut client = connect()?;
    let busy_interval = match settings.broker {
        Broker::Kafka => KAFKA_INTERVAL,
        Broker::Embedded => EMBEDDED_INTERVAL,
    };
    let (mut partitions, mut looked) = (watch.partitions, Instant::now());
    while !stop.is_cancelled() {
        if looked.elapsed() > LOOK_INTERVAL {
            looked = Instant::now();
            watch.look(&client, &mut partitions);
        }
        match ask(&client, committed, partitions.events) {
            Ok(()) => {
                if committed.unknown.swap(false, Ordering::Relaxed) {
                    info!(group, "offsets of the consumers are known again");
                    health.release(HEALTH_OFFSETS);
                }
            }
            Err(error) => {
                let error = settings.explain("see how far the group of the consumers is", error);
                if !committed.unknown.swap(true, Ordering::Relaxed) {
                    warn!(group, error = chain(&error), "offsets of the consumers are not known");
                }
                health.hold(HEALTH_OFFSETS, chain(&error));
            }
        }
        let busy = committed.busy.load(Ordering::Relaxed);
        // Nothing is assigned: this serves the client's log lines and statistics, of which there are many where
        // the question took long.
        let served = if committed.are_known() { 1 } else { EVENTS_MAX };
        for _ in 0..served {
            let _ = client.poll(Duration::ZERO);
        }
        if client.context().brokers().are_forgotten() {
            warn!(group, "the client has forgotten all brokers, another one takes its place");
            client = connect()?;
        }
        // Not in the poll, which spins for the last millisecond of its wait.
        thread::sleep(if busy { busy_interval } else { IDLE_INTERVAL });
    }
    Ok(())
}

impl Watch {
    /// Looks at the topics. What keeps it from that is said by those who send and follow.
    fn look(&self, client: &BaseConsumer<LogContext>, last: &mut TopicPartitions) {
        let count = |topic| {
            let metadata = client
                .fetch_metadata(Some(topic), ANSWER_TIMEOUT)
                .map_err(|source| self.settings.explain("read metadata", source))?;
            topics::partitions_in(&self.settings, &metadata, topic)
        };
        let found = count(topics::EVENTS)
            .and_then(|events| Ok(TopicPartitions { events, lanes: count(topics::LANES)? }));
        match found {
            Ok(found) => {
                self.health.release(HEALTH_TOPICS);
                if found != *last {
                    *last = found;
                    // It fails only where the sender is gone, and then the process ends.
                    let _ = self.commands.blocking_send(Command::Partitions(found));
                }
            }
            Err(error @ ClientError::UnknownTopic { .. }) => {
                self.health.hold(HEALTH_TOPICS, chain(&error));
            }
            Err(_) => {}
        }
    }
}

/// Asks for the offsets of those partitions that there are.
fn ask(
    client: &BaseConsumer<LogContext>,
    committed: &Committed,
    partitions: u16,
) -> KafkaResult<()> {
    let mut wanted = TopicPartitionList::new();
    for &partition in committed.lock().keys().filter(|&&partition| partition < partitions) {
        wanted.add_partition(topics::EVENTS, i32::from(partition));
    }
    if wanted.count() == 0 {
        return Ok(());
    }
    let found = client.committed_offsets(wanted, ANSWER_TIMEOUT)?;
    for element in found.elements() {
        element.error()?;
        let offset = element.offset().to_raw().and_then(|offset| u64::try_from(offset).ok());
        committed.tell(element.partition().unsigned_abs() as u16, offset);
    }
    Ok(())
}
