//! Whether the log is the one that was counted, as far as its last counted record shows.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use roaming_service::kafka::{ClientError, KafkaSettings, LogContext, forgotten_error};
use roaming_service::topics;

/// The longest that the broker may take to give a record.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that one question may take.
const POLL_TIMEOUT: Duration = Duration::from_millis(500);
const OPERATION: &str = "read the last counted record of roaming.events";

/// Returns the time that the log gives a record, in milliseconds since 1970, where it gives one.
pub(crate) fn log_time_ms(message: &impl Message) -> Option<u64> {
    u64::try_from(message.timestamp().to_millis()?).ok()
}

/// Reads last counted records, one after the other, all that are asked for at a time with one client.
pub(crate) struct LastRecords {
    settings: KafkaSettings,
    /// The client, for as long as somebody reads: it fetches as long as it is there, and what went wrong
    /// with it long ago is nothing that the next reader should hear.
    client: Mutex<Weak<Client>>,
}

/// Whoever holds the lock reads.
type Client = Mutex<BaseConsumer<LogContext>>;

impl LastRecords {
    pub(crate) fn new(settings: KafkaSettings) -> Self {
        Self { settings, client: Mutex::default() }
    }

    /// Returns the time that the log gives the record at `offset`; `None` where there is none any more.
    ///
    /// Blocks for at most [`READ_TIMEOUT`], and as long for each one that asked before.
    pub(crate) fn time_of(&self, partition: u16, offset: u64) -> Result<Option<u64>, ClientError> {
        let shared = self.client()?;
        // Who reads assigns anew: what somebody else has left half-done does not matter.
        let client = shared.lock().unwrap_or_else(PoisonError::into_inner);
        self.read(&client, partition, offset)
    }

    /// Returns the client that others read with, or makes one.
    fn client(&self) -> Result<Arc<Client>, ClientError> {
        let mut shared = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = shared.upgrade() {
            return Ok(client);
        }
        let mut config = self.settings.reader();
        // Partitions that are at their end are not waited for: the next one is to be read.
        config.set("fetch.wait.max.ms", "10");
        let client = config
            .create_with_context(LogContext::default())
            .map_err(|source| self.failed(source))?;
        let client = Arc::new(Mutex::new(client));
        *shared = Arc::downgrade(&client);
        Ok(client)
    }

    fn read(
        &self,
        client: &BaseConsumer<LogContext>,
        partition: u16,
        offset: u64,
    ) -> Result<Option<u64>, ClientError> {
        let (number, offset) = (i32::from(partition), offset.cast_signed());
        let mut place = TopicPartitionList::with_capacity(1);
        place
            .add_partition_offset(topics::EVENTS, number, Offset::Offset(offset))
            .and_then(|()| client.assign(&place))
            .map_err(|source| self.failed(source))?;
        let start = Instant::now();
        while start.elapsed() < READ_TIMEOUT {
            match client.poll(POLL_TIMEOUT) {
                // Left of what was read before.
                Some(Ok(message)) if message.partition() != number => {}
                Some(Err(KafkaError::PartitionEOF(other))) if other != number => {}
                Some(Ok(message)) if message.offset() == offset => {
                    return Ok(log_time_ms(&message));
                }
                // Retention has just removed it.
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                Some(Err(error)) => {
                    let error = self.failed(error);
                    if error.is_denial() {
                        return Err(error);
                    }
                    // It tries again by itself, for example with another broker.
                }
                None if client.context().brokers().are_forgotten() => {
                    // Who reads next makes another one.
                    *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Weak::new();
                    return Err(self.failed(forgotten_error()));
                }
                None => {}
            }
        }
        Err(self.failed(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)))
    }

    fn failed(&self, source: KafkaError) -> ClientError {
        self.settings.explain(OPERATION, source)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use roaming_service::kafka::Broker;

    use super::*;

    const PARTITIONS: u16 = 8;
    const RECORDS: u64 = 100;
    const DEADLINE: Duration = Duration::from_mins(1);

    fn time_ms(partition: u16, offset: u64) -> u64 {
        1_000_000 + u64::from(partition) * RECORDS + offset
    }

    /// Writes records with times of their own to every partition.
    fn fill(settings: &KafkaSettings) {
        let producer: BaseProducer = settings.producer().create().unwrap();
        for partition in 0..PARTITIONS {
            for offset in 0..RECORDS {
                let record = BaseRecord::<(), [u8]>::to(topics::EVENTS)
                    .partition(i32::from(partition))
                    .payload(b"record")
                    .timestamp(time_ms(partition, offset).cast_signed());
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
        }
        producer.flush(DEADLINE).unwrap();
    }

    #[test]
    fn partitions_read_their_records_with_one_client_that_is_gone_afterwards() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(topics::EVENTS, i32::from(PARTITIONS), 1).unwrap();
        let settings = KafkaSettings::new(cluster.bootstrap_servers(), Broker::Embedded);
        fill(&settings);
        let records = LastRecords::new(settings);
        let first = records.client().unwrap();
        thread::scope(|scope| {
            for partition in 0..PARTITIONS {
                let (records, first) = (&records, &first);
                scope.spawn(move || {
                    assert!(Arc::ptr_eq(first, &records.client().unwrap()));
                    for offset in [RECORDS - 1, 3] {
                        let found = records.time_of(partition, offset).unwrap();
                        assert_eq!(found, Some(time_ms(partition, offset)));
                    }
                    assert_eq!(records.time_of(partition, RECORDS).unwrap(), None);
                });
            }
        });
        drop(first);
        assert!(records.client.lock().unwrap().upgrade().is_none());
    }
}
