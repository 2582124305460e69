//! A run of a hundred million events: what the daemons keep in memory on the way, and whether it balances.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roaming_testbed::profile::demo_with;
use roaming_testbed::services::{KafkaOptions, Postgres};
use roaming_testbed::trial::finished;
use roaming_testbed::wait::wait_until;
use roaming_testbed::{Daemon, Platform, trial};

use crate::process::memory_kib;

/// What makes the profile `demo` a run of a hundred million events.
const SIZE: [(&str, u32); 2] = [("subscribers", 300_000), ("duration_h", 77)];
const EVENTS_MIN: u64 = 100_000_000;
const NAME: &str = "long";
/// How long the run may take.
const LIMIT: Duration = Duration::from_mins(20);
/// How much more memory a daemon may use at its most in the last four fifths of a run than in the first.
const GROWTH_GOAL: f64 = 0.1;
const COUNTED: &str = "roaming_events_processed_total";

/// Lets one producer and one consumer do it, and prints what each used by the way.
///
/// # Errors
/// Fails where the run does not balance, or is not done in time.
pub(crate) fn report(postgres: &Postgres) -> Result<()> {
    Platform::with(postgres, &KafkaOptions::default(), |platform| {
        let folder = tempfile::tempdir()?;
        let profile = demo_with(&SIZE, folder.path(), NAME)?;
        let run = ["--profile", &profile, "--name", NAME];
        let events = trial::events_of(platform, &run)?;
        ensure!(events >= EVENTS_MIN, "a run of {events} events is none of {EVENTS_MIN}");
        let mut consumer = platform.consumer("consumer")?;
        let producer = platform.producer("producer")?;
        platform
            .producer_command(&[&["scenarios", "load", "--speed", "max"], &run[..]].concat())?;
        let begin = Instant::now();
        let (mut sent, mut counting) = (Memory::default(), Memory::default());
        wait_until("all events counted", LIMIT, || {
            let counted = consumer.metric(COUNTED)?;
            let is_early = counted < events / 5;
            sent.look(&producer, is_early)?;
            counting.look(&consumer, is_early)?;
            Ok(counted >= events)
        })?;
        let seconds = begin.elapsed().as_secs_f64();
        finished(&mut consumer, NAME, LIMIT)?;
        let sheet = platform.consumer_command(&["verify", "--run", NAME])?;
        println!(
            "{:<34} {:>12}   {events} events, {}",
            "a long run",
            format!("{:.0} k/s", events as f64 / seconds / 1e3),
            sheet.lines().last().unwrap_or_default()
        );
        sent.print("its producer");
        counting.print("its consumer");
        Ok(())
    })
}

/// The most memory of a daemon in the first fifth of a run, and in the rest.
#[derive(Default)]
struct Memory {
    early_kib: u64,
    late_kib: u64,
}

impl Memory {
    fn look(&mut self, daemon: &Daemon, is_early: bool) -> Result<()> {
        let most = if is_early { &mut self.early_kib } else { &mut self.late_kib };
        *most = memory_kib(daemon.id())?.max(*most);
        Ok(())
    }

    fn print(&self, what: &str) {
        let growth = self.late_kib as f64 / self.early_kib as f64 - 1.0;
        println!(
            "{what:<34} {:>12}   {} MiB at most in the first fifth: {:+.0} %, goal {:.0} %",
            format!("{} MiB", self.late_kib / 1024),
            self.early_kib / 1024,
            growth * 100.0,
            GROWTH_GOAL * 100.0,
        );
    }
}
