//! Speed of the daemons on Apache Kafka and PostgreSQL, each beside a bare client of the same library.
//!
//! The producer is measured against a loop that sends records of a run of the same profile from memory, the consumer against a
//! loop that only reads and against a Kafka Streams program of the same aggregation. The sides alternate,
//! with the same settings on the same broker; a figure is the median of the rounds. Broker, database and
//! clients share the machine. At last: how long after an event is sent it is counted, at a fixed rate, the
//! whole path with several replicas of each daemon, and a run of a hundred million events. An argument names
//! one of these parts: `clients`, `delay`, `replicas` or `long-run`.

mod bare;
mod delay;
mod long_run;
mod process;
mod replicas;
mod streams;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roaming_testbed::services::{KafkaOptions, Postgres};
use roaming_testbed::wait::wait_until;
use roaming_testbed::{Daemon, Platform, trial};

use bare::{Measured, TOPIC};
use process::Cpu;
use streams::Streams;

/// Rounds of each comparison.
const ROUNDS: usize = 5;
/// Lanes of a run.
const LANES: u64 = 64;
/// Runs that the consumers read: enough that beginning and end, some tenths of a second, count little.
const CONSUMED_RUNS: u64 = 4;
/// Runs that a producer sends in one round, side by side, for the same reason. The bare one sends the first
/// as often.
const PRODUCED_RUNS: u64 = 3;
/// The smallest share of the bare producer's speed that the producer should reach.
const PRODUCER_GOAL: f64 = 0.95;
/// The same for the consumer, which counts and stores what the bare one only reads.
const CONSUMER_GOAL: f64 = 0.6;
/// How many times the speed of the Kafka Streams program the consumer should reach.
const STREAMS_GOAL: f64 = 5.0;
/// How long one round may take.
const ROUND_LIMIT: Duration = Duration::from_mins(3);
/// How often a daemon is asked how far it is: each question costs it about a millisecond.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// First arguments of the processes of the bare clients.
const BARE_PRODUCER: &str = "bare-producer";
const BARE_CONSUMER: &str = "bare-consumer";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let measured = match arguments.as_slice() {
        [BARE_PRODUCER, servers, file] => bare::produce(servers, Path::new(file), PRODUCED_RUNS)?,
        [BARE_CONSUMER, servers] => bare::consume(servers)?,
        // Cargo adds flags of its own.
        parts => return report(parts.iter().copied().find(|part| !part.starts_with('-'))),
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// A part of the benchmark, by its name.
type Part = (&'static str, fn(&Postgres) -> Result<()>);

const PARTS: [Part; 4] = [
    ("clients", compare),
    ("delay", delay::report),
    ("replicas", replicas::report),
    ("long-run", long_run::report),
];

/// Measures one part, or all.
fn report(wanted: Option<&str>) -> Result<()> {
    println!("{}", machine()?);
    let is_wanted = |(name, _): &&Part| wanted.is_none_or(|wanted| wanted == *name);
    let parts: Vec<_> = PARTS.iter().filter(is_wanted).collect();
    ensure!(
        !parts.is_empty(),
        "no part has this name; there are {}",
        PARTS.map(|(name, _)| name).join(", ")
    );
    let postgres = Postgres::shared();
    parts.iter().try_for_each(|(_, report)| report(postgres))
}

/// Measures each daemon beside its peers.
fn compare(postgres: &Postgres) -> Result<()> {
    let streams = Streams::build()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("records");
    Platform::with(postgres, &KafkaOptions::default(), |platform| {
        let events = trial::events_of(platform, &["--profile", "demo", "--name", "bench"])?;
        println!("profile demo: {events} events in {LANES} lanes, {ROUNDS} rounds, medians");
        // The first run warms the broker up, and is what the bare producer sends.
        producer_round(platform, &["first".to_owned()], events)?;
        bare::keep(&platform.kafka.bootstrap_servers(), &file)?;
        for run in 1..CONSUMED_RUNS {
            producer_round(platform, &[format!("further{run}")], events)?;
        }
        compare_consumers(platform, postgres, &streams, events * CONSUMED_RUNS)?;
        compare_producers(platform, &file, events)?;
        report_tool(platform, folder.path(), events)
    })
}

fn compare_consumers(
    platform: &Platform,
    postgres: &Postgres,
    streams: &Streams,
    events: u64,
) -> Result<()> {
    let servers = platform.kafka.bootstrap_servers();
    let (mut ours, mut bares, mut peers) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        bares.push(bare_round(&[BARE_CONSUMER, &servers])?);
        let dsn = postgres.create_database();
        ours.push(consumer_round(platform, &dsn, events)?);
        let rows = rows_in(postgres, &dsn)?;
        peers.push(streams.count(&servers, round, events, rows)?);
    }
    let speed = line("consumer", &ours, events);
    ratio("consumer / bare consumer", speed / line("bare consumer", &bares, events), CONSUMER_GOAL);
    ratio("consumer / Kafka Streams", speed / line("Kafka Streams", &peers, events), STREAMS_GOAL);
    Ok(())
}

/// Returns how many rows a consumer has written.
fn rows_in(postgres: &Postgres, dsn: &str) -> Result<u64> {
    let (_, database) = dsn.rsplit_once('/').context("the DSN names no database")?;
    let count = postgres.sql(database, "SELECT count(*) FROM roaming.aggregates");
    count.trim().parse().context("no number of rows")
}

fn compare_producers(platform: &Platform, file: &Path, events: u64) -> Result<()> {
    let servers = platform.kafka.bootstrap_servers();
    let path = file.to_string_lossy();
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        bares.push(bare_round(&[BARE_PRODUCER, &servers, &path])?);
        let runs: Vec<_> = (0..PRODUCED_RUNS).map(|run| format!("round{round}-{run}")).collect();
        ours.push(producer_round(platform, &runs, events * PRODUCED_RUNS)?);
    }
    let events = events * PRODUCED_RUNS;
    let speed = line("producer", &ours, events) / line("bare producer", &bares, events);
    ratio("producer / bare producer", speed, PRODUCER_GOAL);
    Ok(())
}

