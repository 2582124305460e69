//! One run during which a producer and a consumer die.

use std::thread;
use std::time::Duration;

use crate::services::{KafkaOptions, Postgres};
use anyhow::{Context, Result, bail, ensure};
use roaming_testkit::{Concern, Seed};

use crate::observed::Observed;
use crate::wait::{wait_for, wait_until};
use crate::{Daemon, Platform, observed};

/// Lanes of the run.
const LANES: usize = 64;
/// How long a run may take, deaths included.
const RUN_LIMIT: Duration = Duration::from_mins(4);
/// How long the replicas may take to share the partitions.
const SHARE_LIMIT: Duration = Duration::from_mins(1);
/// The part of a run, in thousandths of its events, in which a death is wanted, and up to which it may
/// come late: the page is a second old at most.
const WANTED_PERMILLE: (u64, u64) = (300, 600);
const LATEST_PERMILLE: u64 = 700;
/// What a producer logs when the group gives it partitions of lanes, and a consumer of events.
const PRODUCER_ASSIGNED: &str = "partitions of lanes assigned";
const CONSUMER_ASSIGNED: &str = "\"partitions assigned\"";

/// What a trial did and saw.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The seed of the run, and of when what is killed.
    pub seed: u64,
    /// How far the run was when the producer was killed, in thousandths of its events.
    pub producer_killed_permille: u64,
    /// The same for the consumer.
    pub consumer_killed_permille: u64,
    /// Events of the run.
    pub events: u64,
    /// Lanes whose end marker is on the topic.
    pub lanes: usize,
    /// Records on the topic that repeat another.
    pub repeated: u64,
    /// Numbered records that the consumers dropped because they had been counted.
    pub dropped: u64,
    /// Times that the surviving producer was given partitions after the other one's death.
    pub producer_rebalances: usize,
    /// The same for the surviving consumer.
    pub consumer_rebalances: usize,
    /// From loading the run to its last lane.
    pub took: Duration,
}

