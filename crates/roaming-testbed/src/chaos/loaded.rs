//! A run that is on its way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use roaming_testkit::Seed;

use super::kind::Form;
use super::recovery::counted_anew;
use super::stage::{RECOVERY_LIMIT, Stage};
use crate::Platform;
use crate::profile::demo_with;
use crate::services::{KafkaOptions, Postgres};
use crate::trial::events_of;

/// Name of the run.
pub(super) const RUN: &str = "chaos";
/// How long the rest of the run may take once it is let go at full speed.
pub(super) const REST_LIMIT: Duration = Duration::from_mins(3);
/// Subscribers of the run: small enough that most of a round is faults and not proof.
const SUBSCRIBERS: u32 = 6000;
/// Simulated seconds a second: the half day of the profile lasts for ten minutes, longer than the faults.
const PACE: &str = "80";

/// A run at a pace, and what it runs on.
pub(super) struct Loaded<'a> {
    pub(super) platform: &'a Platform,
    pub(super) postgres: &'a Postgres,
    /// Events that the engine says it has.
    pub(super) expected: u64,
    /// When it was loaded.
    pub(super) at: Instant,
    profile: String,
    seed: String,
}

/// Starts services and daemons, loads a run, waits until each partition is counted, and goes on with `what`.
pub(super) fn on_services<T>(
    seed: Seed,
    form: Form,
    what: impl FnOnce(&Loaded<'_>, &mut Stage<'_>) -> Result<T>,
) -> Result<T> {
    let postgres = Postgres::start(&form.postgres());
    let kafka =
        KafkaOptions { nodes: form.brokers(), ways: Stage::WAYS, ..KafkaOptions::default() };
    Platform::with(&postgres, &kafka, |platform| {
        let values = [("subscribers", SUBSCRIBERS)];
        let profile = demo_with(&values, platform.kafka.folder(), "small")?;
        let mut stage = Stage::start(platform, &postgres, form)?;
        let mut loaded = Loaded {
            platform,
            postgres: &postgres,
            expected: 0,
            at: Instant::now(),
            profile,
            seed: seed.to_string(),
        };
        loaded.expected = events_of(platform, &loaded.arguments())?;
        let load = [&["scenarios", "load", "--speed", PACE], &loaded.arguments()[..]].concat();
        platform.producer_command(&load)?;
        loaded.at = Instant::now();
        stage.settle()?;
        counted_anew(platform, loaded.at, RECOVERY_LIMIT).context("before the first fault")?;
        let result = what(&loaded, &mut stage)?;
        stage.stop()?;
        Ok(result)
    })
}

impl Loaded<'_> {
    /// Returns the arguments that say which run it is.
    pub(super) fn arguments(&self) -> [&str; 6] {
        ["--profile", &self.profile, "--name", RUN, "--seed", &self.seed]
    }

    /// Lets the rest of it go by at full speed.
    pub(super) fn hurry(&self) -> Result<()> {
        self.platform.producer_command(&["scenarios", "speed", RUN, "max"]).map(|_| ())
    }

    /// Returns the status with which `verify` ends on a store, and what it prints.
    pub(super) fn verify(&self, dsn: &str) -> Result<(Option<i32>, String)> {
        let mut command = self.platform.command("roaming-consumer")?;
        let output = command.env("POSTGRES_DSN", dsn).args(["verify", "--run", RUN]).output()?;
        Ok((output.status.code(), String::from_utf8(output.stdout)?))
    }
}
