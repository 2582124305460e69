//! What cannot be made good: it is told exactly, and never counted over.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roaming_testkit::Seed;

use super::kind::Form;
use super::loaded::{Loaded, REST_LIMIT, on_services};
use super::stage::{RECOVERY_LIMIT, Stage};
use crate::wait::wait_until;
use crate::{retention, store};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
/// Records that nobody has counted when they are lost.
const UNCOUNTED_MIN: u64 = 2000;
/// How long a consumer may take to find out.
const TELL_LIMIT: Duration = Duration::from_mins(1);
/// Status of a daemon that cannot go on, and of `verify` where the balance does not hold.
const FAILED: i32 = 1;
const NO_BALANCE: i32 = 2;
const LANES: u64 = 64;

/// How events are lost from the log before they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Retention removes records that nobody has counted.
    RetentionOvertook,
    /// The topic is deleted and made anew.
    TopicDeleted,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::RetentionOvertook, Self::TopicDeleted];
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::RetentionOvertook => "retention overtook",
            Self::TopicDeleted => "topic deleted",
        })
    }
}

/// A loss, as it was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// Events of the run.
    pub expected: u64,
    /// Events that `verify` says are missing: those that are not on the topic, to the unit.
    pub missing: u64,
    /// From the loss until both consumers had ended and said why.
    pub took: Duration,
}

/// Kills both consumers of a run, loses what nobody has counted, and demands that each consumer that comes
/// refuses to go on and says what is lost, and that `verify` of a new store misses exactly what is not on
/// the topic.
///
/// # Errors
/// Fails where the loss is told otherwise.
pub fn lose(loss: Loss, seed: Seed, form: Form) -> Result<Told> {
    on_services(seed, form, |loaded, stage| told(loss, loaded, stage))
}

fn told(loss: Loss, loaded: &Loaded<'_>, stage: &mut Stage<'_>) -> Result<Told> {
    let platform = loaded.platform;
    for consumer in stage.consumers() {
        consumer.kill()?;
    }
    let sum = |offsets: BTreeMap<u16, u64>| offsets.values().sum::<u64>();
    let counted = sum(store::offsets(&platform.dsn)?);
    wait_until("records that nobody counts", RECOVERY_LIMIT, || {
        Ok(sum(platform.topic_ends()?) > counted + UNCOUNTED_MIN)
    })?;
    let said = match loss {
        Loss::RetentionOvertook => retention::overtake(platform)?,
        Loss::TopicDeleted => {
            platform.kafka.tool(TOPICS, &["--delete", "--topic", "roaming.events"]);
            platform.producer_command(&["topics", "create"])?;
            vec!["the topic was made anew".to_owned()]
        }
    };
    let since = Instant::now();
    stage.start_consumers_again()?;
    for consumer in stage.consumers() {
        let status = consumer.ended(TELL_LIMIT)?;
        let log = consumer.log()?;
        ensure!(
            status.code() == Some(FAILED) && said.iter().any(|said| log.contains(said)),
            "{status}, and none of {said:?} is in {log}"
        );
    }
    let took = since.elapsed();
    let (status, sheet) = loaded.verify(&platform.dsn)?;
    ensure!(status == Some(NO_BALANCE), "verify of the old store ended with {status:?}: {sheet}");

    // What the message asks for.
    let fresh = loaded.postgres.create_database();
    stage.give_store(&fresh);
    stage.start_consumers_again()?;
    loaded.hurry()?;
    wait_until("the end of each lane", REST_LIMIT, || {
        Ok(stage.sum_over_producers("roaming_producer_lanes_finished")? == LANES)
    })?;
    wait_until("all that is left counted", REST_LIMIT, || {
        Ok(store::offsets(&fresh).ok() == Some(platform.topic_ends()?))
    })?;
    let expected = loaded.expected;
    let on_topic = platform.events_on_topic(&loaded.arguments())?;
    let (status, sheet) = loaded.verify(&fresh)?;
    let sums = sheet.lines().find_map(|line| line.trim_start().strip_prefix("all "));
    let sums: Vec<u64> = sums
        .context("verify printed no sums")?
        .split_whitespace()
        .filter_map(|word| word.replace(',', "").parse().ok())
        .collect();
    let told = format!("of {expected} events {on_topic} are on the topic; {status:?}: {sheet}");
    // The digest may look like a number: what follows it is told from its end.
    ensure!(status == Some(NO_BALANCE) && sums.starts_with(&[expected, on_topic]), "{told}");
    let missing = expected - on_topic;
    ensure!(missing >= UNCOUNTED_MIN / 2 && sums.contains(&missing), "{told}");
    Ok(Told { expected, missing, took })
}
