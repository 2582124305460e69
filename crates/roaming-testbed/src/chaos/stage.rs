//! The platform to which faults happen.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roaming_testkit::Stream;

use super::kind::{Form, Kind, Since};
use super::recovery::{counted_anew, partitions};
use super::replica::{Replica, Role};
use super::{clock, recovery};
use crate::services::Postgres;
use crate::wait::wait_until;
use crate::{Daemon, Platform};

/// How long recovery may take where no goal is set, and how long is waited where one is.
pub(super) const RECOVERY_LIMIT: Duration = Duration::from_mins(1);
/// How long the replicas may take to share the partitions, and replicas to be in sync.
const SETTLE_LIMIT: Duration = Duration::from_mins(1);
/// Undisturbed time after a fault, in milliseconds.
const CALM_MS: (u64, u64) = (500, 3000);
/// How much longer octets take on a slow network, in milliseconds.
const DELAY_MS: (u64, u64) = (50, 400);
/// How far a clock jumps, in milliseconds.
const JUMP_MS: (u64, u64) = (60_000, 600_000);
/// Topics that are in sync before the next fault: the events, and what the groups and producers know.
const TOPICS: [&str; 3] = ["roaming.events", "roaming.lanes", "__consumer_offsets"];

/// Services, two producers and two consumers, each with its own way to the services.
pub(super) struct Stage<'a> {
    platform: &'a Platform,
    postgres: &'a Postgres,
    form: Form,
    /// Two producers, then two consumers; the first of each has a name.
    replicas: Vec<Replica<'a>>,
}

/// One fault, all drawn.
struct Fault {
    kind: Kind,
    /// The replica that it happens to.
    replica: usize,
    /// The node that it happens to.
    node: usize,
    length: Duration,
    delay: Duration,
    jump_ms: i64,
}

impl<'a> Stage<'a> {
    /// How many ways Kafka must have for it.
    pub(super) const WAYS: u16 = 4;

    /// Starts the daemons.
    pub(super) fn start(
        platform: &'a Platform,
        postgres: &'a Postgres,
        form: Form,
    ) -> Result<Self> {
        let library = clock::library(platform.kafka.folder())?;
        let roles =
            [(Role::Producer, 1), (Role::Producer, 2), (Role::Consumer, 1), (Role::Consumer, 2)];
        let replicas = roles
            .into_iter()
            .enumerate()
            .map(|(way, role)| Replica::start(platform, postgres, &library, role, way))
            .collect::<Result<_>>()?;
        Ok(Self { platform, postgres, form, replicas })
    }

    /// Returns the consumers, to ask or to end them.
    pub(super) fn consumers(&mut self) -> impl Iterator<Item = &mut Daemon> {
        let consumers = self.replicas.iter_mut().filter(|replica| replica.role == Role::Consumer);
        consumers.map(|replica| &mut replica.daemon)
    }

    /// Starts the consumers again after their death.
    pub(super) fn start_consumers_again(&mut self) -> Result<()> {
        let mut consumers =
            self.replicas.iter_mut().filter(|replica| replica.role == Role::Consumer);
        consumers.try_for_each(|replica| replica.start_again(self.platform))
    }

    /// Lets each replica that is started from now on store elsewhere.
    pub(super) fn give_store(&mut self, dsn: &str) {
        for replica in &mut self.replicas {
            replica.network.give_store(self.postgres, dsn);
        }
    }

    /// Asks all daemons to end, and demands that each does so in order.
    pub(super) fn stop(self) -> Result<()> {
        for Replica { name, daemon, .. } in self.replicas {
            let status = daemon.stop()?;
            ensure!(status.success(), "{name} did not stop well: {status}");
        }
        Ok(())
    }

    /// Returns the sum of a metric over the producers.
    pub(super) fn sum_over_producers(&mut self, metric: &str) -> Result<u64> {
        let producers = self.replicas.iter_mut().filter(|replica| replica.role == Role::Producer);
        producers.map(|replica| replica.daemon.metric(metric)).sum()
    }

