//! The deterministic simulation: the producers, the log, the consumers and the store, in one
//! thread and from one seed.
//!
//! Each tick of the simulated clock, some of them take one step: a sender hands over records, a batch
//! arrives, a record is observed, a flush goes on by one of its steps. Faults happen between any two steps.
//! After the safety phase the faults end; then, within a bound, the state must catch up with the simulated
//! time (which only markers can bring about), and at last everything must balance to the unit.

mod consumers;
mod coordinator;
mod desk;
mod group;
mod observations;
mod oracle;
mod owners;
mod report;
mod senders;
mod stranger;

use std::time::{Duration, Instant};

use roaming_analytics::PartitionConfig;
use roaming_analytics::invariant::{self, Subject};
use roaming_events::{RunId, SimDuration, SimTime};

use crate::engine::EngineScenario;
use crate::fault::{Disaster, Faults};
use crate::log::Log;
use crate::sample::{SampleScenario, Size};
use crate::scenario::Scenario;
use crate::seed::{Concern, Seed, Stream};
use crate::store::{FaultyStore, MemoryStore};

use consumers::Consumers;
use observations::Observations;
use oracle::{Oracle, Origin};
use owners::Owners;
pub use report::{Failure, Finding, Report};
use report::{Outcome, Trace};
use senders::Senders;

/// The most ticks that the healthy system may take to catch up with what was sent.
const LIVENESS_TICKS_MAX: u64 = 20_000;

/// Length of a tick where sample lanes are sent.
const SAMPLE_TICK: Duration = Duration::from_millis(20);

/// What clocks show at the first tick: 2026-11-01T00:00:00Z.
const WALL_START_UNIX_MS: u64 = 1_793_491_200_000;

/// How far simulated time goes before it stands still, after the faults.
const HEALTHY_TIME: SimDuration = SimDuration::from_secs(1);

/// Everything about a simulation but its scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The faults of the safety phase.
    pub faults: Faults,
    /// What happens at its end, where something does.
    pub disaster: Option<Disaster>,
    /// The bounds of a partition's state.
    pub config: PartitionConfig,
    /// Number of partitions of `roaming.lanes`: owners of lanes.
    pub lanes_partitions: u16,
    /// Length of the safety phase.
    pub ticks: u64,
    /// Length of a tick, for the programs under test.
    pub tick: Duration,
    /// Bound of the producers' flow control, for each partition.
    pub unread_bytes_max: u64,
    /// After how long a way, in events, producers leave snapshots of lanes; `None` where they leave none.
    pub snapshot_way_max: Option<u64>,
    /// Time between two checkpoints of a partition.
    pub flush_interval: Duration,
    /// The most events of a partition that are counted but not yet stored.
    pub unstored_events_max: u64,
    /// Whether each step is printed as it happens.
    pub is_printed: bool,
}

impl Options {
    /// Draws options for a scenario with windows of length `window`.
    pub fn draw(seed: Seed, window: SimDuration) -> Self {
        let mut stream = seed.stream_of(Concern::Size, 1);
        Self {
            faults: Faults::draw(seed),
            disaster: Disaster::draw(seed),
            config: PartitionConfig {
                window,
                // Enough for any reordering that the network here can do: more fails a lane for good.
                gaps_max: 512,
                rows_max: stream.between(3, 120) as usize,
            },
            lanes_partitions: stream.between(1, 4) as u16,
            ticks: stream.between(50, 300),
            tick: SAMPLE_TICK,
            unread_bytes_max: u64::MAX,
            snapshot_way_max: None,
            flush_interval: Duration::from_millis(stream.between(10, 300)),
            unstored_events_max: stream.between(5, 200),
            is_printed: false,
        }
    }

    /// Fits options to the producer's own code: its clients keep the order, and it counts in seconds.
    fn for_senders(self, seed: Seed) -> Self {
        let mut stream = seed.stream_of(Concern::Size, 2);
        let is_bounded = stream.chance(500);
        let unread_bytes_max = stream.between(2_000, 40_000);
        Self {
            faults: Faults { reorder: 0, ..self.faults },
            tick: Duration::from_millis(stream.between(40, 120)),
            unread_bytes_max: if is_bounded { unread_bytes_max } else { u64::MAX },
            snapshot_way_max: stream.chance(500).then(|| stream.between(1, 60)),
            ..self
        }
    }
}

/// What is simulated of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Sample lanes in the hands of a model of producers, and the consumer's own code: small, and with all
    /// that can be wrong with what stands on the log.
    Sample,
    /// The engine's lanes in the hands of the producer's own code, and the consumer's.
    Engine,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sample, Self::Engine];

    /// Returns its name, for the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Engine => "engine",
        }
    }
}

/// Simulates a seed.
///
/// # Errors
/// Fails with the first thing that must not be, together with all that is needed to see it again.
pub fn simulate(kind: Kind, seed: Seed) -> Result<Report, Box<Failure>> {
    run(kind, seed, false)
}

