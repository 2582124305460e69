//! What can happen to the platform.

use std::fmt;
use std::time::Duration;

use crate::services::PostgresOptions;

/// How long a consumer's or producer's group waits for a silent member: `session.timeout.ms` of the clients.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// Size of the store's own disk in MiB: far more than a run needs.
const DISK_MIB: u32 = 384;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `kill -9` of a consumer, which stays away until the other one counts for it.
    ConsumerKilled,
    /// `kill -9` of a consumer without a name, which is started again at once: the group waits for the dead one.
    ConsumerRestarted,
    /// `kill -9` of a producer, which stays away until the other one sends for it.
    ProducerKilled,
    /// `kill -9` of a producer, which is started again at once.
    ProducerRestarted,
    /// A consumer stands still (SIGSTOP) until past its session time-out the other one counts for it, and
    /// goes on.
    ConsumerFrozen,
    /// A producer stands still until past its session time-out the other one sends for it, and goes on.
    ProducerFrozen,
    /// All connections of a consumer are cut, and each new one.
    ConsumerCut,
    /// All connections of a producer are cut, and each new one.
    ProducerCut,
    /// Nothing passes between one daemon and the services; connections stay open and go on.
    NetworkHeld,
    /// One daemon's requests pass, the brokers' and the store's answers are lost.
    AnswersLost,
    /// The store's answers are lost, of commits too, for both consumers.
    StoreAnswersLost,
    /// Everything takes longer between one daemon and the services.
    NetworkDelayed,
    /// A consumer's wall clock jumps by minutes, forward or back, and stays so.
    ConsumerClock,
    /// A producer's wall clock jumps back by minutes, and then forward to the right time.
    ProducerClock,
    /// A broker stands still and goes on.
    BrokerFrozen,
    /// A broker is stopped in order and started again.
    BrokerRestarted,
    /// `kill -9` of a broker, which is started again.
    BrokerKilled,
    /// Nobody reaches a broker from outside; the brokers reach each other.
    BrokerCut,
    /// `kill -9` of the broker that leads the most partitions; it comes back after the others lead.
    LeaderLost,
    /// A broker stands still until it is in sync nowhere, and comes back.
    ReplicaLate,
    /// PostgreSQL is stopped and started again.
    StoreRestarted,
    /// PostgreSQL's disk is full for a while.
    DiskFull,
    /// `kill -9` of a consumer with a name, by which the group knows it again, and which is started at once.
    NamedConsumerRestarted,
    /// PostgreSQL is stopped for a minute.
    StoreAway,
}

/// From when on recovery is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From the fault on: what is left takes over.
    Fault,
    /// From its end on.
    Heal,
}

/// What there is to do faults to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One broker and a store on a common disk.
    Short,
    /// Three brokers, and a store on a disk of its own.
    Long,
}

impl Form {
    /// Returns how many brokers there are.
    pub const fn brokers(self) -> u16 {
        match self {
            Self::Short => 1,
            Self::Long => 3,
        }
    }

    /// Returns what kind of store there is.
    pub fn postgres(self) -> PostgresOptions {
        match self {
            Self::Short => PostgresOptions::default(),
            Self::Long => PostgresOptions {
                // Its logs of what it writes would fill the disk by themselves.
                settings: "min_wal_size = 32MB\nmax_wal_size = 64MB\n".to_owned(),
                disk_mib: Some(DISK_MIB),
                ..PostgresOptions::default()
            },
        }
    }

    /// Returns the kinds of faults that can happen.
    pub fn kinds(self) -> Vec<Kind> {
        let of_long = [Kind::LeaderLost, Kind::ReplicaLate, Kind::DiskFull];
        Kind::ALL.into_iter().filter(|kind| self == Self::Long || !of_long.contains(kind)).collect()
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::ConsumerKilled,
        Self::ConsumerRestarted,
        Self::ProducerKilled,
        Self::ProducerRestarted,
        Self::ConsumerFrozen,
        Self::ProducerFrozen,
        Self::ConsumerCut,
        Self::ProducerCut,
        Self::NetworkHeld,
        Self::AnswersLost,
        Self::StoreAnswersLost,
        Self::NetworkDelayed,
        Self::ConsumerClock,
        Self::ProducerClock,
        Self::BrokerFrozen,
        Self::BrokerRestarted,
        Self::BrokerKilled,
        Self::BrokerCut,
        Self::LeaderLost,
        Self::ReplicaLate,
        Self::StoreRestarted,
        Self::DiskFull,
        Self::NamedConsumerRestarted,
        Self::StoreAway,
    ];

    /// Returns from when on its recovery is measured.
    pub const fn since(self) -> Since {
        match self {
            Self::ConsumerKilled
            | Self::ConsumerRestarted
            | Self::NamedConsumerRestarted
            | Self::ProducerKilled
            | Self::ProducerRestarted
            | Self::ConsumerFrozen
            | Self::ProducerFrozen
            | Self::ConsumerClock
            | Self::LeaderLost
            | Self::ReplicaLate => Since::Fault,
            _ => Since::Heal,
        }
    }

    /// Returns how long recovery may take, where a goal is set.
    pub const fn goal(self) -> Option<Duration> {
        match self {
            Self::ConsumerKilled | Self::ConsumerRestarted => {
                Some(Duration::from_secs(SESSION_TIMEOUT.as_secs() + 3))
            }
            Self::NamedConsumerRestarted => Some(Duration::from_secs(5)),
            Self::BrokerRestarted | Self::BrokerKilled => Some(Duration::from_secs(10)),
            _ => None,
        }
    }

    /// Returns the shortest and the longest that it lasts, in milliseconds.
    pub(super) const fn length_ms(self) -> (u64, u64) {
        match self {
            Self::ConsumerCut | Self::ProducerCut | Self::NetworkHeld => (1000, 14_000),
            Self::BrokerCut => (500, 12_000),
            Self::StoreRestarted => (500, 20_000),
            Self::StoreAway => (60_000, 60_000),
            // A broker that is silent for nine seconds loses its place in the cluster. Where it is the only one,
            // its next answer names no broker, and clients may forget all of them.
            Self::BrokerFrozen => (500, 14_000),
            _ => (3000, 8000),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ConsumerKilled => "consumer killed",
            Self::ConsumerRestarted => "consumer killed and started",
            Self::NamedConsumerRestarted => "named one killed, started",
            Self::ProducerKilled => "producer killed",
            Self::ProducerRestarted => "producer killed and started",
            Self::ConsumerFrozen => "consumer frozen",
            Self::ProducerFrozen => "producer frozen",
            Self::ConsumerCut => "consumer cut off",
            Self::ProducerCut => "producer cut off",
            Self::NetworkHeld => "network held",
            Self::AnswersLost => "answers lost",
            Self::StoreAnswersLost => "store's answers lost",
            Self::NetworkDelayed => "network delayed",
            Self::ConsumerClock => "consumer's clock jumped",
            Self::ProducerClock => "producer's clock jumped",
            Self::BrokerFrozen => "broker frozen",
            Self::BrokerRestarted => "broker restarted",
            Self::BrokerKilled => "broker killed and started",
            Self::BrokerCut => "broker cut off",
            Self::LeaderLost => "leader lost",
            Self::ReplicaLate => "replica out of sync",
            Self::StoreRestarted => "PostgreSQL restarted",
            Self::DiskFull => "PostgreSQL's disk full",
            Self::StoreAway => "PostgreSQL away for 60 s",
        })
    }
}
