//! Small runs of the engine, as the producer is told of them.

use std::sync::Arc;

use roaming_analytics::RunView;
use roaming_events::{Event, LaneId, RunId, SimDuration, SimTime, Tally};
use roaming_producer::fleet::TopicPartitions;
use roaming_sim::{Profile, STREAM_VERSION, Simulation, Specification, ledger};

use crate::scenario::Scenario;
use crate::seed::{Concern, Seed, Stream};

/// One or two runs of the engine, drawn from a seed.
pub struct EngineScenario {
    views: Vec<RunView>,
    runs: Vec<Arc<Simulation>>,
    partitions: TopicPartitions,
    window: SimDuration,
}

impl EngineScenario {
    /// Makes the runs of a seed.
    ///
    /// # Panics
    /// Panics where the engine refuses its own profile.
    pub fn new(seed: Seed) -> Self {
        let mut stream = seed.stream(Concern::Size);
        let partitions = TopicPartitions {
            events: stream.between(1, 3) as u16,
            lanes: stream.between(1, 4) as u16,
        };
        let window = SimDuration::from_secs(stream.between(1, 15) * 60);
        let count = if stream.chance(300) { 2 } else { 1 };
        let runs: Vec<_> = (0..count)
            .map(|number| Arc::new(specification(&mut stream, seed, number, partitions)))
            .map(|run| Arc::new(Simulation::try_new(run).expect("a built-in profile is sound")))
            .collect();
        let views = runs.iter().map(|run| {
            let Specification { lanes, events_partitions, .. } = **run.specification();
            let start = run.specification().start();
            RunView { run: run.run(), lanes, partitions: events_partitions, start }
        });
        Self { views: views.collect(), runs, partitions, window }
    }

    /// Returns the length of a window.
    pub fn window(&self) -> SimDuration {
        self.window
    }

    /// Returns how many partitions the topics have.
    pub fn partitions(&self) -> TopicPartitions {
        self.partitions
    }

    /// Returns what the runs are.
    pub fn specifications(&self) -> impl Iterator<Item = &Arc<Specification>> {
        self.runs.iter().map(|run| run.specification())
    }

    fn run(&self, run: RunId) -> &Arc<Simulation> {
        let found = self.runs.iter().find(|simulation| simulation.run() == run);
        found.expect("nobody asks for a run that the scenario does not have")
    }
}

fn specification(
    stream: &mut Stream,
    seed: Seed,
    number: u32,
    partitions: TopicPartitions,
) -> Specification {
    let mut profile = Profile::builtin("demo").expect("the profile is built in");
    profile.subscribers = stream.between(5, 40) as u32;
    profile.duration = SimDuration::from_secs(stream.between(1, 4) * 3600);
    // They arrive at once, so that something happens in so short a run.
    profile.trips.arrival = SimDuration::from_secs(1800);
    Specification {
        name: format!("run-{number}"),
        profile,
        seed: seed.0,
        lanes: stream.between(1, 6) as u16,
        events_partitions: partitions.events,
        lanes_partitions: partitions.lanes,
        stream_version: STREAM_VERSION,
    }
}

impl Scenario for EngineScenario {
    fn runs(&self) -> &[RunView] {
        &self.views
    }

    fn end(&self) -> SimTime {
        self.specifications().map(|run| run.end()).max().unwrap_or_default()
    }

    fn events(&self, run: RunId, lane: LaneId) -> Vec<Event> {
        self.run(run).lane(lane).collect()
    }

    fn ledger(&self, run: RunId) -> Tally {
        ledger::run(self.run(run), self.window)
    }
}