/// Simulates a seed, and prints each step as it happens.
///
/// # Errors
/// As [`simulate`].
pub fn show(kind: Kind, seed: Seed) -> Result<Report, Box<Failure>> {
    run(kind, seed, true)
}

fn run(kind: Kind, seed: Seed, is_printed: bool) -> Result<Report, Box<Failure>> {
    let network = seed.stream(Concern::Network);
    match kind {
        Kind::Sample => {
            let scenario = SampleScenario::new(seed, Size::draw(seed));
            let drawn = Options::draw(seed, scenario.window());
            let options = Options { is_printed, ..drawn };
            let _guard = report::SeedGuard::new(kind, seed, &options);
            let mut world = World::new(seed, &scenario, &options);
            let owners = Owners::new(&mut world, &scenario, options.lanes_partitions, network);
            Simulation::new(seed, world, owners).report(kind)
        }
        Kind::Engine => {
            let scenario = EngineScenario::new(seed);
            let drawn = Options::draw(seed, scenario.window()).for_senders(seed);
            let options = Options { is_printed, ..drawn };
            let _guard = report::SeedGuard::new(kind, seed, &options);
            let world = World::new(seed, &scenario, &options);
            let senders = Senders::new(&world, &scenario, network);
            Simulation::new(seed, world, senders).report(kind)
        }
    }
}

