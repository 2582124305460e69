//! Producers share a run, and lose each other for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use roaming_events::LaneDigest;
use roaming_testbed::services::{KafkaOptions, Postgres};
use roaming_testbed::trial::{events_of, finished};
use roaming_testbed::wait::wait_until;
use roaming_testbed::{Platform, ownership, tell};

const SHARE_LIMIT: Duration = Duration::from_mins(1);
/// Records that a producer freezes with: far more than it has under way to the broker.
const IN_FLIGHT_MIN: u64 = 5000;
/// How many of them come late at the least. A hand-over in order, such as the one after the thaw, repeats none.
const LATE_MIN: u64 = 2000;
const RUN_LIMIT: Duration = Duration::from_mins(3);

#[test]
fn one_and_three_producers_put_the_same_bytes_on_the_topic() -> Result<()> {
    let bytes_of = |producers| {
        Platform::with(Postgres::shared(), &KafkaOptions::default(), |platform| {
            bytes_of(platform, producers)
        })
    };
    let (alone, _) = bytes_of(1)?;
    let (shared, counts) = bytes_of(3)?;
    tell!("events of each of three producers: {counts:?}");
    let total: u64 = counts.iter().sum();
    ensure!(counts.iter().all(|&count| count * 10 >= total), "not shared: {counts:?}");
    ensure!(alone.len() == 64 && alone == shared, "the lanes differ");
    Ok(())
}

/// Digests of all lanes from the topic's bytes, and how many events each producer sent.
fn bytes_of(
    platform: &Platform,
    producers: usize,
) -> Result<(BTreeMap<u16, LaneDigest>, Vec<u64>)> {
    const RUN: [&str; 4] = ["--profile", "demo", "--name", "shared"];
    let mut consumer = platform.consumer("consumer")?;
    let mut daemons = (0..producers)
        .map(|number| platform.producer(&format!("producer-{number}")))
        .collect::<Result<Vec<_>>>()?;
    wait_until("lanes for every producer", SHARE_LIMIT, || {
        ownership::is_shared(&daemons.iter().collect::<Vec<_>>())
    })?;
    platform.producer_command(&[&["scenarios", "load", "--speed", "max"], &RUN[..]].concat())?;
    finished(&mut consumer, "shared", RUN_LIMIT)?;
    platform.consumer_command(&["verify", "--run", "shared"])?;
    let topic = platform.compare_with_generated(&RUN)?;
    let counts = daemons
        .iter_mut()
        .map(|daemon| daemon.metric("roaming_producer_events_acknowledged_total"))
        .collect::<Result<Vec<_>>>()?;
    Ok((topic.digests(), counts))
}

#[test]
fn the_late_batches_of_a_frozen_producer_are_dropped_as_duplicates() -> Result<()> {
    Platform::with(Postgres::shared(), &KafkaOptions::default(), frozen)
}

fn frozen(platform: &Platform) -> Result<()> {
    const RUN: [&str; 4] = ["--profile", "demo", "--name", "frozen"];
    let total = events_of(platform, &RUN)?;
    let mut consumer = platform.consumer("consumer")?;
    let mut survivor = platform.producer("producer-1")?;
    let mut frozen = platform.producer("producer-2")?;
    wait_until("lanes for both", SHARE_LIMIT, || ownership::is_shared(&[&survivor, &frozen]))?;
    // About three quarters of a minute: longer than the session of a member that is silent.
    platform.producer_command(&[&["scenarios", "load", "--speed", "1000"], &RUN[..]].concat())?;
    let counter = "roaming_producer_events_acknowledged_total";
    wait_until("a fifth of its share", RUN_LIMIT, || Ok(frozen.metric(counter)? * 10 > total))?;
    // It freezes with its hands full: what the broker does not take is kept for later.
    platform.kafka.node(0).freeze();
    wait_until("records in flight", SHARE_LIMIT, || {
        Ok(frozen.metric("roaming_producer_records_in_flight")? > IN_FLIGHT_MIN)
    })?;
    frozen.freeze()?;
    platform.kafka.node(0).thaw();
    let took = wait_until("the other one's lanes taken over", SHARE_LIMIT, || {
        Ok(ownership::owned(&[&survivor, &frozen])?[1].is_empty())
    })?;
    // Well past where the other one stood still, so that what it sends next was sent before.
    let goal = survivor.metric(counter)? + total / 10;
    wait_until("the survivor far ahead", RUN_LIMIT, || Ok(survivor.metric(counter)? > goal))?;
    // What the survivor repeats because its progress was not recorded is there by now.
    let repeated = platform.repeated(&RUN)?;
    frozen.thaw()?;
    let (run, _) = finished(&mut consumer, "frozen", RUN_LIMIT)?;
    platform.consumer_command(&["verify", "--run", "frozen"])?;
    let topic = platform.compare_with_generated(&RUN)?;
    tell!(
        "taken over {:.1} s after the freeze; {repeated} records came twice before the thaw, {} after, {} were dropped",
        took.as_secs_f64(),
        topic.duplicates - repeated,
        run.duplicates
    );
    let late = topic.duplicates - repeated;
    ensure!(late >= LATE_MIN, "{late} records of the frozen producer came late, if they are its");
    ensure!(run.duplicates == topic.duplicates, "not each of {} was dropped", topic.duplicates);
    Ok(())
}
