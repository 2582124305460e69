//! One run during which a producer and a consumer die.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::services::{KafkaOptions, Postgres};
use anyhow::{Context, Result, ensure};
use roaming_testkit::{Concern, Seed, Stream};

use crate::observed::Observed;
use crate::wait::{wait_for, wait_until};
use crate::{Daemon, Platform, observed, ownership};

/// Lanes of the run.
const LANES: usize = 64;
/// Lanes of the run on each partition: a lane is on the one of its number, modulo the partitions.
const LANES_PER_PARTITION: usize = LANES / 8;
/// How long a run may take, deaths included.
const RUN_LIMIT: Duration = Duration::from_mins(4);
/// How long the replicas may take to share the partitions.
const SHARE_LIMIT: Duration = Duration::from_mins(1);
/// The part of a run, in thousandths of its events, in which a death is wanted, and up to which it may
/// come late: what is stored is counted some times a second.
const WANTED_PERMILLE: (u64, u64) = (300, 600);
const LATEST_PERMILLE: u64 = 700;
/// How long what died is away at most.
const PAUSE_MAX_MS: u64 = 3000;
/// Simulated seconds a second that let the run last a quarter of a minute.
const PACE: &str = "3000";
/// Name of the run.
const RUN: &str = "trial";

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
    /// What happened to the partitions of the producer that was killed.
    pub producer_takeover: Takeover,
    /// The same for the consumer.
    pub consumer_takeover: Takeover,
    /// From loading the run to its last lane.
    pub took: Duration,
}

/// How the others came to own what a killed replica owned.
#[derive(Clone, Debug)]
pub struct Takeover {
    /// Partitions that it owned at its death.
    pub partitions: usize,
    /// Lanes that it had finished then, of eight on each partition.
    pub lanes_finished: u64,
    /// Assignments, none of them empty, to the survivor and to what came back, after the death.
    pub assignments: usize,
}

/// Runs the profile `demo` on two producers and two consumers, kills one of each on the way, starts it
/// again, and checks the store against the ledger and the topic against the engine.
///
/// # Errors
/// Fails where anything is lost, counted twice or different, or where no replica took over.
pub fn run(seed: u64) -> Result<Trial> {
    Platform::with(Postgres::shared(), &KafkaOptions::default(), |platform| {
        disturbed(platform, seed)
    })
}

fn disturbed(platform: &Platform, seed: u64) -> Result<Trial> {
    let seed_text = seed.to_string();
    let arguments = ["--profile", "demo", "--name", RUN, "--seed", &seed_text];
    let total = events_of(platform, &arguments)?;
    let mut random = Seed(seed).stream(Concern::Fault);
    let mut producers = Pair::start(Kind::Producer, platform, &mut random)?;
    let mut consumers = Pair::start(Kind::Consumer, platform, &mut random)?;
    wait_until("shared partitions", SHARE_LIMIT, || {
        Ok(producers.have_shared()? && consumers.have_shared()?)
    })?;

    // At full speed the producers are far ahead of the consumers; at a pace the two go together.
    let pace = if seed.is_multiple_of(2) { PACE } else { "max" };
    platform
        .producer_command(&[&["scenarios", "load", "--speed", pace], &arguments[..]].concat())?;
    let loaded = Instant::now();
    wait_until("both deaths and returns", RUN_LIMIT, || {
        let is_over = producers.disturb(platform, total)?;
        Ok(consumers.disturb(platform, total)? && is_over)
    })?;
    let (finished, _) = finished(&mut consumers.survivor, RUN, RUN_LIMIT)?;
    let took = loaded.elapsed();

    platform.consumer_command(&["verify", "--run", RUN])?;
    let topic = platform.compare_with_generated(&arguments)?;
    let trial = Trial {
        seed,
        producer_killed_permille: producers.killed_permille()?,
        consumer_killed_permille: consumers.killed_permille()?,
        events: topic.events(),
        lanes: topic.lanes_ended(),
        repeated: topic.duplicates,
        dropped: finished.duplicates,
        producer_takeover: producers.takeover()?,
        consumer_takeover: consumers.takeover()?,
        took,
    };
    ensure!(trial.events == total && trial.lanes == LANES, "not all is on the topic: {trial:?}");
    ensure!(trial.dropped > 0, "nothing was repeated, so that nothing was proved: {trial:?}");
    Ok(trial)
}

#[derive(Clone, Copy)]
enum Kind {
    Producer,
    Consumer,
}