/// Lets a producer of its own send runs; measured from the first event that is accepted to the last that is
/// acknowledged.
fn producer_round(platform: &Platform, runs: &[String], events: u64) -> Result<Measured> {
    // Before the producer starts, so that it has all of them from the beginning.
    for run in runs {
        platform.producer_command(&[
            "scenarios",
            "load",
            "--profile",
            "demo",
            "--name",
            run,
            "--speed",
            "max",
        ])?;
    }
    let mut command = platform.command("roaming-producer")?;
    // No consumer reads meanwhile, so that flow control must not wait for one.
    command.args(["run", "--listen", "127.0.0.1:0"]).env("ROAMING_PRODUCER_UNREAD_MIB", "1048576");
    let mut producer = platform.daemon("producer", &command)?;
    let measured = watch(
        &mut producer,
        Duration::from_millis(2),
        |producer| {
            let acknowledged = producer.metric("roaming_producer_events_acknowledged_total")?;
            Ok((
                acknowledged + producer.metric("roaming_producer_records_in_flight")?,
                acknowledged,
            ))
        },
        events,
    )?;
    wait_until("the end of all lanes", ROUND_LIMIT, || {
        Ok(producer.metric("roaming_producer_records_in_flight")? == 0)
    })?;
    producer.stop()?;
    Ok(measured)
}

/// Lets a consumer count all runs into a database of its own; measured from the first partition that
/// is acquired to the last event that is stored.
fn consumer_round(platform: &Platform, dsn: &str, events: u64) -> Result<Measured> {
    let mut command = platform.command("roaming-consumer")?;
    command.args(["run", "--listen", "127.0.0.1:0"]).env("POSTGRES_DSN", dsn);
    let mut consumer = platform.daemon("consumer", &command)?;
    let measured = watch(
        &mut consumer,
        Duration::from_millis(2),
        |consumer| {
            let acquired = consumer.lines_with("partition acquired")? as u64;
            Ok((
                acquired,
                if acquired == 0 {
                    0
                } else {
                    consumer.metric("roaming_events_processed_total")?
                },
            ))
        },
        events,
    )?;
    consumer.stop()?;
    Ok(measured)
}