/// Runs the profile `demo` on two producers and two consumers, kills one of each on the way, starts it
/// again, and checks the store against the ledger and the topic against the engine.
///
/// # Errors
/// Fails where anything is lost, counted twice or different, or where no replica took over.
pub fn run(seed: u64) -> Result<Trial> {
    let platform = Platform::start(Postgres::shared(), &KafkaOptions::default())?;
    let seed_text = seed.to_string();
    let arguments = ["--profile", "demo", "--name", "trial", "--seed", &seed_text];
    let total = events_of(&platform, &arguments)?;

    let (surviving_producer, mut surviving_consumer) =
        (platform.producer("producer-1")?, platform.consumer("consumer-1")?);
    let mut mortal_producer = Some(platform.producer("producer-2")?);
    let mut mortal_consumer = Some(platform.consumer("consumer-2")?);
    wait_until("shared partitions", SHARE_LIMIT, || {
        let (producer, consumer) = (mortal_producer.as_mut(), mortal_consumer.as_mut());
        let (Some(producer), Some(consumer)) = (producer, consumer) else { bail!("none to ask") };
        Ok(producer.lines_with(PRODUCER_ASSIGNED)? > 0
            && consumer.metric("roaming_partitions_owned")? > 3.5
            && surviving_consumer.metric("roaming_partitions_owned")? > 3.5)
    })?;

    let mut random = Seed(seed).stream(Concern::Fault);
    let (low, high) = WANTED_PERMILLE;
    let mut deaths = [
        Death {
            of: Mortal::Producer,
            wanted: random.between(low, high),
            pause_ms: random.below(3000),
            seen: None,
        },
        Death {
            of: Mortal::Consumer,
            wanted: random.between(low, high),
            pause_ms: random.below(3000),
            seen: None,
        },
    ];
    deaths.sort_by_key(|death| death.wanted);

    let mut load = vec!["scenarios", "load", "--speed", "max"];
    load.extend(arguments);
    platform.producer_command(&load)?;
    let started = std::time::Instant::now();
    let assigned_before = (
        surviving_producer.lines_with(PRODUCER_ASSIGNED)?,
        surviving_consumer.lines_with(CONSUMER_ASSIGNED)?,
    );
    for death in &mut deaths {
        let what = format!("{} of 1000 events", death.wanted);
        let (run, _) = wait_for(&what, RUN_LIMIT, || {
            let run = observed::run(&mut surviving_consumer, "trial")?;
            Ok(run.filter(|run| run.permille(total) >= death.wanted))
        })?;
        let permille = run.permille(total);
        ensure!(
            permille <= LATEST_PERMILLE && run.lanes_finished < LANES,
            "the run was at {permille} of 1000 before it could be disturbed at {}",
            death.wanted
        );
        let pause = Duration::from_millis(death.pause_ms);
        match death.of {
            Mortal::Producer => {
                mortal_producer.take().context("no producer to kill")?.kill()?;
                thread::sleep(pause);
                mortal_producer = Some(platform.producer("producer-2")?);
            }
            Mortal::Consumer => {
                mortal_consumer.take().context("no consumer to kill")?.kill()?;
                thread::sleep(pause);
                mortal_consumer = Some(platform.consumer("consumer-2")?);
            }
        }
        death.seen = Some(permille);
    }
    let (finished, _) = finished(&mut surviving_consumer, "trial", RUN_LIMIT)?;
    let took = started.elapsed();
    platform.consumer_command(&["verify", "--run", "trial"])?;
    let topic = platform.compare_with_generated(&arguments)?;
    let killed_at = |mortal| {
        let death = deaths.iter().find(|death| death.of == mortal);
        death.and_then(|death| death.seen).unwrap_or_default()
    };
    let trial = Trial {
        seed,
        producer_killed_permille: killed_at(Mortal::Producer),
        consumer_killed_permille: killed_at(Mortal::Consumer),
        events: topic.events(),
        lanes: topic.lanes_ended(),
        repeated: topic.duplicates,
        dropped: finished.duplicates,
        producer_rebalances: surviving_producer.lines_with(PRODUCER_ASSIGNED)? - assigned_before.0,
        consumer_rebalances: surviving_consumer.lines_with(CONSUMER_ASSIGNED)? - assigned_before.1,
        took,
    };
    ensure!(trial.events == total && trial.lanes == LANES, "not all is on the topic: {trial:?}");
    ensure!(trial.dropped > 0, "nothing was repeated, so that nothing was proved: {trial:?}");
    ensure!(
        trial.producer_rebalances > 0 && trial.consumer_rebalances > 0,
        "nobody took over: {trial:?}"
    );
    Ok(trial)
}

/// Waits until all lanes of a run are finished.
///
/// # Errors
/// Fails where they are not within `limit`, and says how far they are.
pub fn finished(
    consumer: &mut Daemon,
    name: &str,
    limit: Duration,
) -> Result<(Observed, Duration)> {
    let mut last = None;
    wait_for("all lanes of the run", limit, || {
        last = observed::run(consumer, name)?;
        Ok(last.clone().filter(|run| run.lanes_finished == LANES))
    })
    .with_context(|| format!("seen last: {last:?}"))
}

/// Returns how many events the engine says that a run has.
///
/// # Errors
/// Fails where the ledger cannot be made.
pub fn events_of(platform: &Platform, run: &[&str]) -> Result<u64> {
    let mut arguments = vec!["ledger"];
    arguments.extend(run);
    let ledger = platform.producer_command(&arguments)?;
    let last = ledger.lines().last().context("the ledger is empty")?;
    let run: serde_json::Value = serde_json::from_str(last)?;
    run["events"].as_u64().context("the ledger's last line has no events")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mortal {
    Producer,
    Consumer,
}

struct Death {
    of: Mortal,
    /// When it is wanted, in thousandths of the run's events.
    wanted: u64,
    /// How long it is away.
    pause_ms: u64,
    /// When it came.
    seen: Option<u64>,
}