impl Kind {
    fn start(self, platform: &Platform, number: u8) -> Result<Daemon> {
        match self {
            Self::Producer => platform.producer(&format!("producer-{number}")),
            Self::Consumer => platform.consumer(&format!("consumer-{number}")),
        }
    }

    /// The metrics that count events and finished lanes.
    const fn metrics(self) -> (&'static str, &'static str) {
        match self {
            Self::Producer => {
                ("roaming_producer_events_acknowledged_total", "roaming_producer_lanes_finished")
            }
            Self::Consumer => ("roaming_events_processed_total", "roaming_lanes_finished"),
        }
    }
}

/// Two replicas, of which one dies and comes back.
struct Pair {
    kind: Kind,
    survivor: Daemon,
    /// The process that dies; its log is left.
    mortal: Daemon,
    death: Option<Death>,
    /// The process that comes in its place.
    returned: Option<Daemon>,
    /// How far the run is wanted to be at the death, in thousandths of its events.
    wanted_permille: u64,
    /// How long the other one is away.
    pause: Duration,
}

/// How things were when one was killed.
struct Death {
    at: Instant,
    permille: u64,
    /// Partitions that it owned.
    owned: BTreeSet<u16>,
    /// Lanes that it had finished.
    lanes_finished: u64,
    /// How often the survivor had been given partitions.
    survivor_assignments: usize,
}

impl Pair {
    fn start(kind: Kind, platform: &Platform, random: &mut Stream) -> Result<Self> {
        let (low, high) = WANTED_PERMILLE;
        Ok(Self {
            kind,
            survivor: kind.start(platform, 1)?,
            mortal: kind.start(platform, 2)?,
            death: None,
            returned: None,
            wanted_permille: random.between(low, high),
            pause: Duration::from_millis(random.below(PAUSE_MAX_MS)),
        })
    }

    /// Whether each of the two owns a partition.
    fn have_shared(&self) -> Result<bool> {
        ownership::is_shared(&[&self.survivor, &self.mortal])
    }

    /// Kills the one and starts it again, each where its time has come; says whether both are done.
    fn disturb(&mut self, platform: &Platform, total: u64) -> Result<bool> {
        match &self.death {
            None => self.death = self.kill_when_due(total)?,
            Some(_) if self.returned.is_some() => return Ok(true),
            Some(death) if death.at.elapsed() < self.pause => {}
            Some(_) => self.returned = Some(self.kind.start(platform, 2)?),
        }
        Ok(false)
    }

    fn kill_when_due(&mut self, total: u64) -> Result<Option<Death>> {
        let (counter, finished) = self.kind.metrics();
        let done = self.survivor.metric(counter)? + self.mortal.metric(counter)?;
        let lanes_finished = self.mortal.metric(finished)?;
        let permille = done * 1000 / total.max(1);
        if permille < self.wanted_permille {
            return Ok(None);
        }
        self.mortal.kill()?;
        let owned = ownership::owned(&[&self.mortal, &self.survivor])?.swap_remove(0);
        let lanes = owned.len() * LANES_PER_PARTITION;
        ensure!(
            permille <= LATEST_PERMILLE && lanes_finished < lanes as u64,
            "the run was at {permille} of 1000 and {lanes_finished} of the {lanes} lanes were finished when it was disturbed; wanted was {}",
            self.wanted_permille
        );
        let survivor_assignments = ownership::assignments(&self.survivor)?.len();
        Ok(Some(Death {
            at: Instant::now(),
            permille,
            owned,
            lanes_finished,
            survivor_assignments,
        }))
    }

    fn killed_permille(&self) -> Result<u64> {
        Ok(self.death.as_ref().context("it was not killed")?.permille)
    }

    /// Waits until all that the one owned at its death is owned by others, what came back among them.
    fn takeover(&self) -> Result<Takeover> {
        let death = self.death.as_ref().context("it was not killed")?;
        let returned = self.returned.as_ref().context("it did not come back")?;
        let replicas = [&self.survivor, returned, &self.mortal];
        wait_until(
            "the partitions of what was killed with others, and some with what came back",
            SHARE_LIMIT,
            || {
                let owned = ownership::owned(&replicas)?;
                Ok(owned[2].is_empty() && !owned[1].is_empty())
            },
        )?;
        let assignments = ownership::assignments(&self.survivor)?.len()
            - death.survivor_assignments
            + ownership::assignments(returned)?.len();
        let partitions = death.owned.len();
        Ok(Takeover { partitions, lanes_finished: death.lanes_finished, assignments })
    }
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
