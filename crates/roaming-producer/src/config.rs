//! What a producer can be told.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use roaming_service::config::Settings;
use roaming_service::config::table::{PRODUCER_GRACE_S, PRODUCER_LISTEN, UNREAD_MIB};
use roaming_service::kafka::{Broker, CONSUMER_GROUP, KafkaSettings};
use tokio::sync::watch;

/// Port of `/metrics`, `/healthz` and `/readyz`.
pub const PORT: u16 = 9101;

/// Unread bytes in each partition on Kafka: a safety belt against consumers that fell behind, far above
/// what running ones leave.
const UNREAD_BYTES_KAFKA: u64 = 64 << 20;
/// The same on the embedded broker, which keeps 5 MiB of a partition and drops older records in silence.
const UNREAD_BYTES_EMBEDDED: u64 = 2 << 20;

/// Configuration of the producer.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the broker is.
    pub kafka: KafkaSettings,
    /// Where `/metrics` and the like are served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The option and the variable that change `listen`, for the message about a taken port.
    pub listen_setting: &'static str,
    /// How many bytes may stand unread in a partition of `roaming.events`.
    pub unread_bytes_max: u64,
    /// The consumer group whose committed offsets say what is read.
    pub consumer_group: String,
    /// How long a stop may take before it is given up, and what hangs is named.
    pub grace: Duration,
    /// Nothing is sent while this says `false`: on a broker that drops what nobody reads, a run must not
    /// start before the consumer owns all partitions.
    pub gate: Option<watch::Receiver<bool>>,
}

impl Config {
    /// Makes the configuration that the settings ask for.
    pub fn of(settings: &Settings) -> Self {
        Self {
            listen: settings.address(&PRODUCER_LISTEN),
            unread_bytes_max: settings.integer::<u64>(&UNREAD_MIB) << 20,
            grace: Duration::from_secs(settings.integer(&PRODUCER_GRACE_S)),
            ..Self::new(KafkaSettings::of_member(settings))
        }
    }

    /// Returns the defaults for a broker.
    pub fn new(kafka: KafkaSettings) -> Self {
        let unread_bytes_max = match kafka.broker {
            Broker::Kafka => UNREAD_BYTES_KAFKA,
            Broker::Embedded => UNREAD_BYTES_EMBEDDED,
        };
        Self {
            kafka,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
            listen_setting: "--listen or ROAMING_PRODUCER_LISTEN",
            unread_bytes_max,
            consumer_group: CONSUMER_GROUP.to_owned(),
            grace: Duration::from_secs(20),
            gate: None,
        }
    }
}
