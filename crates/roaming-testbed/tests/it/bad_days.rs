//! What is not there, or not as it was: the daemons say so, and lose nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roaming_testbed::services::{KafkaOptions, Postgres};
use roaming_testbed::trial::finished;
use roaming_testbed::wait::wait_until;
use roaming_testbed::{Daemon, Platform, retention};

const LIMIT: Duration = Duration::from_mins(1);
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

fn on_a_platform(test: impl FnOnce(&Platform) -> Result<()>) -> Result<()> {
    Platform::with(Postgres::shared(), &KafkaOptions::default(), test)
}

/// Waits until a daemon's `/readyz` says something.
fn says(daemon: &mut Daemon, text: &str) -> Result<()> {
    let what = format!("`{text}` in /readyz");
    wait_until(&what, LIMIT, || Ok(daemon.get("/readyz")?.contains(text))).map(|_| ())
}

/// Waits until nothing keeps a daemon from being ready.
fn is_ready(daemon: &mut Daemon) -> Result<()> {
    says(daemon, r#""phase":"running","reasons":{}"#)
}

#[test]
fn daemons_wait_for_the_broker_and_for_the_topics() -> Result<()> {
    on_a_platform(|platform| {
        let kafka = &platform.kafka;
        kafka.tool(TOPICS, &["--delete", "--topic", "roaming.*"]);
        kafka.node(0).stop();
        let mut daemons = [platform.producer("producer")?, platform.consumer("consumer")?];
        for daemon in &mut daemons {
            says(daemon, "no broker answers at 127.0.0.1")?;
        }
        kafka.node(0).start();
        for daemon in &mut daemons {
            says(daemon, "roaming-producer topics create")?;
        }
        platform.producer_command(&["topics", "create"])?;
        for daemon in &mut daemons {
            is_ready(daemon)?;
        }
        // It goes missing later, too.
        let [_, consumer] = &mut daemons;
        kafka.tool(TOPICS, &["--delete", "--topic", "roaming.events"]);
        says(consumer, "topic roaming.events does not exist")?;
        platform.producer_command(&["topics", "create"])?;
        wait_until("all partitions", LIMIT, || {
            Ok(consumer.metric("roaming_partitions_owned")? == 8)
        })?;
        is_ready(consumer)
    })
}

#[test]
fn a_check_of_the_topics_names_all_that_is_wrong() -> Result<()> {
    on_a_platform(|platform| {
        let check = |partitions: &str| {
            let arguments = ["topics", "check", "--lanes-partitions", partitions];
            let output = platform.command("roaming-producer")?.args(arguments).output()?;
            let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
            anyhow::Ok((output.status.code(), said))
        };
        let (status, said) = check("8")?;
        ensure!(status == Some(0) && said.contains("roaming.events: fine"), "{said}");
        let kafka = &platform.kafka;
        let events = ["--alter", "--entity-type", "topics", "--entity-name", "roaming.events"];
        let unsafe_settings =
            "unclean.leader.election.enable=true,max.message.bytes=20000,min.insync.replicas=2";
        kafka.tool(CONFIGS, &[&events[..], &["--add-config", unsafe_settings]].concat());
        kafka.tool(TOPICS, &["--delete", "--topic", "roaming.truth"]);
        let (status, said) = check("9")?;
        for fault in [
            "unclean.leader.election.enable=true and must have false",
            "max.message.bytes=20000 and must have 1000000 or more",
            "min.insync.replicas=2 and must have 1;",
            "topic roaming.lanes has 8 partitions and must have 9",
            "topic roaming.truth does not exist",
            "roaming.scenarios: fine",
            "5 things are wrong",
        ] {
            ensure!(said.contains(fault), "{fault}: {said}");
        }
        ensure!(status == Some(1), "{status:?}");
        // Creating mends what is missing and says what it must not change.
        let created = platform.command("roaming-producer")?.args(["topics", "create"]).output()?;
        ensure!(
            String::from_utf8(created.stdout)?.contains("roaming.truth: created"),
            "not created"
        );
        Ok(())
    })
}

#[test]
fn a_producer_waits_for_topics_with_safe_settings() -> Result<()> {
    on_a_platform(|platform| {
        let kafka = &platform.kafka;
        let events = ["--alter", "--entity-type", "topics", "--entity-name", "roaming.events"];
        let compacted = ["--add-config", "cleanup.policy=compact"];
        kafka.tool(CONFIGS, &[&events[..], &compacted].concat());
        let mut producer = platform.producer("producer")?;
        says(&mut producer, "roaming.events has cleanup.policy=compact and must have delete")?;
        let kept = ["--add-config", "cleanup.policy=delete"];
        kafka.tool(CONFIGS, &[&events[..], &kept].concat());
        is_ready(&mut producer)
    })
}

#[test]
fn a_topic_that_takes_only_small_batches_holds_the_run_and_is_named() -> Result<()> {
    on_a_platform(|platform| {
        let mut producer = platform.producer("producer")?;
        let mut consumer = platform.consumer("consumer")?;
        let kafka = &platform.kafka;
        let events = ["--alter", "--entity-type", "topics", "--entity-name", "roaming.events"];
        let small = ["--add-config", "max.message.bytes=20000"];
        kafka.tool(CONFIGS, &[&events[..], &small].concat());
        platform.producer_command(&["scenarios", "load", "--profile", "demo", "--speed", "max"])?;
        says(&mut producer, "Message size too large")?;
        says(&mut producer, "topics check")?;
        let enough = ["--delete-config", "max.message.bytes"];
        kafka.tool(CONFIGS, &[&events[..], &enough].concat());
        is_ready(&mut producer)?;
        finished(&mut consumer, "demo", LIMIT * 2)?;
        platform.consumer_command(&["verify", "--run", "demo"])?;
        Ok(())
    })
}

#[test]
fn a_store_that_takes_no_writes_holds_the_run_and_is_named() -> Result<()> {
    on_a_platform(|platform| {
        let _producer = platform.producer("producer")?;
        let mut consumer = platform.consumer("consumer")?;
        platform.producer_command(&["scenarios", "load", "--profile", "demo", "--speed", "600"])?;
        let counted = "roaming_events_processed_total";
        wait_until("some events counted", LIMIT, || Ok(consumer.metric(counted)? > 10_000))?;
        set_read_only(platform, "on")?;
        says(&mut consumer, "PostgreSQL takes no writes")?;
        set_read_only(platform, "off")?;
        is_ready(&mut consumer)?;
        platform.producer_command(&["scenarios", "speed", "demo", "max"])?;
        finished(&mut consumer, "demo", LIMIT * 2)?;
        platform.consumer_command(&["verify", "--run", "demo"])?;
        Ok(())
    })
}

/// Lets a platform's database take no writes, or take them again, on all connections.
fn set_read_only(platform: &Platform, is_on: &str) -> Result<()> {
    let (_, database) = platform.dsn.rsplit_once('/').context("the DSN names no database")?;
    for statement in [
        format!("ALTER DATABASE {database} SET default_transaction_read_only = {is_on}"),
        format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        ),
    ] {
        Postgres::shared().sql("postgres", &statement);
    }
    Ok(())
}

