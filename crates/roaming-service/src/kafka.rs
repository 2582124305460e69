//! The settings of every Kafka client, and what to do about its errors.

mod context;
mod known_brokers;
mod security;

use std::borrow::Cow;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::Settings;
use crate::config::table::{BOOTSTRAP_SERVERS, KAFKA_INSTANCE};

pub use context::{LogContext, log_library_error, log_library_line};
pub use known_brokers::KnownBrokers;
pub use security::{Identity, Scram, ScramMechanism, Security, Tls};

/// Consumer group of the producers, on `roaming.lanes`.
pub const PRODUCER_GROUP: &str = "roaming-producer";
/// Consumer group of the consumers, on `roaming.events`.
pub const CONSUMER_GROUP: &str = "roaming-consumer";

/// How long a client waits for a broker to answer the first question before it says that none does.
pub const REACH_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a group waits for a silent member before another one gets its partitions: the least that brokers allow
/// unless told otherwise (`group.min.session.timeout.ms`).
///
/// A group that comes back with its broker waits as long for members that were given up meanwhile.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// How soon after a member joined again under its name, because it was taken for another one, the same means that
/// there are two with that name.
///
/// One alone is taken for two where it was silent for longer than its session time-out: librdkafka 2.12 then
/// speaks once more as the one that it was.
pub const REPLACED_INTERVAL: Duration = Duration::from_secs(30);

/// What kind of broker the clients talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Broker {
    /// Apache Kafka, or what behaves like it.
    #[default]
    Kafka,
    /// The in-process broker of librdkafka: it checks no producer sequences, and a fetch that finds
    /// nothing keeps it from answering for as long as the fetch allows.
    Embedded,
}

/// Where the broker is, of which kind, and how it is reached: all that a client's settings depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// Addresses `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// The kind of broker.
    pub broker: Broker,
    /// What protects the connections.
    pub security: Security,
    /// The name that a member of a group keeps when it is started again; `None` for one that the group takes for
    /// another then.
    pub instance: Option<String>,
}

impl KafkaSettings {
    /// Makes the settings for Apache Kafka as a program is configured.
    pub fn of(settings: &Settings) -> Self {
        let servers = settings.text(&BOOTSTRAP_SERVERS);
        Self { security: Security::of(settings), ..Self::new(servers, Broker::Kafka) }
    }

    /// Makes the same for a daemon, which is a member of a group.
    pub fn of_member(settings: &Settings) -> Self {
        let instance = settings.find(&KAFKA_INSTANCE).map(|(instance, _)| instance.to_owned());
        Self { instance, ..Self::of(settings) }
    }

    /// Makes the settings for a broker that is reached without protection.
    pub fn new(bootstrap_servers: impl Into<String>, broker: Broker) -> Self {
        let bootstrap_servers = bootstrap_servers.into();
        Self { bootstrap_servers, broker, security: Security::default(), instance: None }
    }

