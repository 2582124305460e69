//! Speed and size of the engine, each beside its goal.
//!
//! Speed is measured on one core over ten simulated hours of `urban`, when all subscribers have arrived.
//! Size is the resident memory that a million subscribers add, queues and records under way included,
//! after ten simulated hours.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roaming_events::{EventType, LaneId, SimDuration, SimTime, json};
use roaming_sim::{Lane, Profile, STREAM_VERSION, Simulation, Specification};

const LANES: u16 = 64;
const HOURS: u64 = 10;
const EVENTS_PER_SECOND_GOAL: f64 = 3e6;
const JSON_PER_SECOND_GOAL: f64 = 1.5e6;
const BYTES_PER_SUBSCRIBER_GOAL: f64 = 96.0;
/// Events of each type that are compared with `serde_json`.
const SAMPLE: u32 = 2_000;
/// Length of a page of /proc/self/statm.
const PAGE: u64 = 4096;
const MILLION: u32 = 1_000_000;

/// First argument of the process that measures the memory of one run.
const SIZE_COMMAND: &str = "resident-of";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, subscribers] = arguments.as_slice()
        && command == SIZE_COMMAND
    {
        println!("{}", resident_with(subscribers.parse().expect("a number of subscribers")));
        return;
    }
    let simulation = simulation(Profile::builtin("urban").expect("a built-in profile"));
    let arrived = simulation.specification().start() + SimDuration::from_secs(3600);
    let until = arrived + SimDuration::from_secs(HOURS * 3600);
    println!(
        "urban: {} subscribers in {LANES} lanes, {HOURS} simulated hours after all have arrived",
        simulation.specification().profile.subscribers
    );
    report_engine(&simulation, arrived, until);
    report_forward(&simulation);
    report_json(&simulation, arrived, until);
    report_encoder(&simulation);
    drop(simulation);
    report_size();
}

fn simulation(profile: Profile) -> Arc<Simulation> {
    let specification = Specification {
        name: "bench".to_owned(),
        profile,
        seed: 1,
        lanes: LANES,
        events_partitions: 8,
        lanes_partitions: 8,
        stream_version: STREAM_VERSION,
    };
    Arc::new(Simulation::try_new(Arc::new(specification)).expect("a valid specification"))
}

/// Returns all lanes, moved to a time.
fn lanes_at(simulation: &Arc<Simulation>, time: SimTime) -> Vec<Lane> {
    let mut lanes: Vec<_> = LaneId::all(LANES).map(|id| simulation.lane(id)).collect();
    for lane in &mut lanes {
        while lane.next_before(time).is_some() {}
    }
    lanes
}

/// Counts what `count` returns for each event of a span, and the time it takes.
fn measure(
    simulation: &Arc<Simulation>,
    from: SimTime,
    until: SimTime,
    mut count: impl FnMut(&roaming_events::Event) -> u64,
) -> (u64, u64, Duration) {
    let mut lanes = lanes_at(simulation, from);
    let (mut events, mut sum) = (0, 0);
    let begin = Instant::now();
    for lane in &mut lanes {
        while let Some(event) = lane.next_before(until) {
            events += 1;
            sum += count(black_box(&event));
        }
    }
    (events, sum, begin.elapsed())
}

fn report_engine(simulation: &Arc<Simulation>, from: SimTime, until: SimTime) {
    let (events, _, elapsed) = measure(simulation, from, until, |_| 0);
    let rate = events as f64 / elapsed.as_secs_f64();
    line(
        "events without encoding",
        &format!("{:.2} M/s", rate / 1e6),
        rate,
        EVENTS_PER_SECOND_GOAL,
    );
}

fn report_forward(simulation: &Arc<Simulation>) {
    let mut lanes: Vec<_> = LaneId::all(LANES).map(|id| simulation.lane(id)).collect();
    let far = roaming_events::Sequence::try_new(1 << 40).expect("below 2^48");
    let begin = Instant::now();
    let mut events = 0;
    for lane in &mut lanes {
        lane.forward_to(far);
        events += lane.sequence().get();
    }
    let rate = events as f64 / begin.elapsed().as_secs_f64();
    println!("{:<34} {:>12}", "events passed over (forward_to)", format!("{:.2} M/s", rate / 1e6));
}

fn report_json(simulation: &Arc<Simulation>, from: SimTime, until: SimTime) {
    let mut payload = Vec::with_capacity(1024);
    let (events, octets, elapsed) = measure(simulation, from, until, |event| {
        payload.clear();
        json::encode(event, &mut payload);
        black_box(&payload).len() as u64
    });
    let rate = events as f64 / elapsed.as_secs_f64();
    line("events as JSON", &format!("{:.2} M/s", rate / 1e6), rate, JSON_PER_SECOND_GOAL);
    println!("{:<34} {:>12}", "bytes per event", format!("{:.0}", octets as f64 / events as f64));
}

/// Compares the encoder with `serde_json` on events of every type.
fn report_encoder(simulation: &Arc<Simulation>) {
    let mut compared: BTreeMap<EventType, u32> = BTreeMap::new();
    let mut payload = Vec::new();
    for event in LaneId::all(LANES).flat_map(|id| simulation.lane(id)) {
        let count = compared.entry(event.body.event_type()).or_default();
        if *count == SAMPLE {
            if compared.len() == EventType::ALL.len() && compared.values().all(|n| *n == SAMPLE) {
                break;
            }
            continue;
        }
        *count += 1;
        payload.clear();
        json::encode(&event, &mut payload);
        let expected = serde_json::to_vec(&event).expect("an event always serialises");
        assert!(payload == expected, "the encoder differs from serde_json: {event:?}");
    }
    assert_eq!(compared.len(), EventType::ALL.len(), "a type does not occur: {compared:?}");
    let mut counts = String::new();
    for (event_type, count) in &compared {
        let _ = write!(counts, " {event_type} {count}");
    }
    println!("encoder equals serde_json on:     {counts}");
}

fn report_size() {
    let bytes = (resident_of(2 * MILLION) - resident_of(MILLION)) / f64::from(MILLION);
    let ratio = BYTES_PER_SUBSCRIBER_GOAL / bytes;
    println!(
        "{:<34} {:>12}   goal {BYTES_PER_SUBSCRIBER_GOAL:.0} or less, ratio {ratio:.2}",
        "bytes per subscriber",
        format!("{bytes:.1}")
    );
}

/// Measures a run of so many subscribers in a process of its own: what an earlier run has left behind in
/// the allocator would falsify the difference.
fn resident_of(subscribers: u32) -> f64 {
    let program = std::env::current_exe().expect("the benchmark's own file");
    let output = std::process::Command::new(program)
        .args([SIZE_COMMAND, &subscribers.to_string()])
        .output()
        .expect("the benchmark starts again");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().expect("the resident memory in bytes")
}

/// Returns the resident memory that a run with so many subscribers adds in its tenth hour.
fn resident_with(subscribers: u32) -> u64 {
    let before = resident();
    let urban = Profile::builtin("urban").expect("a built-in profile");
    let simulation = simulation(Profile { subscribers, ..urban });
    let time = simulation.specification().start() + SimDuration::from_secs(HOURS * 3600);
    let lanes = lanes_at(&simulation, time);
    let after = resident();
    black_box(&lanes);
    after.saturating_sub(before)
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second number is the resident pages") * PAGE
}

fn line(what: &str, figure: &str, rate: f64, goal: f64) {
    println!("{what:<34} {figure:>12}   goal {:.1} M/s, ratio {:.2}", goal / 1e6, rate / goal);
}
