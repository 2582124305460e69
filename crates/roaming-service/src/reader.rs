//! Reads a whole topic from its start, and follows it.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::timeout;

use crate::kafka::{ClientError, KafkaSettings, LogContext, forgotten_error};
use crate::topics;

/// How often a reader to whom nothing comes looks whether it knows a broker.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A record as it stands on the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRecord {
    /// Its partition.
    pub partition: u16,
    /// Its place in the partition.
    pub offset: u64,
    /// Its key; empty where it has none.
    pub key: Vec<u8>,
    /// Its value; `None` for a tombstone.
    pub payload: Option<Vec<u8>>,
}

/// What a [`TopicReader`] says next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// One record; records of one partition come in order.
    Record(TopicRecord),
    /// Every partition has been read to where it ended at some time after the reader was opened. Said
    /// once; what comes later is new.
    End,
}

/// A reader of all partitions of one topic, outside any group.
pub struct TopicReader {
    topic: &'static str,
    consumer: StreamConsumer<LogContext>,
    settings: KafkaSettings,
    /// Partitions whose end has not been seen; `None` once [`Read::End`] was said.
    unread: Option<BTreeSet<i32>>,
}

impl TopicReader {
    /// Opens a topic at its start. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// Fails where the topic does not exist, or no broker answers within
    /// [`REACH_TIMEOUT`](crate::kafka::REACH_TIMEOUT).
    pub async fn open(settings: &KafkaSettings, topic: &'static str) -> Result<Self, ClientError> {
        let asking = settings.clone();
        let asked = tokio::task::spawn_blocking(move || topics::partitions(&asking, topic)).await;
        let partitions = asked.expect("asking for metadata does not panic")?;
        let consumer: StreamConsumer<LogContext> = settings
            .reader()
            .create_with_context(LogContext::default())
            .map_err(|source| settings.explain("create a client", source))?;
        let mut assignment = TopicPartitionList::with_capacity(usize::from(partitions));
        for partition in 0..i32::from(partitions) {
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .map_err(|source| settings.explain("assign partitions", source))?;
        }
        consumer
            .assign(&assignment)
            .map_err(|source| settings.explain("assign partitions", source))?;
        let unread = Some((0..i32::from(partitions)).collect());
        Ok(Self { topic, consumer, settings: settings.clone(), unread })
    }

    /// Returns the next record, or that the end was reached; waits for as long as there is neither.
    ///
    /// A broker that is away is waited for.
    ///
    /// # Errors
    /// Fails where the topic is gone or may not be read, and where the client has
    /// [forgotten all brokers](crate::kafka::KnownBrokers): open another one then.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Read, ClientError> {
        loop {
            if self.unread.as_ref().is_some_and(BTreeSet::is_empty) {
                self.unread = None;
                return Ok(Read::End);
            }
            let Ok(received) = timeout(LOOK_INTERVAL, self.consumer.recv()).await else {
                if self.consumer.context().brokers().are_forgotten() {
                    return Err(self.settings.explain("read a topic", forgotten_error()));
                }
                continue;
            };
            match received {
                Ok(message) => {
                    return Ok(Read::Record(TopicRecord {
                        partition: message.partition().unsigned_abs() as u16,
                        offset: message.offset().unsigned_abs(),
                        key: message.key().unwrap_or_default().to_vec(),
                        payload: message.payload().map(<[u8]>::to_vec),
                    }));
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    if let Some(unread) = &mut self.unread {
                        unread.remove(&partition);
                    }
                }
                Err(error) if is_lasting(&error) => {
                    return Err(match error.rdkafka_error_code() {
                        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                            ClientError::UnknownTopic { topic: self.topic.to_owned() }
                        }
                        _ => self.settings.explain(format!("read topic {}", self.topic), error),
                    });
                }
                // The client logged it through its context and tries again by itself.
                Err(_) => {}
            }
        }
    }
}

/// Whether waiting does not mend an error.
fn is_lasting(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::GroupAuthorizationFailed
            )
        )
}
