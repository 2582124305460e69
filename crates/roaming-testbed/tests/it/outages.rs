//! A broker of three goes away in the middle of a run, and comes back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roaming_testbed::chaos::counted_anew;
use roaming_testbed::services::{KafkaOptions, Postgres};
use roaming_testbed::trial::{events_of, finished};
use roaming_testbed::wait::wait_until;
use roaming_testbed::{Daemon, Platform, tell};

/// How long it may take to count again after a service is back.
const RECOVERY_LIMIT: Duration = Duration::from_mins(1);
/// Events between two outages: about five seconds of the run.
const EVENTS_BETWEEN: u64 = 30_000;
const COUNTED: &str = "roaming_events_processed_total";

#[test]
fn a_cluster_of_three_goes_on_without_one_of_them() -> Result<()> {
    const RUN: [&str; 4] = ["--profile", "demo", "--name", "three"];
    let three = KafkaOptions { nodes: 3, ..KafkaOptions::default() };
    Platform::with(Postgres::shared(), &three, |platform| {
        let described = platform.kafka.tool(
            "org.apache.kafka.tools.TopicCommand",
            &["--describe", "--topic", "roaming.events"],
        );
        for safe in ["ReplicationFactor: 3", "min.insync.replicas=2"] {
            ensure!(described.contains(safe), "{described}");
        }
        let _producer = platform.producer("producer")?;
        let mut consumer = platform.consumer("consumer")?;
        let load = [&["scenarios", "load", "--speed", "2000"], &RUN[..]].concat();
        platform.producer_command(&load)?;
        undisturbed(&mut consumer)?;
        let killed = Instant::now();
        platform.kafka.node(1).kill();
        let took = counted_anew(platform, killed, RECOVERY_LIMIT)?;
        tell!("one broker of three killed: all is counted again after {:.1} s", took.as_secs_f64());
        undisturbed(&mut consumer)?;
        platform.kafka.node(1).start();
        finished(&mut consumer, "three", Duration::from_mins(2))?;
        platform.consumer_command(&["verify", "--run", "three"])?;
        let topic = platform.compare_with_generated(&RUN)?;
        ensure!(topic.events() == events_of(platform, &RUN)?, "not all is on the topic");
        Ok(())
    })
}

/// Lets the run go on for some seconds: the group hears from its members again.
fn undisturbed(consumer: &mut Daemon) -> Result<()> {
    let goal = consumer.metric(COUNTED)? + EVENTS_BETWEEN;
    wait_until("a stretch of the run", RECOVERY_LIMIT, || Ok(consumer.metric(COUNTED)? > goal))?;
    Ok(())
}