/// Those who send the lanes.
trait Producers {
    /// Changes the pace of a run, as a person would.
    fn control(&mut self, world: &mut World<'_>, run: RunId, stream: &mut Stream);

    /// Lets faults happen.
    fn fail(&mut self, world: &mut World<'_>);

    /// Ends all faults: from here on runs go up to [`World::until`].
    fn heal(&mut self, world: &mut World<'_>);

    /// Whether everything that may be sent has arrived and is recorded.
    fn are_idle(&self, world: &World<'_>) -> bool;

    /// Checks what they leave behind, when all runs are at their end.
    ///
    /// # Errors
    /// Fails with what must not be.
    fn check_end(&self, world: &mut World<'_>) -> Outcome;

    /// Lets each of them do a little.
    ///
    /// # Errors
    /// Fails with what must not be.
    fn tick(&mut self, world: &mut World<'_>) -> Outcome;
}

/// What all parts of the simulation see.
struct World<'a> {
    seed: Seed,
    scenario: &'a dyn Scenario,
    options: Options,
    faults: Faults,
    tick: u64,
    /// The time of the first tick.
    begin: Instant,
    /// What is emitted before this time may be sent, of runs that are not paused.
    until: SimTime,
    log: Log,
    store: FaultyStore,
    oracle: Oracle,
    report: Report,
    trace: Trace,
    schedule: Stream,
    fault: Stream,
}

impl<'a> World<'a> {
    fn new(seed: Seed, scenario: &'a dyn Scenario, options: &Options) -> Self {
        let partitions = scenario.runs().iter().map(|view| view.partitions).max().unwrap_or(1);
        let start = scenario.runs().iter().map(|view| view.start).min().unwrap_or_default();
        #[expect(
            clippy::disallowed_methods,
            reason = "an instant has no other beginning; only differences count"
        )]
        let begin = Instant::now();
        Self {
            seed,
            scenario,
            options: *options,
            faults: options.faults,
            tick: 0,
            begin,
            until: start,
            log: Log::new("simulated", partitions),
            store: FaultyStore::new(
                MemoryStore::default(),
                options.faults.store,
                seed.stream(Concern::Store),
            ),
            oracle: Oracle::new(seed, scenario, options),
            report: Report::default(),
            trace: Trace::new(options.is_printed),
            schedule: seed.stream(Concern::Schedule),
            fault: seed.stream(Concern::Fault),
        }
    }
}

struct Simulation<'a, P> {
    world: World<'a>,
    producers: P,
    consumers: Consumers,
    stranger: Stream,
    control: Stream,
    disaster: Stream,
}

impl<'a, P: Producers> Simulation<'a, P> {
    fn new(seed: Seed, world: World<'a>, producers: P) -> Self {
        let consumers = Consumers::new(world.log.partitions());
        let [stranger, control, disaster] =
            [Concern::Stranger, Concern::Control, Concern::Disaster].map(|of| seed.stream(of));
        Self { world, producers, consumers, stranger, control, disaster }
    }

    /// Runs, and returns what happened.
    fn report(mut self, kind: Kind) -> Result<Report, Box<Failure>> {
        let observations = Observations::new(self.world.trace.clone());
        let outcome = tracing::subscriber::with_default(observations.clone(), || self.run());
        let World { seed, options, tick, mut report, trace, .. } = self.world;
        observations.for_each(|name, count| report.add(name, count));
        match outcome {
            Ok(()) => Ok(report),
            Err(finding) => {
                let trace = trace.lines();
                Err(Box::new(Failure { kind, seed, options, tick, finding, trace }))
            }
        }
    }

    fn run(&mut self) -> Outcome {
        self.be_safe()?;
        self.world.faults = Faults::default();
        self.world.store.heal();
        self.producers.heal(&mut self.world);
        self.consumers.heal(&mut self.world)?;
        if let Some(disaster) = self.world.options.disaster
            && self.suffer(disaster)
        {
            return self.consumers.tell_loss(&mut self.world);
        }
        // Time goes on a little and then stands still for a while: only markers can bring the watermark
        // up to it, of which some were lost.
        self.world.until += HEALTHY_TIME;
        self.catch_up()?;
        self.consumers.check_watermarks(&self.world)?;
        let end = self.world.scenario.end() + SimDuration::from_ms(1);
        self.world.until = self.world.until.max(end);
        self.catch_up()?;
        self.producers.check_end(&mut self.world)?;
        let World { scenario, oracle, store, report, .. } = &mut self.world;
        oracle.check_balance(*scenario, store, report)?;
        self.world.oracle.check_dead_letters(&self.consumers.topics.dead_letters)
    }

    /// Lets the log lose what no consumer has stored, or all; returns whether there was anything to lose.
    fn suffer(&mut self, disaster: Disaster) -> bool {
        let World { log, store, report, .. } = &mut self.world;
        let stored = |partition| store.inner().stored(partition).next_offset;
        let at_stake: Vec<(u16, u64)> = (0..log.partitions())
            .filter_map(|partition| Some((partition, stored(partition)?)))
            .filter(|(partition, stored)| match disaster {
                Disaster::Overtaken => *stored < log.end(*partition),
                Disaster::Recreated => *stored > 0,
            })
            .collect();
        if at_stake.is_empty() {
            return false;
        }
        let (partition, stored) = at_stake[self.disaster.index(at_stake.len())];
        match disaster {
            Disaster::Overtaken => {
                report.count("retention overtook the store");
                let low = self.disaster.between(stored + 1, log.end(partition));
                log.truncate(partition, low);
                // Who has read what is gone may still store it: then nothing is lost.
                self.consumers.crash_all();
            }
            Disaster::Recreated => {
                report.count("topic made anew");
                *log = Log::new("anew", log.partitions());
            }
        }
        true
    }

    /// The safety phase: faults, and simulated time that goes from the start to anywhere, also beyond the
    /// end.
    fn be_safe(&mut self) -> Outcome {
        let start = self.world.until;
        let length = self.world.scenario.end().since(start).ms();
        let reach = self.world.schedule.between(length / 3, length + length / 3);
        for tick in 0..self.world.options.ticks {
            let elapsed = SimDuration::from_ms(reach * tick / self.world.options.ticks);
            self.world.until = start + elapsed;
            if self.control.chance(self.world.faults.pause) {
                let runs = self.world.scenario.runs();
                let run = runs[self.control.index(runs.len())].run;
                self.producers.control(&mut self.world, run, &mut self.control);
            }
            self.producers.fail(&mut self.world);
            self.consumers.fail(&mut self.world);
            if self.world.fault.chance(self.world.faults.stranger) {
                stranger::write(&mut self.world, &mut self.stranger)?;
            }
            self.tick()?;
        }
        Ok(())
    }

    /// Runs without faults until nothing is left to do.
    fn catch_up(&mut self) -> Outcome {
        for _ in 0..LIVENESS_TICKS_MAX {
            self.tick()?;
            if self.producers.are_idle(&self.world) && self.consumers.are_idle(&self.world) {
                return Ok(());
            }
        }
        Err(Finding::Stuck { ticks: LIVENESS_TICKS_MAX })
    }

    fn tick(&mut self) -> Outcome {
        self.world.tick += 1;
        self.producers.tick(&mut self.world)?;
        self.consumers.tick(&mut self.world)
    }
}

impl World<'_> {
    /// Returns the time of the tick.
    fn now(&self) -> Instant {
        self.begin + self.options.tick.saturating_mul(self.tick as u32)
    }

    /// Returns what clocks show at the tick, in milliseconds since the Unix epoch.
    fn wall_unix_ms(&self) -> u64 {
        WALL_START_UNIX_MS + self.now().duration_since(self.begin).as_millis() as u64
    }

    /// Whether no faults happen any more.
    fn is_healthy(&self) -> bool {
        self.faults == Faults::default()
    }

    /// Appends a record to the log, as it arrives there.
    fn append(
        &mut self,
        partition: u16,
        key: Vec<u8>,
        payload: Vec<u8>,
        origin: Origin,
    ) -> Outcome {
        let offset = self.log.append(partition, key, payload);
        self.oracle.arrives(partition, offset, origin)
    }
}

fn check(subject: &Subject<'_>) -> Outcome {
    invariant::check(subject).map_err(|violation| Finding::Invariant(Box::new(violation)))
}
