//! A daemon, its own way to the services, and its own clock.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::clock::Clock;
use crate::services::{Postgres, Proxy};
use crate::{Daemon, Platform};

/// What a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Producer,
    Consumer,
}

impl Role {
    /// The metric of what a replica has a share of, and how much all replicas have of it together: lanes of
    /// the run, partitions of its topic.
    pub(super) const fn shares(self) -> (&'static str, u64) {
        match self {
            Self::Producer => ("roaming_producer_lanes_owned", 64),
            Self::Consumer => ("roaming_partitions_owned", 8),
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Producer => "roaming-producer",
            Self::Consumer => "roaming-consumer",
        }
    }
}

/// One of several replicas of a daemon.
pub(super) struct Replica<'a> {
    pub(super) role: Role,
    pub(super) name: String,
    pub(super) daemon: Daemon,
    pub(super) network: Network<'a>,
    pub(super) clock: Clock,
    is_named: bool,
}

impl<'a> Replica<'a> {
    /// Starts it, the first of a role as a member with a name, so that it reaches the brokers by one of Kafka's ways.
    pub(super) fn start(
        platform: &'a Platform,
        postgres: &Postgres,
        clock_library: &Path,
        (role, number): (Role, usize),
        way: usize,
    ) -> Result<Self> {
        let name = format!("{}-{number}", role.program().trim_start_matches("roaming-"));
        let mut network = Network {
            brokers: platform.kafka.way(way),
            store: Proxy::start(0, postgres.address()).context("no proxy before PostgreSQL")?,
            dsn: String::new(),
        };
        network.give_store(postgres, &platform.dsn);
        let clock =
            Clock::create(clock_library, platform.kafka.folder().join(format!("{name}.clock")))?;
        let is_named = number == 1;
        let daemon = launch(platform, role, (&name, is_named), &network, &clock)?;
        Ok(Self { role, name, daemon, network, clock, is_named })
    }

    /// Starts it again after its death.
    pub(super) fn start_again(&mut self, platform: &Platform) -> Result<()> {
        let name = (self.name.as_str(), self.is_named);
        self.daemon = launch(platform, self.role, name, &self.network, &self.clock)?;
        Ok(())
    }

    /// Whether it ended because its client took itself, silent for longer than the session time-out and back,
    /// for two: what is known to happen to members with a name.
    pub(super) fn was_replaced(&self) -> Result<bool> {
        Ok(self.is_named && self.daemon.lines_with("another member of the group has the name")? > 0)
    }
}

fn launch(
    platform: &Platform,
    role: Role,
    (name, is_named): (&str, bool),
    network: &Network<'_>,
    clock: &Clock,
) -> Result<Daemon> {
    let mut command = platform.command(role.program())?;
    command
        .args(["run", "--listen", "127.0.0.1:0"])
        .env("BOOTSTRAP_SERVERS", network.bootstrap_servers())
        .env("POSTGRES_DSN", &network.dsn);
    if is_named {
        command.env("ROAMING_KAFKA_INSTANCE", name);
    }
    clock.give(&mut command);
    platform.daemon(name, &command)
}

/// How one daemon reaches the services.
pub(super) struct Network<'a> {
    brokers: &'a [Proxy],
    pub(super) store: Proxy,
    dsn: String,
}

impl Network<'_> {
    /// Leads to another database of the same server, whose DSN this is.
    pub(super) fn give_store(&mut self, postgres: &Postgres, dsn: &str) {
        let (server, proxy) = (postgres.address().to_string(), self.store.address().to_string());
        self.dsn = dsn.replace(&server, &proxy);
    }

    fn bootstrap_servers(&self) -> String {
        let addresses = self.brokers.iter().map(Proxy::address);
        addresses.map(|address: SocketAddr| address.to_string()).collect::<Vec<_>>().join(",")
    }

    /// The way to one broker.
    pub(super) fn broker(&self, node: usize) -> &Proxy {
        &self.brokers[node]
    }

    fn lines(&self) -> impl Iterator<Item = &Proxy> {
        self.brokers.iter().chain([&self.store])
    }

    pub(super) fn cut(&self) {
        self.lines().for_each(Proxy::cut);
    }

    pub(super) fn hold(&self) {
        self.lines().for_each(Proxy::hold);
    }

    pub(super) fn lose_answers(&self) {
        self.lines().for_each(Proxy::lose_answers);
    }

    pub(super) fn delay(&self, delay: Duration) {
        self.lines().for_each(|line| line.delay(delay));
    }

    pub(super) fn heal(&self) {
        self.lines().for_each(Proxy::heal);
        self.delay(Duration::ZERO);
    }
}