/// Watches a daemon from when it has begun to when it has done all; `look` says how much of each.
fn watch(
    daemon: &mut Daemon,
    first_interval: Duration,
    mut look: impl FnMut(&mut Daemon) -> Result<(u64, u64)>,
    events: u64,
) -> Result<Measured> {
    let waiting = Instant::now();
    let mut begun: Option<(Cpu, Instant)> = None;
    loop {
        let (cpu, now) = (Cpu::of(daemon.id())?, Instant::now());
        let (started, done) = look(daemon)?;
        if started > 0 && begun.is_none() {
            begun = Some((cpu, now));
        }
        if done >= events
            && let Some((before, begin)) = begun
        {
            ensure!(done == events, "{done} events instead of {events}");
            return Measured::of(daemon.id(), begin.elapsed().as_secs_f64(), &before);
        }
        ensure!(waiting.elapsed() < ROUND_LIMIT, "{done} of {events} events after {ROUND_LIMIT:?}");
        thread::sleep(if begun.is_some() { LOOK_INTERVAL } else { first_interval });
    }
}

/// Runs a bare client in a process of its own.
fn bare_round(arguments: &[&str]) -> Result<Measured> {
    let output = Command::new(std::env::current_exe()?).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?} ended with {}: {said}", output.status);
    serde_json::from_slice(&output.stdout).context("it printed no figures")
}

/// Prints a ratio of speeds beside its goal.
fn ratio(what: &str, speeds: f64, goal: f64) {
    println!("{what:<34} {speeds:>12.2}   goal {goal}");
}

/// Prints the figures of one side; returns its median speed.
fn line(what: &str, rounds: &[Measured], events: u64) -> f64 {
    let mut rounds: Vec<_> = rounds.iter().collect();
    rounds.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let rate = |measured: &Measured| events as f64 / measured.seconds;
    let median = rounds[rounds.len() / 2];
    let mut costs: Vec<_> = rounds.iter().map(|round| round.cpu.total()).collect();
    costs.sort_unstable();
    let memory_kib = rounds.iter().map(|round| round.memory_kib).max().unwrap_or_default();
    println!(
        "{what:<34} {:>12}   {:.0} to {:.0} k/s, {} MiB, {:.2} us of processor an event: {}",
        format!("{:.0} k/s", rate(median) / 1e3),
        rate(rounds[0]) / 1e3,
        rate(rounds[rounds.len() - 1]) / 1e3,
        memory_kib / 1024,
        costs[costs.len() / 2] as f64 / events as f64,
        median.cpu.shares(events)
    );
    rate(median)
}

/// Prints what Kafka's own benchmark of its producer says of the same payloads, for the record.
fn report_tool(platform: &Platform, folder: &Path, events: u64) -> Result<()> {
    let generated = platform.producer_command(&[
        "generate",
        "--profile",
        "demo",
        "--name",
        "bench",
        "--lane",
        "0",
    ])?;
    let file = folder.join("payloads");
    fs::write(&file, generated.trim_end())?;
    let said = platform.kafka.tool(
        "org.apache.kafka.tools.ProducerPerformance",
        &[
            "--topic",
            TOPIC,
            "--num-records",
            &events.to_string(),
            "--throughput",
            "-1",
            "--payload-file",
            &file.to_string_lossy(),
            "--command-property",
            "acks=all",
            "enable.idempotence=true",
            "compression.type=lz4",
            "linger.ms=20",
            "max.in.flight.requests.per.connection=5",
            "buffer.memory=67108864",
        ],
    );
    let last = said.lines().last().unwrap_or_default();
    println!("Kafka's ProducerPerformance: {last}");
    Ok(())
}

/// Says what the figures come from.
fn machine() -> Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(format!(
        "{} processors ({}) shared by broker, database and clients; load before: {}",
        thread::available_parallelism()?,
        model.map_or("unknown", |(_, model)| model),
        load.split(' ').next().unwrap_or_default()
    ))
}
