//! How long a lane sends nothing when it moves to another producer, in the middle of a run of a billion events.
//!
//! Nobody sends the first half: progress is written to `roaming.lanes` as an owner would have left it at half of
//! the run's time. The pauses are taken from the times that the records on the topic bear, lane by lane.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use roaming_events::{EventId, LaneId, SimDuration};
use roaming_service::kafka::{Broker, KafkaSettings, SESSION_TIMEOUT};
use roaming_sim::{Profile, STREAM_VERSION, Simulation, Specification};
use roaming_testbed::profile::demo_with;
use roaming_testbed::services::{KafkaOptions, Postgres};
use roaming_testbed::wait::wait_until;
use roaming_testbed::{Daemon, Platform, ownership};
use serde_json::json;

/// Lanes of the run.
const LANES: u16 = 64;
/// Partitions of the topics, as they are made.
const PARTITIONS: u16 = 8;
/// The same profile as elsewhere, with so many subscribers for so many hours: 15.8 million events a lane.
const SUBSCRIBERS: u32 = 1_050_000;
const HOURS: u32 = 208;
/// How long the first owner may take to get there, which it does without snapshots.
const FIRST_LIMIT: Duration = Duration::from_mins(8);
/// How long a move may take, the session time-out included.
const MOVE_LIMIT: Duration = Duration::from_mins(1);
/// How long everything goes on after a move.
const AFTER: Duration = Duration::from_secs(5);
/// What a lane that is handed over should not be silent for longer than.
const GOAL: Duration = Duration::from_secs(2);
const NAME: &str = "handover";
const ACKNOWLEDGED: &str = "roaming_producer_events_acknowledged_total";
/// Simulated seconds a second at which all lanes together send about 20,000 events in one.
const PACE: &str = "15";

fn main() -> Result<()> {
    Platform::with(Postgres::shared(), &KafkaOptions::default(), measure)
}

fn measure(platform: &Platform) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let values = [("subscribers", SUBSCRIBERS), ("duration_h", HOURS)];
    let file = demo_with(&values, folder.path(), "billion")?;
    let events = set_forward(platform, Profile::parse("billion", &fs::read_to_string(&file)?)?)?;
    let run = ["--profile", &file, "--name", NAME];
    platform.producer_command(&[&["scenarios", "load", "--speed", PACE], &run[..]].concat())?;
    // From where the lanes are.
    platform.producer_command(&["scenarios", "pause", NAME])?;
    platform.producer_command(&["scenarios", "resume", NAME])?;

    let begin = Instant::now();
    let mut first = producer(platform, 1)?;
    wait_until("a snapshot of each lane", FIRST_LIMIT, || {
        Ok(lanes_with_snapshots(platform)? == usize::from(LANES))
    })?;
    let took = begin.elapsed().as_secs_f64();
    println!(
        "{LANES} lanes, {events} events before them: all have snapshots {took:.0} s after the first start"
    );
    thread::sleep(AFTER);

    let joined = unix_ms()?;
    let mut second = producer(platform, 2)?;
    wait_until("shared lanes", MOVE_LIMIT, || ownership::is_shared(&[&first, &second]))?;
    wait_until("events of the second", MOVE_LIMIT, || Ok(second.metric(ACKNOWLEDGED)? > 0))?;
    thread::sleep(AFTER);
    report("a second producer joined", &pauses(platform, joined)?, GOAL);

    let killed = unix_ms()?;
    second.kill()?;
    wait_until("all lanes with the first", MOVE_LIMIT, || {
        Ok(first.metric("roaming_producer_lanes_owned")? == u64::from(LANES))
    })?;
    thread::sleep(AFTER);
    report("the second producer killed", &pauses(platform, killed)?, SESSION_TIMEOUT + GOAL);
    Ok(())
}

fn producer(platform: &Platform, number: u8) -> Result<Daemon> {
    let mut command = platform.command("roaming-producer")?;
    // Nobody reads, so that flow control must not wait for it.
    command.args(["run", "--listen", "127.0.0.1:0"]).env("ROAMING_PRODUCER_UNREAD_MIB", "1048576");
    platform.daemon(&format!("producer-{number}"), &command)
}

fn unix_ms() -> Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())
}

