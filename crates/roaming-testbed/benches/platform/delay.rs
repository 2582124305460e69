//! How long after an event is sent it is counted and stored, at a fixed rate.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roaming_testbed::services::{KafkaOptions, Postgres};
use roaming_testbed::{Daemon, Platform, trial};

/// Runs side by side.
const RUNS: u64 = 3;
/// Events a second of all of them, over their whole length.
const RATE: u64 = 50_000;
/// How long a run of the profile `demo` lasts, simulated.
const RUN_LENGTH: Duration = Duration::from_hours(12);
/// How often both daemons are asked how far they are.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// How long it may take.
const LIMIT: Duration = Duration::from_mins(3);
/// What 99 of 100 events should be counted within.
const P99_GOAL: Duration = Duration::from_secs(1);

/// How many events were sent, or counted, by when; both never decrease.
type Curve = Vec<(Duration, u64)>;

/// Measures on a platform of its own, and prints the delay from the sending of an event to the moment when
/// the metric of the consumer holds it.
///
/// # Errors
/// Fails where not all events are counted in time.
pub(crate) fn report(postgres: &Postgres) -> Result<()> {
    Platform::with(postgres, &KafkaOptions::default(), |platform| {
        let events = RUNS * trial::events_of(platform, &["--profile", "demo", "--name", "delay"])?;
        let speed = (RATE * RUN_LENGTH.as_secs() / events).to_string();
        let mut consumer = platform.consumer("consumer")?;
        let mut producer = platform.producer("producer")?;
        consumer.wait_for_line("partition acquired", LIMIT)?;
        for run in 0..RUNS {
            let name = format!("delay{run}");
            platform.producer_command(&[
                "scenarios",
                "load",
                "--profile",
                "demo",
                "--name",
                &name,
                "--speed",
                &speed,
            ])?;
        }
        let (sent, counted) = curves(&mut producer, &mut consumer, events)?;
        let delays = Delays::between(&sent, &counted);
        println!(
            "{:<34} {:>12}   p50 {:.0} ms, p99.9 {:.0} ms, longest {:.0} ms; goal {:.0} ms",
            format!("sent to counted at {} k/s, p99", RATE / 1000),
            format!("{:.0} ms", millis(delays.within(990))),
            millis(delays.within(500)),
            millis(delays.within(999)),
            millis(delays.within(1000)),
            millis(P99_GOAL),
        );
        Ok(())
    })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Watches both daemons until all events are counted.
fn curves(producer: &mut Daemon, consumer: &mut Daemon, events: u64) -> Result<(Curve, Curve)> {
    let begin = Instant::now();
    let (mut sent, mut counted) = (Vec::new(), Vec::new());
    loop {
        let done = consumer.metric("roaming_events_processed_total")?;
        counted.push((begin.elapsed(), done));
        let at = begin.elapsed();
        let text = producer.get("/metrics")?;
        let metric = |name| Daemon::metric_in(&text, name);
        let handed_over = metric("roaming_producer_events_acknowledged_total")
            + metric("roaming_producer_records_in_flight");
        sent.push((at, handed_over));
        if done >= events {
            return Ok((sent, counted));
        }
        ensure!(begin.elapsed() < LIMIT, "{done} of {events} events after {LIMIT:?}");
        thread::sleep(LOOK_INTERVAL);
    }
}

/// Delays, each with how many events had it, shortest first.
struct Delays(Vec<(Duration, u64)>);

impl Delays {
    /// Returns how much later the second curve reaches what the first one had reached. An event counts as
    /// sent when the curve was last seen without it, so that no delay comes out too short.
    fn between(sent: &Curve, counted: &Curve) -> Self {
        let mut delays = Vec::new();
        let mut late = counted.iter().peekable();
        for pair in sent.windows(2) {
            let ((at, before), (_, total)) = (pair[0], pair[1]);
            while late.next_if(|(_, done)| *done < total).is_some() {}
            if let Some(&&(reached, _)) = late.peek() {
                delays.push((reached.saturating_sub(at), total.saturating_sub(before)));
            }
        }
        delays.sort_unstable();
        Self(delays)
    }

    /// Returns the delay that so many of 1000 events do not exceed.
    fn within(&self, per_mille: u64) -> Duration {
        let all: u64 = self.0.iter().map(|(_, events)| events).sum();
        let mut rest = (all * per_mille).div_ceil(1000);
        for (delay, events) in &self.0 {
            if rest <= *events {
                return *delay;
            }
            rest -= events;
        }
        Duration::ZERO
    }
}
