//! The bare clients: what the library does with the product's settings when nobody thinks.
//!
//! Each runs in a process of its own and prints its figures as JSON.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use roaming_service::kafka::{Broker, CONSUMER_GROUP, KafkaSettings};
use serde::{Deserialize, Serialize};

use crate::process::{Cpu, peak_memory_kib};

/// The topic of the events.
pub(crate) const TOPIC: &str = "roaming.events";
/// How long the broker may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What was measured once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Seconds from the first record to the last.
    pub(crate) seconds: f64,
    /// Processor time of that span.
    pub(crate) cpu: Cpu,
    /// The most memory that was resident until its end.
    pub(crate) memory_kib: u64,
}

impl Measured {
    /// Ends a measurement of a process that took `seconds` and had used `before` at its beginning.
    ///
    /// # Errors
    /// Fails where there is no such process.
    pub(crate) fn of(process: u32, seconds: f64, before: &Cpu) -> Result<Self> {
        let cpu = Cpu::of(process)?.since(before);
        Ok(Self { seconds, cpu, memory_kib: peak_memory_kib(process)? })
    }
}

/// One record as it stood on the topic.
struct Recorded {
    partition: i32,
    created_ms: i64,
    key: Vec<u8>,
    payload: Vec<u8>,
}

/// Writes the records of the topic to a file, in the order in which the producer made them.
///
/// # Errors
/// Fails where the topic or the file cannot be had.
pub(crate) fn keep(servers: &str, path: &Path) -> Result<()> {
    let mut records = Vec::new();
    let settings = KafkaSettings::new(servers, Broker::Kafka);
    let consumer: BaseConsumer = settings.reader().create()?;
    read_all(&consumer, |message| {
        records.push(Recorded {
            partition: message.partition(),
            created_ms: message.timestamp().to_millis().unwrap_or_default(),
            key: message.key().unwrap_or_default().to_vec(),
            payload: message.payload().unwrap_or_default().to_vec(),
        });
    })?;
    // Stable: the order inside a partition stays.
    records.sort_by_key(|record| record.created_ms);
    let mut file = BufWriter::new(File::create(path)?);
    for Recorded { partition, key, payload, .. } in &records {
        file.write_all(&partition.to_le_bytes())?;
        file.write_all(&u32::try_from(key.len())?.to_le_bytes())?;
        file.write_all(&u32::try_from(payload.len())?.to_le_bytes())?;
        file.write_all(key)?;
        file.write_all(payload)?;
    }
    Ok(file.flush()?)
}

/// Sends what [`keep`] kept, from memory, so many `times`.
///
/// # Errors
/// Fails where the file cannot be read or a record is not delivered.
pub(crate) fn produce(servers: &str, path: &Path, times: u64) -> Result<Measured> {
    let mut octets = Vec::new();
    File::open(path)?.read_to_end(&mut octets)?;
    let settings = KafkaSettings::new(servers, Broker::Kafka);
    let producer: BaseProducer<Acknowledged> =
        settings.producer().create_with_context(Acknowledged::default())?;
    producer.client().fetch_metadata(Some(TOPIC), ANSWER_LIMIT)?;
    let (before, begin) = (Cpu::of(std::process::id())?, Instant::now());
    let mut sent = 0;
    for (partition, key, payload) in (0..times).flat_map(|_| records(&octets)) {
        let mut record = BaseRecord::to(TOPIC).partition(partition).key(key).payload(payload);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    // Not in the poll, which spins for the last millisecond of its wait.
                    thread::sleep(Duration::from_millis(1));
                    producer.poll(Duration::ZERO);
                }
                Err((error, _)) => return Err(error).context("a record was not taken"),
            }
        }
        sent += 1;
        if sent % 256 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    while producer.context().count.load(Ordering::Relaxed) < sent {
        producer.poll(Duration::from_millis(2));
    }
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(producer.context().failed.load(Ordering::Relaxed) == 0, "records were not delivered");
    Measured::of(std::process::id(), seconds, &before)
}

/// Reads the topic from its beginning to its end.
///
/// # Errors
/// Fails where the broker does.
pub(crate) fn consume(servers: &str) -> Result<Measured> {
    let settings = KafkaSettings::new(servers, Broker::Kafka);
    let mut config = settings.consumer(CONSUMER_GROUP);
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create()?;
    let before = Cpu::of(std::process::id())?;
    let mut octets = 0;
    let seconds = read_all(&consumer, |message| octets += message.payload_len())?;
    ensure!(octets > 0, "the topic is empty");
    Measured::of(std::process::id(), seconds, &before)
}

/// Reads all partitions to their ends; returns the seconds since they were assigned.
fn read_all(consumer: &BaseConsumer, mut each: impl FnMut(&BorrowedMessage<'_>)) -> Result<f64> {
    let metadata = consumer.fetch_metadata(Some(TOPIC), ANSWER_LIMIT)?;
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
        partitions.add_partition_offset(TOPIC, partition.id(), Offset::Beginning)?;
    }
    let begin = Instant::now();
    consumer.assign(&partitions)?;
    let mut open = partitions.count();
    while open > 0 {
        match consumer.poll(ANSWER_LIMIT) {
            Some(Ok(message)) => each(&message),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(error).context("the topic cannot be read"),
            None => bail!("the broker sends nothing for {ANSWER_LIMIT:?}"),
        }
    }
    Ok(begin.elapsed().as_secs_f64())
}

/// Returns the records that [`keep`] wrote.
fn records(mut octets: &[u8]) -> impl Iterator<Item = (i32, &[u8], &[u8])> {
    std::iter::from_fn(move || take(&mut octets))
}

/// Takes the next record off the octets that [`keep`] wrote.
fn take<'a>(rest: &mut &'a [u8]) -> Option<(i32, &'a [u8], &'a [u8])> {
    let (head, tail) = rest.split_first_chunk::<12>()?;
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (key, tail) = tail.split_at_checked(number(4) as usize)?;
    let (payload, tail) = tail.split_at_checked(number(8) as usize)?;
    *rest = tail;
    Some((number(0).cast_signed(), key, payload))
}

/// Counts what the broker says of each record.
#[derive(Default)]
struct Acknowledged {
    count: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
    }
}