/// Writes progress for each lane of a run at half of its time; returns how many events that stands for.
fn set_forward(platform: &Platform, profile: Profile) -> Result<u64> {
    let specification = Arc::new(Specification {
        name: NAME.to_owned(),
        profile,
        seed: 1,
        lanes: LANES,
        events_partitions: PARTITIONS,
        lanes_partitions: PARTITIONS,
        stream_version: STREAM_VERSION,
    });
    let (run, start, end) = (specification.run_id(), specification.start(), specification.end());
    let middle = start + SimDuration::from_ms(end.since(start).ms() / 2);
    let simulation = Arc::new(Simulation::try_new(specification)?);
    let lanes = Mutex::new(LaneId::all(LANES));
    let reached = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                while let Some(id) = lanes.lock().expect("no thread panics").next() {
                    let mut lane = simulation.lane(id);
                    let mut last = start;
                    while let Some(event) = lane.next_before(middle) {
                        last = event.emission_time;
                    }
                    reached.lock().expect("no thread panics").push((id, lane.sequence(), last));
                }
            });
        }
    });
    let servers = platform.kafka.bootstrap_servers();
    let producer: BaseProducer = KafkaSettings::new(&servers, Broker::Kafka).producer().create()?;
    let mut events = 0;
    for (lane, acknowledged, emission_time) in reached.into_inner().expect("no thread panics") {
        let progress = json!({
            "run": run,
            "lane": lane,
            "acknowledged": acknowledged,
            "emission_time": emission_time,
            "ended": false,
        });
        let (key, value) = (format!("{run}/{lane}"), progress.to_string());
        let record = BaseRecord::to("roaming.lanes")
            .partition(i32::from(lane.partition(PARTITIONS)))
            .key(&key)
            .payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
        events += acknowledged.get();
    }
    producer.flush(MOVE_LIMIT)?;
    Ok(events)
}

/// Returns how many lanes have a piece of a snapshot on `roaming.lanes`.
fn lanes_with_snapshots(platform: &Platform) -> Result<usize> {
    let output = Command::new("kcat")
        .args(["-b", &platform.kafka.bootstrap_servers(), "-C", "-q", "-e"])
        .args(["-t", "roaming.lanes", "-o", "beginning", "-f", "%k\n"])
        .output()
        .context("kcat cannot be started")?;
    ensure!(output.status.success(), "kcat failed");
    let text = String::from_utf8(output.stdout)?;
    let lanes = text.lines().filter_map(|key| match *key.split('/').collect::<Vec<_>>() {
        [_, lane, _, _] => Some(lane),
        _ => None,
    });
    Ok(lanes.collect::<BTreeSet<_>>().len())
}

/// Returns for each lane the longest time between two of its records on the topic since then.
fn pauses(platform: &Platform, since_unix_ms: u128) -> Result<Vec<Duration>> {
    let mut kcat = Command::new("kcat")
        .args(["-b", &platform.kafka.bootstrap_servers(), "-C", "-q", "-e"])
        .args(["-t", "roaming.events", "-o", &format!("s@{since_unix_ms}"), "-f", "%T %k\n"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("kcat cannot be started")?;
    let since_unix_ms = u64::try_from(since_unix_ms)?;
    let mut last: BTreeMap<_, _> = LaneId::all(LANES).map(|lane| (lane, since_unix_ms)).collect();
    let mut longest: BTreeMap<LaneId, u64> = BTreeMap::new();
    let lines = BufReader::with_capacity(1 << 20, kcat.stdout.take().context("no output")?);
    for line in lines.lines() {
        let line = line?;
        let (time, key) = line.split_once(' ').context("no key")?;
        let (time, id): (u64, EventId) = (time.parse()?, key.parse()?);
        if let Some(before) = last.insert(id.lane, time) {
            let pause = longest.entry(id.lane).or_default();
            *pause = (*pause).max(time.saturating_sub(before));
        }
    }
    ensure!(kcat.wait()?.success(), "kcat failed");
    ensure!(longest.len() == usize::from(LANES), "{} lanes sent something", longest.len());
    let mut pauses: Vec<_> = longest.into_values().map(Duration::from_millis).collect();
    pauses.sort_unstable();
    Ok(pauses)
}

/// Prints the pauses of the half of the lanes that moved, which are the longer ones.
fn report(what: &str, pauses: &[Duration], goal: Duration) {
    let (stayed, moved) = pauses.split_at(pauses.len() / 2);
    let seconds =
        |pauses: &[Duration], part: usize| pauses[(pauses.len() - 1) * part / 2].as_secs_f64();
    println!(
        "{what}: lanes that moved sent nothing for {:.2} s (median), {:.2} s (longest), goal {:.0} s; those that stayed for {:.2} s, {:.2} s",
        seconds(moved, 1),
        seconds(moved, 2),
        goal.as_secs_f64(),
        seconds(stayed, 1),
        seconds(stayed, 2),
    );
}
