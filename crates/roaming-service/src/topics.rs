//! The topics: their names, what they keep, and how they come to be.

mod admin;

use std::future::Future;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

pub use admin::KafkaAdmin;

use crate::kafka::{ClientError, KafkaSettings, LogContext, REACH_TIMEOUT};

/// The events of all runs; the partition is the lane modulo the partition count.
pub const EVENTS: &str = "roaming.events";
/// The desired state of every run, and the log's token.
pub const SCENARIOS: &str = "roaming.scenarios";
/// Ownership and progress of lanes.
pub const LANES: &str = "roaming.lanes";
/// Labels of faults and fraud.
pub const TRUTH: &str = "roaming.truth";
/// What the detectors found.
pub const ALERTS: &str = "roaming.alerts";
/// Records of `roaming.events` that cannot be read.
pub const DEAD_LETTERS: &str = "roaming.events.dlq";

/// Partitions of `roaming.events` and of `roaming.lanes` where nothing else is asked for: enough for
/// eight replicas, few enough that each one's batches fill.
pub const PARTITIONS: u16 = 8;

/// How long one question for metadata may take; between two of them is looked for why there is no answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Events that are looked at between two questions; each failed connection leaves one or two.
const EVENTS_MAX: usize = 20;

/// What a topic keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Records for the broker's retention time.
    Delete,
    /// The last record of each key, compacted soon, so that reading it whole stays quick.
    Compact,
}

/// A topic as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: &'static str,
    /// How many partitions it has at least.
    pub partitions: u16,
    /// What it keeps.
    pub cleanup: Cleanup,
}

/// Returns every topic of the platform, with `events` and `lanes` partitions for the two that scale.
pub fn all(events: u16, lanes: u16) -> [TopicSpec; 6] {
    let topic = |name, partitions, cleanup| TopicSpec { name, partitions, cleanup };
    [
        topic(EVENTS, events, Cleanup::Delete),
        topic(SCENARIOS, 1, Cleanup::Compact),
        topic(LANES, lanes, Cleanup::Compact),
        topic(TRUTH, 1, Cleanup::Delete),
        topic(ALERTS, 1, Cleanup::Delete),
        topic(DEAD_LETTERS, 1, Cleanup::Delete),
    ]
}

/// Makes topics: the one seam between a broker with topic administration and one without.
pub trait TopicAdmin {
    /// Why topics could not be made.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Creates the topics that are missing and returns their names; leaves the others as they are.
    ///
    /// Called by `topics create` and by the lab before anything is sent. It may take as long as the
    /// broker does; calling it twice changes nothing.
    ///
    /// # Errors
    /// Fails where a topic exists with fewer partitions than it must have, or the broker refuses.
    fn ensure(
        &self,
        topics: &[TopicSpec],
    ) -> impl Future<Output = Result<Vec<&'static str>, Self::Error>> + Send;
}

/// Returns how many partitions a topic has.
///
/// # Errors
/// Fails where the topic does not exist, or no broker answers, or it does not let this client in. Blocks for
/// at most [`REACH_TIMEOUT`].
pub fn partitions(settings: &KafkaSettings, topic: &str) -> Result<u16, ClientError> {
    partitions_in(settings, &metadata(settings, Some(topic))?, topic)
}

/// Returns how many partitions a topic has, as the broker said.
///
/// # Errors
/// Fails where the topic does not exist, or this client may not know of it.
pub fn partitions_in(
    settings: &KafkaSettings,
    metadata: &Metadata,
    topic: &str,
) -> Result<u16, ClientError> {
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    match found {
        Some(found) if found.error().is_none() && !found.partitions().is_empty() => {
            Ok(found.partitions().len() as u16)
        }
        // Who may not even know of a topic is told so, not that it does not exist.
        Some(found)
            if found.error().map(RDKafkaErrorCode::from)
                == Some(RDKafkaErrorCode::TopicAuthorizationFailed) =>
        {
            let source = KafkaError::MetadataFetch(RDKafkaErrorCode::TopicAuthorizationFailed);
            Err(settings.explain(format!("look at topic {topic}"), source))
        }
        _ => Err(ClientError::UnknownTopic { topic: topic.to_owned() }),
    }
}

