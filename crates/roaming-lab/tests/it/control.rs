//! Runs beside each other, one of which is paused for long, or deleted.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser};
use roaming_consumer::verify::{Verification, find_run, verify};
use roaming_events::{LaneId, SimTime};
use roaming_lab::Lab;
use roaming_producer::commands::{self, LoadArgs, NameArgs, ResumeArgs, SpeedArgs};
use roaming_service::control;
use roaming_sim::{ControlRecord, Simulation};
use roaming_store::{RunRow, SqliteStore, Store};

use crate::setup::{DEADLINE, config, start};

/// Wall time over which a rate is measured.
const MEASURE: Duration = Duration::from_secs(4);
/// How long the windows of a run may stay open after its last activity is counted, whatever another run does:
/// from then on the run has only its ends to say.
const CLOSING_LIMIT: Duration = Duration::from_secs(30);
const LANES: u16 = 8;

/// A command line of one command's arguments.
#[derive(Parser)]
struct Line<A: Args> {
    #[command(flatten)]
    args: A,
}

/// A lab, and what is asked of it from outside.
struct Bench {
    lab: Lab,
    store: SqliteStore,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let lab = start(config(dir.path())).await.expect("started");
        let store = SqliteStore::open(dir.path().join("roaming.db")).await.expect("a store");
        Self { lab, store, dir }
    }

    /// Loads the demo with another population and length.
    async fn load(&self, name: &str, subscribers: u32, hours: u32, speed: &str) {
        let path = write_profile(self.dir.path(), subscribers, hours);
        let lanes = LANES.to_string();
        let args =
            ["load", "--profile", &path, "--name", name, "--speed", speed, "--lanes", &lanes];
        let args = Line::<LoadArgs>::parse_from(args).args;
        commands::load(&self.lab.kafka(), &args, &mut std::io::sink()).await.expect("loaded");
    }

    async fn pause(&self, name: &str) -> ControlRecord {
        let args = Line::<NameArgs>::parse_from(["pause", name]).args;
        commands::pause(&self.lab.kafka(), &args, &mut std::io::sink()).await.expect("paused");
        self.record(name).await
    }

    async fn resume(&self, name: &str) -> ControlRecord {
        let args = Line::<ResumeArgs>::parse_from(["resume", name]).args;
        commands::resume(&self.lab.kafka(), &args, &mut std::io::sink()).await.expect("resumed");
        self.record(name).await
    }

    async fn full_speed(&self, name: &str) {
        let args = Line::<SpeedArgs>::parse_from(["speed", name, "max"]).args;
        commands::speed(&self.lab.kafka(), &args, &mut std::io::sink()).await.expect("changed");
    }

    async fn delete(&self, name: &str) {
        let args = Line::<NameArgs>::parse_from(["delete", name]).args;
        commands::delete(&self.lab.kafka(), &args, &mut std::io::sink()).await.expect("deleted");
    }

    async fn record(&self, name: &str) -> ControlRecord {
        let state = control::read(&self.lab.kafka()).await.expect("control records");
        serde_json::from_slice(&state.runs[name]).expect("a control record")
    }

    async fn run(&self, name: &str) -> RunRow {
        find_run(&self.store, name).await.expect("a known run")
    }

    /// Returns how many events of a run are counted, and up to which simulated time.
    async fn counted(&self, run: &RunRow) -> (u64, SimTime) {
        let progress = self.store.progress(run.run).await.expect("progress");
        let events = progress.lanes.iter().map(|lane| lane.tally.events).sum();
        (events, progress.watermark.unwrap_or(run.start))
    }

    async fn until_counted(&self, name: &str, is_so: impl Fn(u64, SimTime) -> bool) {
        let began = Instant::now();
        loop {
            if let Ok(run) = find_run(&self.store, name).await {
                let (events, watermark) = self.counted(&run).await;
                if is_so(events, watermark) {
                    return;
                }
            }
            assert!(began.elapsed() < DEADLINE, "not in time: {name}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the store has every lane's end, and compares the run with its ledger.
    async fn finish(&self, name: &str) -> Verification {
        let began = Instant::now();
        let run = self.run(name).await;
        loop {
            let lanes = self.store.progress(run.run).await.expect("progress").lanes;
            if lanes.iter().filter(|lane| lane.is_finished()).count() == usize::from(LANES) {
                return verify(&self.store, &run).await.expect("compared");
            }
            assert!(began.elapsed() < DEADLINE, "{name} is not finished in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn write_profile(dir: &Path, subscribers: u32, hours: u32) -> String {
    let (_, demo) = roaming_sim::profile::BUILTIN[0];
    let line = |line: &str| match line.split_once(':') {
        Some(("subscribers", _)) => format!("subscribers: {subscribers}\n"),
        Some(("duration_h", _)) => format!("duration_h: {hours}\n"),
        _ => format!("{line}\n"),
    };
    let path = dir.join(format!("{subscribers}-{hours}.yaml"));
    std::fs::write(&path, demo.lines().map(line).collect::<String>()).expect("the folder is ours");
    path.to_str().expect("a plain path").to_owned()
}

/// The emission times of a run's events, in order.
fn emissions(record: &ControlRecord) -> Vec<SimTime> {
    let simulation = Simulation::try_new(Arc::clone(&record.specification)).expect("a run");
    let simulation = Arc::new(simulation);
    let lanes = LaneId::all(LANES).flat_map(|lane| simulation.lane(lane));
    let mut times: Vec<SimTime> = lanes.map(|event| event.emission_time).collect();
    times.sort_unstable();
    times
}

fn wall_unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_paused_for_ten_days_holds_no_other_back_and_resumes_without_a_burst() {
    const DAYS: u32 = 10;
    let bench = Bench::start().await;
    bench.load("paced", 400, 12, "600").await;
    let running = bench.record("paced").await;
    let emissions = emissions(&running);
    let due = |before: SimTime| emissions.partition_point(|time| *time < before) as u64;
    bench.until_counted("paced", |events, _| events > 1000).await;
    let paced = bench.run("paced").await;
    let (first, began) = (bench.counted(&paced).await.0, Instant::now());
    tokio::time::sleep(MEASURE).await;
    let rate_before =
        (bench.counted(&paced).await.0 - first) as f64 / began.elapsed().as_secs_f64();

    let paused = bench.pause("paced").await;
    let until_anchor = due(paused.anchor.sim);
    bench.until_counted("paced", |events, _| events == until_anchor).await;
    bench.load("full", 20, 24 * (DAYS + 1), "max").await;
    let full = bench.record("full").await;
    let of_full = self::emissions(&full);
    let full = full.specification;
    let of_activity = of_full.partition_point(|time| *time < full.profile.end_of_activity()) as u64;
    bench.until_counted("full", |events, _| events >= of_activity).await;
    let activity_counted = Instant::now();
    let of_full = bench.finish("full").await;
    let closing = activity_counted.elapsed();
    assert!(closing < CLOSING_LIMIT, "the last window closed after {closing:?}");
    assert!(of_full.holds(), "{of_full}");
    let sums = of_full.balance.sums();
    assert!(full.end().since(full.start()).ms() > u64::from(DAYS) * 86_400_000);
    assert_eq!(bench.counted(&bench.run("full").await).await.1, full.end(), "all windows closed");
    let (events, watermark) = bench.counted(&paced).await;
    assert_eq!(events, until_anchor, "the paused run stood still");
    assert!(watermark <= paused.anchor.sim);

    let resumed = bench.resume("paced").await;
    let (began, mut rate_after_max) = (Instant::now(), 0.0_f64);
    let mut last = (began, until_anchor);
    while began.elapsed() < MEASURE {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let events = bench.counted(&paced).await.0;
        let allowed = due(resumed.allowed_until(wall_unix_ms()));
        assert!(events <= allowed, "{events} events where {allowed} are due: a burst");
        let rate = (events - last.1) as f64 / last.0.elapsed().as_secs_f64();
        rate_after_max = rate_after_max.max(rate);
        last = (Instant::now(), events);
    }
    let rate_after = (last.1 - until_anchor) as f64 / began.elapsed().as_secs_f64();
    assert!(last.1 > until_anchor, "it goes on");
    println!(
        "at max: {} events of {} days, {:.1} s from the last activity counted to the last window closed; \
         paced: {rate_before:.0} events/s before the pause, {rate_after:.0} after it, at most \
         {rate_after_max:.0} in half a second",
        sums.found.events,
        DAYS + 1,
        closing.as_secs_f64(),
    );
    bench.full_speed("paced").await;
    let of_paced = bench.finish("paced").await;
    assert!(of_paced.holds(), "{of_paced}");
    assert_eq!((of_paced.balance.sums().gaps, of_paced.balance.sums().rejected), (0, 0));
    bench.lab.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_deleted_on_its_way_balances_up_to_where_it_stopped_and_holds_no_other() {
    let bench = Bench::start().await;
    bench.load("deleted", 400, 12, "1200").await;
    bench.load("other", 100, 12, "600").await;
    bench.until_counted("deleted", |events, _| events > 1000).await;
    bench.delete("deleted").await;
    bench.full_speed("other").await;
    let of_other = bench.finish("other").await;
    assert!(of_other.holds(), "{of_other}");

    let run = bench.run("deleted").await;
    assert_eq!(run.state, "deleted");
    let of_deleted = verify(&bench.store, &run).await.expect("compared");
    assert!(of_deleted.holds(), "{of_deleted}");
    let sums = of_deleted.balance.sums();
    assert!(sums.found.events > 1000 && sums.lanes_finished < usize::from(LANES), "{of_deleted}");
    assert_eq!((sums.gaps, sums.rejected), (0, 0), "{of_deleted}");
    bench.lab.stop().await.expect("a clean end");
}