    /// Returns the settings of a client that sends: it leaves no holes, and drops nothing.
    pub fn producer(&self) -> ClientConfig {
        let mut config = self.watched();
        config
            // The broker drops repeated batches and refuses those out of order…
            .set("enable.idempotence", "true")
            // …only where each one is held by all replicas in sync.
            .set("acks", "all")
            // A failed record fails all that follow, instead of leaving a hole before them.
            .set("enable.gapless.guarantee", "true")
            // A record waits for as long as the broker is away; the default drops it after five minutes.
            .set("message.timeout.ms", "0")
            // The embedded broker checks no sequences, so that two requests on their way could
            // change places; Kafka allows up to five with idempotence.
            .set("max.in.flight", self.of_broker("5", "1"))
            // JSON repeats itself and shrinks well; lz4 is the codec that costs least and is built in.
            .set("compression.type", "lz4")
            // Long enough to fill batches at speed, also where many producers share the work; short enough
            // not to be seen when paced.
            .set("linger.ms", self.of_broker("20", "5"))
            // Bounded memory: at either bound a send is refused, and the sender waits.
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "65536");
        config
    }

    /// Returns the settings of a member of `group`, which stores its offsets elsewhere.
    pub fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.watched();
        config
            .set("group.id", group)
            // Offsets are committed after the store has the work, and by nobody else.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // An offset that retention overtook is reported, never skipped. Where there is none yet,
            // the owner assigns the first one itself.
            .set("auto.offset.reset", "error")
            // A rebalance stops only the partitions that move.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", SESSION_TIMEOUT.as_millis().to_string())
            // A member hears of a rebalance in the answer to a heartbeat: partitions that move wait for it.
            .set("heartbeat.interval.ms", "500")
            // Bounded memory: at the bound, fetching pauses.
            .set("queued.max.messages.kbytes", "16384")
            // There it looks again soon: the default of a second leaves a fast reader without work.
            .set("fetch.queue.backoff.ms", "10");
        if let Some(instance) = &self.instance {
            config.set("group.instance.id", instance);
        }
        self.fetching(&mut config);
        config
    }

    /// Returns the settings of a client that reads partitions from the start without joining a group,
    /// and is told where they end.
    pub fn reader(&self) -> ClientConfig {
        let mut config = self.watched();
        config
            // The library wants a name even where no group is joined and nothing is committed.
            .set("group.id", "roaming-reader")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // What compaction or retention removed meanwhile is no loss for who reads the whole.
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", "4096");
        self.fetching(&mut config);
        config
    }

    /// Returns the settings of a client that only asks and administers.
    pub fn admin(&self) -> ClientConfig {
        self.common()
    }

    /// What the clients have in common that somebody polls: their statistics say whether they know a broker, see
    /// [`KnownBrokers`]. With a client that nobody polls they would pile up.
    fn watched(&self) -> ClientConfig {
        let mut config = self.common();
        config.set("statistics.interval.ms", known_brokers::STATISTICS_INTERVAL_MS);
        config
    }

    fn common(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", "roaming")
            // A misspelt topic is an error, not a new topic with the broker's defaults.
            .set("allow.auto.create.topics", "false")
            // A broker that comes back is found within two seconds.
            .set("reconnect.backoff.max.ms", "2000")
            // The library's own lines come through `tracing`, see `LogContext`.
            .set_log_level(RDKafkaLogLevel::Warning);
        self.security.apply(&mut config);
        config
    }

    fn fetching(&self, config: &mut ClientConfig) {
        config.set("fetch.wait.max.ms", self.of_broker("100", "10"));
    }

    fn of_broker(&self, kafka: &'static str, embedded: &'static str) -> &'static str {
        match self.broker {
            Broker::Kafka => kafka,
            Broker::Embedded => embedded,
        }
    }

    /// Says what an error of a client means, and what to do.
    pub fn explain(
        &self,
        operation: impl Into<Cow<'static, str>>,
        source: KafkaError,
    ) -> ClientError {
        use RDKafkaErrorCode as Code;
        let operation = operation.into();
        let code = match &source {
            // The library gives no code for these.
            KafkaError::AdminOp(code) => Some(*code),
            source => source.rdkafka_error_code(),
        };
        match code {
            Some(
                Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::OperationTimedOut,
            ) => ClientError::Unreachable {
                bootstrap_servers: self.bootstrap_servers.clone(),
                source,
            },
            Some(
                Code::Authentication
                | Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::SaslAuthenticationFailed,
            ) => ClientError::Denied { operation, source },
            Some(Code::FencedInstanceId) => ClientError::Replaced {
                instance: self.instance.clone().unwrap_or_default(),
                source,
            },
            _ => ClientError::Operation { operation, source },
        }
    }
}

/// Returns the error of a client that [has forgotten all brokers](KnownBrokers).
pub const fn forgotten_error() -> KafkaError {
    KafkaError::Global(RDKafkaErrorCode::AllBrokersDown)
}

/// Returns what a client says, or why it is lost for good where it is: the library keeps the reason apart.
pub fn fatal_or<C: ClientContext>(client: &Client<C>, error: KafkaError) -> KafkaError {
    client.fatal_error().map_or(error, |(code, _)| KafkaError::MessageConsumptionFatal(code))
}