    /// Lets a fault happen and pass, and returns how long recovery took.
    ///
    /// # Errors
    /// Fails where there is no recovery within [`RECOVERY_LIMIT`], or a daemon ends by itself, other than by being
    /// [replaced](Replica::was_replaced).
    pub(super) fn suffer(&mut self, kind: Kind, random: &mut Stream) -> Result<Duration> {
        let fault = self.draw(kind, random)?;
        let started = Instant::now();
        self.inject(&fault)?;
        let takeover = match kind.since() {
            Since::Fault => Some(self.counted_anew(started).context("during the fault")?),
            Since::Heal => {
                thread::sleep(fault.length);
                None
            }
        };
        self.heal(&fault)?;
        let recovery = self.counted_anew(Instant::now()).context("after the fault")?;
        self.settle()?;
        let (shortest, longest) = CALM_MS;
        thread::sleep(Duration::from_millis(random.between(shortest, longest)));
        Ok(takeover.unwrap_or(recovery))
    }

    fn counted_anew(&self, since: Instant) -> Result<Duration> {
        counted_anew(self.platform, since, RECOVERY_LIMIT)
    }

    fn draw(&self, kind: Kind, random: &mut Stream) -> Result<Fault> {
        let mut between = |(low, high)| random.between(low, high);
        let (length, delay) = (between(kind.length_ms()), between(DELAY_MS));
        let jump_ms = between(JUMP_MS).cast_signed();
        let is_back = random.chance(500) || kind == Kind::ProducerClock;
        let any = random.index(2);
        let (named, nameless) = (2, 3);
        let replica = match kind {
            Kind::ProducerKilled
            | Kind::ProducerRestarted
            | Kind::ProducerFrozen
            | Kind::ProducerCut
            | Kind::ProducerClock => any,
            Kind::NamedConsumerRestarted => named,
            Kind::ConsumerRestarted => nameless,
            Kind::ConsumerKilled
            | Kind::ConsumerFrozen
            | Kind::ConsumerCut
            | Kind::ConsumerClock => 2 + any,
            _ => random.index(self.replicas.len()),
        };
        let node = random.index(self.platform.kafka.nodes().len());
        Ok(Fault {
            kind,
            replica,
            node: if kind == Kind::LeaderLost { self.leader()? } else { node },
            length: Duration::from_millis(length),
            delay: Duration::from_millis(delay),
            jump_ms: if is_back { -jump_ms } else { jump_ms },
        })
    }

    fn inject(&mut self, fault: &Fault) -> Result<()> {
        let Self { platform, postgres, replicas, .. } = self;
        let replica = &mut replicas[fault.replica];
        let node = platform.kafka.node(fault.node);
        match fault.kind {
            Kind::ConsumerKilled | Kind::ProducerKilled => replica.daemon.kill()?,
            Kind::ConsumerRestarted | Kind::NamedConsumerRestarted | Kind::ProducerRestarted => {
                replica.daemon.kill()?;
                replica.start_again(platform)?;
            }
            Kind::ConsumerFrozen | Kind::ProducerFrozen => replica.daemon.freeze()?,
            Kind::ConsumerCut | Kind::ProducerCut => replica.network.cut(),
            Kind::NetworkHeld => replica.network.hold(),
            Kind::AnswersLost => replica.network.lose_answers(),
            Kind::NetworkDelayed => replica.network.delay(fault.delay),
            Kind::StoreAnswersLost => {
                for replica in replicas {
                    replica.network.store.lose_answers();
                }
            }
            Kind::ConsumerClock | Kind::ProducerClock => replica.clock.set_ms(fault.jump_ms)?,
            Kind::BrokerFrozen => node.freeze(),
            Kind::BrokerRestarted => node.stop(),
            Kind::BrokerKilled | Kind::LeaderLost => node.kill(),
            Kind::BrokerCut => {
                for replica in replicas {
                    replica.network.broker(fault.node).cut();
                }
            }
            Kind::ReplicaLate => {
                node.freeze();
                self.wait_for_in_sync("a replica out of sync", |in_sync| in_sync < 3)?;
            }
            Kind::StoreRestarted | Kind::StoreAway => postgres.stop(),
            Kind::DiskFull => postgres.fill_disk()?,
        }
        Ok(())
    }

