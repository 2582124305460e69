//! Many seeds with the engine's lanes, sent by the producer's own state machine, against the ledger.
//!
//! `ROAMING_SEED=17 cargo test -p roaming-testkit --test it producer` runs one seed.

use std::sync::Arc;

use roaming_analytics::RunView;
use roaming_events::{Event, LaneId, RunId, Sequence, SimDuration, SimTime, Tally};
use roaming_producer::lane::{self, LaneSender};
use roaming_producer::progress::Progress;
use roaming_sim::{Profile, STREAM_VERSION, Simulation, Specification, ledger};
use roaming_testkit::scenario::GiveUp;
use roaming_testkit::simulation::{Failure, Options, Report, simulate};
use roaming_testkit::{Concern, Scenario, Seed, Sender, Step};

/// Number of seeds that each run of the test tries, from 0.
const SEEDS: u64 = 300;

/// One small run of the engine.
struct EngineScenario {
    views: [RunView; 1],
    simulation: Arc<Simulation>,
    window: SimDuration,
}

impl EngineScenario {
    fn new(seed: Seed) -> Self {
        let mut stream = seed.stream(Concern::Size);
        let mut profile = Profile::builtin("demo").expect("the profile is built in");
        profile.subscribers = stream.between(5, 40) as u32;
        profile.duration = SimDuration::from_secs(stream.between(1, 4) * 3600);
        // They arrive at once, so that something happens in so short a run.
        profile.trips.arrival = SimDuration::from_secs(1800);
        let specification = Specification {
            name: format!("seed-{seed}"),
            profile,
            seed: seed.0,
            lanes: stream.between(1, 6) as u16,
            events_partitions: stream.between(1, 3) as u16,
            lanes_partitions: 1,
            stream_version: STREAM_VERSION,
        };
        let view = RunView {
            run: specification.run_id(),
            lanes: specification.lanes,
            partitions: specification.events_partitions,
            start: specification.start(),
        };
        let simulation = Simulation::try_new(Arc::new(specification)).expect("nothing is damaged");
        let window = SimDuration::from_secs(stream.between(1, 15) * 60);
        Self { views: [view], simulation: Arc::new(simulation), window }
    }
}

impl Scenario for EngineScenario {
    type Sender = EngineSender;

    fn runs(&self) -> &[RunView] {
        &self.views
    }

    fn end(&self) -> SimTime {
        self.simulation.specification().end()
    }

    fn events(&self, _: RunId, lane: LaneId) -> Vec<Event> {
        self.simulation.lane(lane).collect()
    }

    fn ledger(&self, _: RunId) -> Tally {
        ledger::run(&self.simulation, self.window)
    }

    fn sender(&self, _: RunId, lane: LaneId, progress: Option<&Progress>) -> EngineSender {
        EngineSender(LaneSender::resume(Arc::clone(&self.simulation), lane, progress, None))
    }
}

/// The producer's state machine, asked the way its sender thread asks it.
struct EngineSender(LaneSender);

impl Sender for EngineSender {
    type Progress = Progress;

    fn next(&mut self, until: SimTime, payload: &mut Vec<u8>) -> Step {
        loop {
            return match self.0.next(until, payload) {
                lane::Step::Event { id, .. } => Step::Event(id),
                lane::Step::End { id } => Step::End(id),
                lane::Step::Forwarding => continue,
                lane::Step::Wait => self.0.marker(payload).map_or(Step::Wait, Step::Marker),
                lane::Step::Done => Step::Done,
            };
        }
    }

    fn acknowledged(&mut self, sequence: Sequence) -> Result<(), GiveUp> {
        self.0.acknowledged(sequence).map_err(|_| GiveUp)
    }

    fn progress(&mut self) -> Option<Progress> {
        self.0.progress()
    }
}

fn run(seed: Seed) -> Result<Report, Box<Failure>> {
    let scenario = EngineScenario::new(seed);
    simulate(seed, &scenario, &Options::draw(seed, scenario.window))
}

#[test]
fn the_producer_s_lanes_balance_with_the_ledger_whatever_happens() {
    if let Ok(seed) = std::env::var("ROAMING_SEED") {
        let seed = seed.parse().expect("ROAMING_SEED is a whole number");
        match run(seed) {
            Ok(report) => println!("seed {seed}: {report}"),
            Err(failure) => panic!("{failure}"),
        }
        return;
    }
    let mut total = Report::default();
    for seed in (0..SEEDS).map(Seed) {
        match run(seed) {
            Ok(report) => total.merge(&report),
            Err(failure) => panic!(
                "{failure}\nagain: ROAMING_SEED={seed} cargo test -p roaming-testkit --test it producer"
            ),
        }
    }
    println!("{SEEDS} seeds: {total}");
    for happening in ["event balanced", "duplicate", "corrected", "producer crash", "marker"] {
        assert!(total.get(happening) > 0, "`{happening}` never happened: {total}");
    }
}
