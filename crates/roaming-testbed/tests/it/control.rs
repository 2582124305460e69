//! Runs are controlled while replicas drive them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roaming_testbed::services::{KafkaOptions, Postgres};
use roaming_testbed::trial::{events_of, finished};
use roaming_testbed::wait::wait_until;
use roaming_testbed::{Daemon, Platform, observed, ownership, tell};

const LIMIT: Duration = Duration::from_mins(2);
/// Simulated seconds in a second, of the paced runs.
const SPEED: u64 = 300;
/// Simulated seconds by which the watermark may be behind: the producers go through a run in windows of so many.
const BEHIND_S: u64 = 15 * 60;
/// How long the last windows of a run may stay open after all its events are counted.
const CLOSING_LIMIT: Duration = Duration::from_secs(10);
/// How long the run that was paused is watched when it goes on. A burst would be of all the time it stood still.
const WATCHED: Duration = Duration::from_secs(3);

#[test]
fn runs_are_paused_hurried_stopped_and_deleted_while_two_replicas_drive_them() -> Result<()> {
    Platform::with(Postgres::shared(), &KafkaOptions::default(), controlled)
}

fn controlled(platform: &Platform) -> Result<()> {
    let producers = [platform.producer("producer-1")?, platform.producer("producer-2")?];
    let mut consumer = platform.consumer("consumer-1")?;
    let other = platform.consumer("consumer-2")?;
    for two in [[&producers[0], &producers[1]], [&consumer, &other]] {
        wait_until("a share for both", LIMIT, || ownership::is_shared(&two))?;
    }
    let scenarios =
        |arguments: &[&str]| platform.producer_command(&[&["scenarios"], arguments].concat());
    for name in ["paused", "stopped", "deleted"] {
        scenarios(&["load", "--profile", "demo", "--name", name, "--speed", &SPEED.to_string()])?;
    }
    for name in ["paused", "stopped", "deleted"] {
        counted_more_than(&mut consumer, name, 0)?;
    }

    let pause = Instant::now();
    scenarios(&["pause", "paused"])?;
    scenarios(&["stop", "stopped"])?;
    scenarios(&["delete", "deleted"])?;
    // Lanes come to rest, each at the event before the anchor.
    let mut last = 0;
    wait_until("a run that stands still", LIMIT, || {
        let events = events(&mut consumer, "paused")?;
        let stands = events == last;
        last = events;
        std::thread::sleep(Duration::from_secs(3));
        Ok(stands)
    })?;
    for name in ["stopped", "deleted"] {
        let balance = platform.consumer_command(&["verify", "--run", name])?;
        for says in ["stopped at", "the balance holds up to where the run stopped"] {
            ensure!(balance.contains(says), "{name}: `{says}` is not in {balance}");
        }
    }
    let refused = |name: &str| -> Result<String> {
        let arguments = ["scenarios", "load", "--profile", "demo", "--name", name];
        let output = platform.command("roaming-producer")?.args(arguments).output()?;
        ensure!(output.status.code() == Some(64), "{name}: {}", output.status);
        Ok(String::from_utf8(output.stderr)?)
    };
    for name in ["stopped", "deleted"] {
        let said = refused(name)?;
        tell!("load {name}: {}", said.trim());
        ensure!(said.contains("--name") || said.contains("--seed"), "{said}");
    }

    // Another run at full speed beside it closes all its windows, and the paused one stays where it is.
    scenarios(&["load", "--profile", "demo", "--name", "hurried", "--speed", "max"])?;
    let all = events_of(platform, &["--profile", "demo", "--name", "hurried"])?;
    counted_more_than(&mut consumer, "hurried", all - 1)?;
    let (hurried, closing) = finished(&mut consumer, "hurried", LIMIT)?;
    ensure!(hurried.watermark == hurried.end, "windows are open: {hurried:?}");
    tell!("last window closed {:.1} s after the last event was counted", closing.as_secs_f64());
    ensure!(closing < CLOSING_LIMIT, "the last windows closed after {closing:?}");
    platform.consumer_command(&["verify", "--run", "hurried"])?;
    ensure!(events(&mut consumer, "paused")? == last, "the paused run went on");

    let stood_still = SPEED * pause.elapsed().as_secs();
    ensure!(stood_still > 2 * BEHIND_S + SPEED * WATCHED.as_secs(), "a burst would not be seen");
    let paused = observed::run(&mut consumer, "paused")?.context("the paused run is gone")?;
    let resumed = Instant::now();
    scenarios(&["resume", "paused"])?;
    counted_more_than(&mut consumer, "paused", last)?;
    while resumed.elapsed() < WATCHED {
        let run = observed::run(&mut consumer, "paused")?.context("the paused run is gone")?;
        let gone_on = run.watermark.since(paused.watermark).secs();
        let allowed = SPEED * (resumed.elapsed().as_secs() + 1) + BEHIND_S;
        ensure!(gone_on <= allowed, "a burst of {gone_on} s where {allowed} s are due");
        std::thread::sleep(Duration::from_millis(100));
    }
    scenarios(&["speed", "paused", "max"])?;
    finished(&mut consumer, "paused", LIMIT)?;
    platform.consumer_command(&["verify", "--run", "paused"])?;
    platform.compare_with_generated(&["--profile", "demo", "--name", "paused"])?;
    let again = scenarios(&["load", "--profile", "demo", "--name", "paused"])?;
    tell!("load paused: {}", again.trim());
    for says in ["finished", "--name"] {
        ensure!(again.contains(says), "`{says}` is not in {again}");
    }
    Ok(())
}

fn events(consumer: &mut Daemon, name: &str) -> Result<u64> {
    Ok(observed::run(consumer, name)?.map_or(0, |run| run.events))
}

fn counted_more_than(consumer: &mut Daemon, name: &str, count: u64) -> Result<()> {
    let what = format!("more than {count} events of {name}");
    wait_until(&what, LIMIT, || Ok(events(consumer, name)? > count)).map(|_| ())
}