    fn heal(&mut self, fault: &Fault) -> Result<()> {
        let Self { platform, postgres, replicas, .. } = self;
        let node = platform.kafka.node(fault.node);
        match fault.kind {
            Kind::ConsumerKilled | Kind::ProducerKilled => {
                replicas[fault.replica].start_again(platform)?;
            }
            Kind::ConsumerFrozen | Kind::ProducerFrozen => replicas[fault.replica].daemon.thaw()?,
            Kind::BrokerFrozen | Kind::ReplicaLate => node.thaw(),
            Kind::BrokerRestarted | Kind::BrokerKilled | Kind::LeaderLost => node.start(),
            Kind::StoreRestarted | Kind::StoreAway => postgres.start_again(),
            Kind::DiskFull => postgres.free_disk()?,
            Kind::ProducerClock => replicas[fault.replica].clock.set_ms(0)?,
            // The consumer's clock stays as it is, until it jumps again.
            Kind::ConsumerRestarted
            | Kind::NamedConsumerRestarted
            | Kind::ProducerRestarted
            | Kind::ConsumerClock => {}
            Kind::ConsumerCut
            | Kind::ProducerCut
            | Kind::NetworkHeld
            | Kind::AnswersLost
            | Kind::StoreAnswersLost
            | Kind::NetworkDelayed
            | Kind::BrokerCut => replicas.iter().for_each(|replica| replica.network.heal()),
        }
        Ok(())
    }

    /// Waits until everything is as it was before: each replica with a share, each broker in sync.
    pub(super) fn settle(&mut self) -> Result<()> {
        for replica in &mut self.replicas {
            let Some(status) = replica.daemon.has_ended()? else { continue };
            let name = &replica.name;
            let is_known = status.code() == Some(1) && replica.was_replaced()?;
            ensure!(is_known, "{name} ended by itself: {status}");
            println!("{name} was taken for two and ended; it is started again");
            replica.start_again(self.platform)?;
        }
        for role in [Role::Producer, Role::Consumer] {
            // Not by the times in their logs, as elsewhere: their clocks jump.
            let (metric, all) = role.shares();
            wait_until(&format!("a share for each {role:?}"), SETTLE_LIMIT, || {
                let replicas = self.replicas.iter_mut().filter(|replica| replica.role == role);
                let shares: Vec<_> =
                    replicas.map(|replica| replica.daemon.metric(metric)).collect::<Result<_>>()?;
                Ok(!shares.contains(&0) && shares.iter().sum::<u64>() == all)
            })?;
        }
        for replica in &mut self.replicas {
            wait_until(&format!("a ready {}", replica.name), SETTLE_LIMIT, || {
                Ok(replica.daemon.get("/readyz")?.contains(r#""phase":"running","reasons":{}"#))
            })?;
        }
        self.wait_for_in_sync("all replicas in sync", |in_sync| {
            in_sync == usize::from(self.form.brokers())
        })
    }

    /// Waits until the number of replicas in sync is as wanted, for each partition of the topics.
    fn wait_for_in_sync(&self, what: &str, is_wanted: impl Fn(usize) -> bool) -> Result<()> {
        wait_until(what, SETTLE_LIMIT, || {
            Ok(TOPICS.iter().all(|topic| {
                let partitions = partitions(self.platform, topic).unwrap_or_default();
                !partitions.is_empty()
                    && partitions.iter().all(|partition| is_wanted(partition.in_sync.len()))
            }))
        })?;
        Ok(())
    }

    /// Returns the node, counted from 0, that leads the most partitions of the events.
    fn leader(&self) -> Result<usize> {
        let partitions = recovery::partitions(self.platform, "roaming.events")?;
        let led = |node: usize| {
            partitions.iter().filter(|partition| partition.leader == node + 1).count()
        };
        (0..self.platform.kafka.nodes().len()).max_by_key(|node| led(*node)).context("no node")
    }
}
