//! Whether the log is the one that was counted, as far as its last counted record shows.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use roaming_service::kafka::{ClientError, KafkaSettings, LogContext};
use roaming_service::topics;

/// The longest that the broker may take to give the record.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that one question may take.
const POLL_TIMEOUT: Duration = Duration::from_millis(500);
const OPERATION: &str = "read the last counted record of roaming.events";

/// Returns the time that the log gives a record, in milliseconds since 1970, where it gives one.
pub(crate) fn log_time_ms(message: &impl Message) -> Option<u64> {
    u64::try_from(message.timestamp().to_millis()?).ok()
}

/// Returns the time that the log gives the record at `offset`; `None` where there is none any more.
///
/// Blocks for at most [`READ_TIMEOUT`].
pub(crate) fn read_time(
    settings: &KafkaSettings,
    partition: u16,
    offset: u64,
) -> Result<Option<u64>, ClientError> {
    let failed = |source| settings.explain(OPERATION, source);
    let client: BaseConsumer<LogContext> =
        settings.reader().create_with_context(LogContext::default()).map_err(failed)?;
    let mut place = TopicPartitionList::with_capacity(1);
    let first = Offset::Offset(offset.cast_signed());
    place.add_partition_offset(topics::EVENTS, i32::from(partition), first).map_err(failed)?;
    client.assign(&place).map_err(failed)?;
    let start = Instant::now();
    while start.elapsed() < READ_TIMEOUT {
        match client.poll(POLL_TIMEOUT) {
            Some(Ok(message)) if message.offset() == offset.cast_signed() => {
                return Ok(log_time_ms(&message));
            }
            // Retention has just removed it.
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => {
                let error = failed(error);
                if error.is_denial() {
                    return Err(error);
                }
                // It tries again by itself, for example with another broker.
            }
            None => {}
        }
    }
    Err(failed(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)))
}
