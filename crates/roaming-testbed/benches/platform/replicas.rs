//! The whole path with several replicas of each daemon: what an event costs must not grow with their number.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roaming_testbed::services::{KafkaOptions, Postgres};
use roaming_testbed::wait::wait_until;
use roaming_testbed::{Daemon, Platform, ownership, trial};

use crate::process::Cpu;

/// How many of each.
const REPLICAS: [u8; 4] = [1, 2, 4, 6];
/// Runs side by side.
const RUNS: u64 = 3;
/// How long the replicas may take to share the partitions, and then to be done.
const LIMIT: Duration = Duration::from_mins(3);
/// How much more, or less, an event may cost than with one replica of each.
const COST_GOAL: f64 = 0.15;
const COUNTED: &str = "roaming_events_processed_total";

/// What an event cost a group of replicas, in microseconds of processor.
struct Cost {
    producers: f64,
    consumers: f64,
}

/// Measures each number of replicas on a platform of its own, and prints throughput and cost.
///
/// # Errors
/// Fails where not all events are counted in time.
pub(crate) fn report(postgres: &Postgres) -> Result<()> {
    let mut alone = None;
    for replicas in REPLICAS {
        let (rate, cost) = Platform::with(postgres, &KafkaOptions::default(), |platform| {
            measure(platform, replicas)
        })?;
        let alone = alone.get_or_insert(cost.producers + cost.consumers);
        let more = (cost.producers + cost.consumers) / *alone - 1.0;
        println!(
            "{:<34} {:>12}   {:.2} us of processor an event in producers, {:.2} in consumers: {:+.0} %, goal within {:.0} %",
            format!("{replicas} producers, {replicas} consumers"),
            format!("{:.0} k/s", rate / 1e3),
            cost.producers,
            cost.consumers,
            more * 100.0,
            COST_GOAL * 100.0,
        );
    }
    Ok(())
}

/// Returns the events a second of the whole path, and what each cost.
fn measure(platform: &Platform, replicas: u8) -> Result<(f64, Cost)> {
    let numbers = 1..=replicas;
    let producers: Vec<_> = numbers
        .clone()
        .map(|number| platform.producer(&format!("producer-{number}")))
        .collect::<Result<_>>()?;
    let mut consumers: Vec<_> = numbers
        .map(|number| platform.consumer(&format!("consumer-{number}")))
        .collect::<Result<_>>()?;
    for group in [&producers, &consumers] {
        let group: Vec<_> = group.iter().collect();
        wait_until("shared partitions", LIMIT, || ownership::is_shared(&group))?;
    }
    let events = RUNS * trial::events_of(platform, &["--profile", "demo", "--name", "replicas"])?;
    let before = (cpu_us(&producers)?, cpu_us(&consumers)?);
    let begin = Instant::now();
    for run in 0..RUNS {
        let name = format!("replicas{run}");
        let load = ["scenarios", "load", "--profile", "demo", "--name", &name, "--speed", "max"];
        platform.producer_command(&load)?;
    }
    wait_until("all events counted", LIMIT, || Ok(counted(&mut consumers)? >= events))?;
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(counted(&mut consumers)? == events, "more is counted than there is");
    let cost = |now: u64, before: u64| (now - before) as f64 / events as f64;
    let cost = Cost {
        producers: cost(cpu_us(&producers)?, before.0),
        consumers: cost(cpu_us(&consumers)?, before.1),
    };
    Ok((events as f64 / seconds, cost))
}

fn counted(consumers: &mut [Daemon]) -> Result<u64> {
    consumers.iter_mut().map(|consumer| consumer.metric(COUNTED)).sum()
}

fn cpu_us(daemons: &[Daemon]) -> Result<u64> {
    daemons.iter().map(|daemon| Ok(Cpu::of(daemon.id())?.total())).sum()
}