/// Why a Kafka client could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No broker answers.
    #[error(
        "no broker answers at {bootstrap_servers}; start it, or name it with --bootstrap-servers or BOOTSTRAP_SERVERS"
    )]
    Unreachable {
        /// The addresses that were tried.
        bootstrap_servers: String,
        /// What the client saw.
        source: KafkaError,
    },
    /// Something listens at an address, and does not answer.
    #[error(
        "what listens at {bootstrap_servers} does not answer as a broker; wait until it has started, or set kafka.security to what its listener asks for (--kafka-security, ROAMING_KAFKA_SECURITY)"
    )]
    NoAnswer {
        /// The addresses that were tried.
        bootstrap_servers: String,
        /// What the client saw.
        source: KafkaError,
    },
    /// The broker refuses this client.
    #[error(
        "the broker does not allow this client to {operation}; grant the right (scripts/kafka-acls grants each identity those it needs), or use other credentials"
    )]
    Denied {
        /// What was tried.
        operation: Cow<'static, str>,
        /// What the broker said.
        source: KafkaError,
    },
    /// The broker and this client do not accept each other.
    #[error(
        "the broker at {bootstrap_servers} and this client do not accept each other: {reason}; check the settings kafka.security, kafka.ca, kafka.certificate, kafka.username and kafka.password (`config --print` shows them)"
    )]
    Refused {
        /// The addresses that were tried.
        bootstrap_servers: String,
        /// Why, in the client library's words.
        reason: String,
    },
    /// Another member of the group has the name of this one.
    #[error(
        "another member of the group has the name `{instance}`; give each replica a name of its own (kafka.instance, --kafka-instance, ROAMING_KAFKA_INSTANCE)"
    )]
    Replaced {
        /// The name.
        instance: String,
        /// What the client saw.
        source: KafkaError,
    },
    /// A topic is missing.
    #[error("topic {topic} does not exist; create it with `roaming-producer topics create`")]
    UnknownTopic {
        /// The topic's name.
        topic: String,
    },
    /// The log has no identity yet.
    #[error("topic {topic} holds no token of this log; write it with `roaming-producer topics create`", topic = crate::topics::SCENARIOS)]
    NoToken,
    /// Anything else that the broker or the client library says.
    #[error("could not {operation}")]
    Operation {
        /// What was tried.
        operation: Cow<'static, str>,
        /// What was said.
        source: KafkaError,
    },
}

impl ClientError {
    /// Whether the broker refuses this very client: waiting does not mend that, a person does.
    pub fn is_denial(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Refused { .. })
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;
    use rdkafka::producer::BaseProducer;

    use super::*;

    fn settings(broker: Broker) -> KafkaSettings {
        KafkaSettings::new("localhost:1", broker)
    }

    #[test]
    fn the_library_accepts_all_settings() {
        for broker in [Broker::Kafka, Broker::Embedded] {
            let settings = settings(broker);
            settings.producer().create::<BaseProducer>().expect("producer");
            settings.consumer(CONSUMER_GROUP).create::<BaseConsumer>().expect("consumer");
            settings.reader().create::<BaseConsumer>().expect("reader");
            settings.admin().create::<BaseProducer>().expect("admin");
        }
    }

    #[test]
    fn the_library_is_built_with_tls_and_scram() {
        for mechanism in [ScramMechanism::Sha256, ScramMechanism::Sha512] {
            let mut settings = settings(Broker::Kafka);
            let (username, password) = ("producer".to_owned(), crate::Secret::new("hunter2"));
            settings.security.tls = Some(Tls::default());
            settings.security.scram = Some(Scram { mechanism, username, password });
            settings.producer().create::<BaseProducer>().expect("producer");
        }
    }

    #[test]
    fn the_embedded_broker_gets_one_request_at_a_time() {
        assert_eq!(settings(Broker::Embedded).producer().get("max.in.flight"), Some("1"));
        assert_eq!(settings(Broker::Kafka).producer().get("max.in.flight"), Some("5"));
    }

    #[test]
    fn a_right_that_an_administrator_lacks_is_told_as_one() {
        let source = KafkaError::AdminOp(RDKafkaErrorCode::TopicAuthorizationFailed);
        let error = settings(Broker::Kafka).explain("create topic x", source);
        assert!(error.is_denial());
        assert!(error.to_string().contains("to create topic x; grant the right"), "{error}");
    }

    #[test]
    fn an_absent_broker_is_named_with_the_setting_that_changes_it() {
        let source = KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure);
        let message = settings(Broker::Kafka).explain("read metadata", source).to_string();
        assert!(
            message.contains("localhost:1") && message.contains("BOOTSTRAP_SERVERS"),
            "{message}"
        );
    }
}
