//! Services go away in the middle of a run, and come back.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use roaming_testbed::services::{KafkaOptions, Postgres, PostgresOptions};
use roaming_testbed::trial::{events_of, finished};
use roaming_testbed::wait::wait_until;
use roaming_testbed::{Daemon, Platform};

/// How long it may take to count again after a service is back.
const RECOVERY_LIMIT: Duration = Duration::from_mins(1);
/// Events between two outages: about five seconds of the run.
const EVENTS_BETWEEN: u64 = 30_000;
const COUNTED: &str = "roaming_events_processed_total";
/// How long PostgreSQL is away.
const STORE_AWAY: Duration = Duration::from_mins(1);
const RUN: [&str; 4] = ["--profile", "demo", "--name", "outages"];

#[test]
fn broker_and_store_go_away_and_nothing_is_lost() -> Result<()> {
    let postgres = Postgres::start(&PostgresOptions::default());
    Platform::with(&postgres, &KafkaOptions::default(), |platform| outages(platform, &postgres))
}

fn outages(platform: &Platform, postgres: &Postgres) -> Result<()> {
    let mut producer = platform.producer("producer")?;
    let mut consumer = platform.consumer("consumer")?;
    // Long enough for all that happens; the rest of the run goes by at full speed.
    let load = [&["scenarios", "load", "--speed", "200"], &RUN[..]].concat();
    platform.producer_command(&load)?;
    counting_again(&mut consumer)?;

    let node = platform.kafka.node(0);
    undisturbed(&mut consumer)?;
    node.stop();
    node.start();
    report("broker restarted", counting_again(&mut consumer)?);
    undisturbed(&mut consumer)?;
    node.kill();
    wait_until("an unready consumer", RECOVERY_LIMIT, || {
        Ok(consumer.get("/readyz")?.contains("no broker answers"))
    })?;
    node.start();
    report("broker killed and started", counting_again(&mut consumer)?);
    undisturbed(&mut consumer)?;
    postgres.stop();
    postgres.start_again();
    report("PostgreSQL restarted", counting_again(&mut consumer)?);
    undisturbed(&mut consumer)?;
    postgres.stop();
    let unready = wait_until("an unready consumer", RECOVERY_LIMIT, || {
        Ok(consumer.get("/readyz")?.contains("store"))
    })?;
    thread::sleep(STORE_AWAY.saturating_sub(unready));
    postgres.start_again();
    report("PostgreSQL back after 60 s", counting_again(&mut consumer)?);
    wait_until("a ready consumer", RECOVERY_LIMIT, || {
        Ok(consumer.get("/readyz")?.contains(r#""reasons":{}"#))
    })?;

    let total = events_of(platform, &RUN)?;
    let counted = consumer.metric(COUNTED)?;
    ensure!(counted < total, "the run was over before the outages were");
    platform.producer_command(&["scenarios", "pause", "outages"])?;
    platform.producer_command(&["scenarios", "resume", "outages", "--speed", "max"])?;
    finished(&mut consumer, "outages", Duration::from_mins(2))?;
    platform.consumer_command(&["verify", "--run", "outages"])?;
    wait_until("a ready producer", RECOVERY_LIMIT, || {
        Ok(producer.get("/readyz")?.contains(r#""reasons":{}"#))
    })?;
    Ok(())
}

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
        platform.kafka.node(1).kill();
        report("one broker of three killed", counting_again(&mut consumer)?);
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

/// Waits until more is counted than is now, and returns how long that took.
fn counting_again(consumer: &mut Daemon) -> Result<Duration> {
    let before = consumer.metric(COUNTED)?;
    wait_until("more events counted", RECOVERY_LIMIT, || Ok(consumer.metric(COUNTED)? > before))
}

fn report(what: &str, took: Duration) {
    println!("{what}: counting again after {:.1} s", took.as_secs_f64());
}