/// Asks the broker for what it has: one topic, or all.
fn metadata(settings: &KafkaSettings, topic: Option<&str>) -> Result<Metadata, ClientError> {
    let client: BaseConsumer<LogContext> = settings
        .admin()
        .create_with_context(LogContext::default())
        .map_err(|source| settings.explain("create a client", source))?;
    let start = Instant::now();
    loop {
        let source = match client.fetch_metadata(topic, ASK_TIMEOUT) {
            Ok(metadata) => return Ok(metadata),
            Err(source) => source,
        };
        // Why connections fail comes as events, which wait for a poll.
        for _ in 0..EVENTS_MAX {
            let _ = client.poll(Duration::ZERO);
        }
        if let Some(reason) = client.context().refusal() {
            let bootstrap_servers = settings.bootstrap_servers.clone();
            return Err(ClientError::Refused { bootstrap_servers, reason });
        }
        if start.elapsed() + ASK_TIMEOUT > REACH_TIMEOUT {
            return Err(match settings.explain("read metadata", source) {
                // A listener with TLS hangs up on who speaks without, and the library does not say so.
                ClientError::Unreachable { bootstrap_servers, source }
                    if is_listening(&bootstrap_servers) =>
                {
                    ClientError::NoAnswer { bootstrap_servers, source }
                }
                error => error,
            });
        }
    }
}

/// Whether anything takes connections at one of the addresses.
fn is_listening(servers: &str) -> bool {
    let connects = |address| TcpStream::connect_timeout(&address, ASK_TIMEOUT).is_ok();
    servers
        .split(',')
        .filter_map(|server| server.trim().to_socket_addrs().ok())
        .any(|mut addresses| addresses.any(connects))
}

/// Why topics are not as they must be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// A topic has fewer partitions than it must have.
    #[error(
        "topic {topic} has {found} partitions and must have {wanted}; add partitions with Kafka's own tools, or ask for fewer"
    )]
    TooFew {
        /// The topic.
        topic: &'static str,
        /// Its partitions.
        found: u16,
        /// The partitions that it must have.
        wanted: u16,
    },
    /// A topic's data is on fewer brokers than could hold it.
    #[error(
        "topic {topic} has {found} replicas and must have {wanted}; give it more with kafka-reassign-partitions.sh --execute --reassignment-json-file …"
    )]
    Replicas {
        /// The topic.
        topic: &'static str,
        /// Its replicas.
        found: usize,
        /// The replicas that the cluster can hold, up to three.
        wanted: usize,
    },
    /// A topic has a setting that the platform's promises do not rest on.
    #[error("topic {topic} has {setting}={found} and must have {wanted}; {remedy}")]
    Setting {
        /// The topic.
        topic: &'static str,
        /// The setting, by its name in Kafka.
        setting: &'static str,
        /// Its value.
        found: String,
        /// The values that are safe.
        wanted: String,
        /// What to do.
        remedy: String,
    },
    /// The client could not ask.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl TopicError {
    /// Returns the topic that it is about; empty where it is about none.
    pub fn topic(&self) -> &str {
        match self {
            Self::TooFew { topic, .. }
            | Self::Replicas { topic, .. }
            | Self::Setting { topic, .. } => topic,
            Self::Client(ClientError::UnknownTopic { topic }) => topic,
            Self::Client(_) => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::RDKafkaRespErr;

    use super::*;
    use crate::kafka::Broker;

    #[test]
    fn a_listener_that_is_no_plain_broker_is_told_from_none() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        // It hangs up on everybody, for as long as the test runs.
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let settings = KafkaSettings::new(address, Broker::Kafka);
        let error = partitions(&settings, EVENTS).expect_err("no broker");
        assert!(!error.is_denial());
        let said = error.to_string();
        assert!(said.contains("does not answer as a broker"), "{said}");
        assert!(said.contains("ROAMING_KAFKA_SECURITY"), "{said}");
    }

    #[test]
    fn a_topic_that_may_not_be_seen_is_named_with_what_grants_the_right() {
        let cluster = MockCluster::new(1).expect("a broker");
        cluster.create_topic(EVENTS, 1, 1).expect("a topic");
        let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        cluster.topic_error(EVENTS, denied).expect("an error");
        let settings = KafkaSettings::new(cluster.bootstrap_servers(), Broker::Embedded);
        let error = partitions(&settings, EVENTS).expect_err("denied");
        assert!(error.is_denial());
        let said = error.to_string();
        assert!(said.contains("to look at topic roaming.events; grant the right"), "{said}");
        assert!(said.contains("scripts/kafka-acls"), "{said}");
    }

    #[test]
    fn control_and_progress_are_compacted_and_the_scaling_topics_scale() {
        let topics = all(12, 6);
        let compacted: Vec<_> =
            topics.iter().filter(|topic| topic.cleanup == Cleanup::Compact).collect();
        assert_eq!(
            compacted.iter().map(|topic| topic.name).collect::<Vec<_>>(),
            [SCENARIOS, LANES]
        );
        assert_eq!((topics[0].partitions, topics[2].partitions), (12, 6));
    }
}