#[test]
fn a_topic_made_anew_with_fewer_partitions_holds_the_run_and_names_it() -> Result<()> {
    on_a_platform(|platform| {
        let mut producer = platform.producer("producer")?;
        platform.producer_command(&["scenarios", "load", "--profile", "demo", "--speed", "600"])?;
        let sent = "roaming_producer_events_acknowledged_total";
        wait_until("some events", LIMIT, || Ok(producer.metric(sent)? > 1000))?;
        let kafka = &platform.kafka;
        kafka.tool(TOPICS, &["--delete", "--topic", "roaming.events"]);
        says(&mut producer, "topic roaming.events does not exist")?;
        let events = ["--topic", "roaming.events", "--partitions"];
        kafka.tool(TOPICS, &[&["--create"], &events[..], &["4"]].concat());
        says(
            &mut producer,
            "run `demo` is refused: topic roaming.events has 4 partitions and the run needs 8",
        )?;
        kafka.tool(TOPICS, &[&["--alter"], &events[..], &["8"]].concat());
        is_ready(&mut producer)
    })
}

#[test]
fn what_retention_removed_is_told_exactly_and_another_log_is_refused() -> Result<()> {
    on_a_platform(|platform| {
        let mut producer = platform.producer("producer")?;
        let mut consumer = platform.consumer("consumer")?;
        platform.producer_command(&["scenarios", "load", "--profile", "demo", "--speed", "600"])?;
        let counted = "roaming_events_processed_total";
        wait_until("some events counted", LIMIT, || Ok(consumer.metric(counted)? > 10_000))?;
        ensure!(consumer.stop()?.success(), "the consumer did not end well");
        let sent = "roaming_producer_events_acknowledged_total";
        let goal = producer.metric(sent)? + 20_000;
        wait_until("some events more", LIMIT, || Ok(producer.metric(sent)? > goal))?;
        let lost = retention::overtake(platform)?;

        let mut late = platform.consumer("late")?;
        let status = late.ended(LIMIT)?;
        ensure!(status.code() == Some(1), "{status}");
        let log = late.log()?;
        // It ends with the first partition that it looks at.
        ensure!(lost.iter().any(|lost| log.contains(lost)), "none of {lost:?} is in {log}");

        on_a_platform(|other| {
            let mut command = other.command("roaming-consumer")?;
            command.args(["run", "--listen", "127.0.0.1:0"]).env("POSTGRES_DSN", &platform.dsn);
            let mut stranger = other.daemon("stranger", &command)?;
            let status = stranger.ended(LIMIT)?;
            let log = stranger.log()?;
            ensure!(
                status.code() == Some(64) && log.contains("the store holds run data of log"),
                "{status}: {log}"
            );
            Ok(())
        })
    })
}
