//! Replicas come and go while runs are sent at full speed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roaming_testbed::services::{KafkaOptions, Postgres};
use roaming_testbed::trial::finished;
use roaming_testbed::wait::wait_until;
use roaming_testbed::{Daemon, Platform, ownership, tell};

/// Replicas of each daemon at the most, and in the end.
const MOST: usize = 6;
const LEAST: usize = 2;
/// Runs that are sent side by side: enough to last until all have come and gone.
const RUNS: usize = 6;
const SHARE_LIMIT: Duration = Duration::from_mins(2);
const RUN_LIMIT: Duration = Duration::from_mins(6);
const SENT: &str = "roaming_producer_events_acknowledged_total";
const COUNTED: &str = "roaming_events_processed_total";

/// The longest that a daemon stood still, while it was looked at.
struct Stillness {
    metric: &'static str,
    value: u64,
    since: Instant,
    longest: Duration,
}

impl Stillness {
    fn of(metric: &'static str) -> Self {
        Self { metric, value: 0, since: Instant::now(), longest: Duration::ZERO }
    }

    fn look(&mut self, daemon: &mut Daemon) -> Result<()> {
        let value = daemon.metric(self.metric)?;
        if value != self.value {
            self.longest = self.longest.max(self.since.elapsed());
            (self.value, self.since) = (value, Instant::now());
        }
        Ok(())
    }
}

#[test]
fn replicas_come_and_go_at_full_speed_and_nothing_is_lost() -> Result<()> {
    Platform::with(Postgres::shared(), &KafkaOptions::default(), |platform| {
        let mut producers = vec![platform.producer("producer-0")?];
        let mut consumers = vec![platform.consumer("consumer-0")?];
        let names: Vec<String> = (0..RUNS).map(|number| format!("elastic{number}")).collect();
        for name in &names {
            let load = ["scenarios", "load", "--profile", "demo", "--speed", "max", "--name", name];
            platform.producer_command(&load)?;
        }
        wait_until("some events", RUN_LIMIT, || Ok(consumers[0].metric(COUNTED)? > 0))?;
        let (mut sent, mut counted) = (Stillness::of(SENT), Stillness::of(COUNTED));

        for number in 1..MOST {
            producers.push(platform.producer(&format!("producer-{number}"))?);
            consumers.push(platform.consumer(&format!("consumer-{number}"))?);
        }
        let took = wait_until("partitions for every replica", SHARE_LIMIT, || {
            sent.look(&mut producers[0])?;
            counted.look(&mut consumers[0])?;
            Ok(ownership::is_shared(&producers.iter().collect::<Vec<_>>())?
                && ownership::is_shared(&consumers.iter().collect::<Vec<_>>())?)
        })?;
        tell!("1 to {MOST} replicas of each: shared after {:.1} s", took.as_secs_f64());

        let leaving: Vec<_> = producers.drain(LEAST..).chain(consumers.drain(LEAST..)).collect();
        for daemon in leaving {
            ensure!(daemon.stop()?.success(), "a replica did not stop well");
            sent.look(&mut producers[0])?;
            counted.look(&mut consumers[0])?;
        }
        let status = platform.producer_command(&["scenarios", "status"])?;
        ensure!(status.contains(": running"), "all were over before: {status}");
        for name in &names {
            finished(&mut consumers[0], name, RUN_LIMIT)?;
            platform.consumer_command(&["verify", "--run", name])?;
        }
        tell!(
            "the replicas that stayed stood still for {:.1} s (producer) and {:.1} s (consumer) at the longest",
            sent.longest.as_secs_f64(),
            counted.longest.as_secs_f64()
        );
        Ok(())
    })
}
