//! The deterministic simulation: owners of lanes, the log, owners of partitions and the store, in one
//! thread and from one seed.
//!
//! Each tick of the simulated clock, some of them take one step: a sender hands over records, a batch
//! arrives, a record is observed, a flush goes on by one of its steps. Faults happen between any two steps.
//! After the safety phase the faults end; then, within a bound, the state must catch up with the simulated
//! time (which only markers can bring about), and at last everything must balance to the unit.

mod consumers;
mod desk;
mod group;
mod observations;
mod oracle;
mod producers;
mod report;
mod stranger;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use roaming_analytics::PartitionConfig;
use roaming_analytics::invariant::{self, Subject};
use roaming_events::{RunId, SimDuration, SimTime};

use crate::fault::{Disaster, Faults};
use crate::log::Log;
use crate::sample::{SampleScenario, Size};
use crate::scenario::Scenario;
use crate::seed::{Concern, Seed, Stream};
use crate::store::{FaultyStore, MemoryStore};

use consumers::Consumers;
use observations::Observations;
use oracle::{Oracle, Origin};
use producers::Producers;
pub use report::{Failure, Finding, Report};
use report::{Outcome, Trace};

/// The most ticks that the healthy system may take to catch up with what was sent.
const LIVENESS_TICKS_MAX: u64 = 20_000;

/// Length of a tick for the programs under test.
const TICK: Duration = Duration::from_millis(20);

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
            flush_interval: Duration::from_millis(stream.between(10, 300)),
            unstored_events_max: stream.between(5, 200),
            is_printed: false,
        }
    }
}

/// Simulates the sample scenario of a seed.
///
/// # Errors
/// Fails with the first thing that must not be, together with all that is needed to see it again.
pub fn simulate_sample(seed: Seed) -> Result<Report, Box<Failure>> {
    sample(seed, false)
}

/// Simulates the sample scenario of a seed, and prints each step as it happens.
///
/// # Errors
/// As [`simulate_sample`].
pub fn show_sample(seed: Seed) -> Result<Report, Box<Failure>> {
    sample(seed, true)
}

fn sample(seed: Seed, is_printed: bool) -> Result<Report, Box<Failure>> {
    let scenario = SampleScenario::new(seed, Size::draw(seed));
    let options = Options::draw(seed, scenario.window());
    simulate(seed, &scenario, &Options { is_printed, ..options })
}

/// Simulates a scenario.
///
/// # Errors
/// Fails with the first thing that must not be, together with all that is needed to see it again.
pub fn simulate<S: Scenario>(
    seed: Seed,
    scenario: &S,
    options: &Options,
) -> Result<Report, Box<Failure>> {
    let _guard = report::SeedGuard::new(seed, options);
    let mut simulation = Simulation::new(seed, scenario, options);
    let observations = Observations::new(simulation.world.trace.clone());
    let outcome = tracing::subscriber::with_default(observations.clone(), || simulation.run());
    observations.for_each(|name, count| simulation.world.report.add(name, count));
    match outcome {
        Ok(()) => Ok(simulation.world.report),
        Err(finding) => Err(Box::new(Failure {
            seed,
            options: *options,
            tick: simulation.world.tick,
            finding,
            trace: simulation.world.trace.lines(),
        })),
    }
}

/// What all parts of the simulation see.
struct World<'a, S> {
    scenario: &'a S,
    options: Options,
    faults: Faults,
    tick: u64,
    /// The time of the first tick.
    begin: Instant,
    /// What is emitted before this time may be sent, of runs that are not paused.
    until: SimTime,
    /// Where paused runs stand.
    paused: BTreeMap<RunId, SimTime>,
    log: Log,
    store: FaultyStore,
    oracle: Oracle,
    report: Report,
    trace: Trace,
    schedule: Stream,
    fault: Stream,
}

struct Simulation<'a, S: Scenario> {
    world: World<'a, S>,
    producers: Producers<S>,
    consumers: Consumers,
    stranger: Stream,
    control: Stream,
    disaster: Stream,
}

impl<'a, S: Scenario> Simulation<'a, S> {
    fn new(seed: Seed, scenario: &'a S, options: &Options) -> Self {
        let partitions = scenario.runs().iter().map(|view| view.partitions).max().unwrap_or(1);
        let start = scenario.runs().iter().map(|view| view.start).min().unwrap_or_default();
        #[expect(
            clippy::disallowed_methods,
            reason = "an instant has no other beginning; only differences count"
        )]
        let begin = Instant::now();
        let mut world = World {
            scenario,
            options: *options,
            faults: options.faults,
            tick: 0,
            begin,
            until: start,
            paused: BTreeMap::new(),
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
        };
        let producers =
            Producers::new(&mut world, options.lanes_partitions, seed.stream(Concern::Network));
        let consumers = Consumers::new(partitions);
        let [stranger, control, disaster] =
            [Concern::Stranger, Concern::Control, Concern::Disaster].map(|of| seed.stream(of));
        Self { world, producers, consumers, stranger, control, disaster }
    }

    fn run(&mut self) -> Outcome {
        self.be_safe()?;
        self.world.faults = Faults::default();
        self.world.paused.clear();
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
        self.world.oracle.check_balance(
            self.world.scenario,
            &self.world.store,
            &mut self.world.report,
        )?;
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
                self.world.pause_or_resume(runs[self.control.index(runs.len())].run);
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

impl<S> World<'_, S> {
    /// Returns the time of the tick.
    fn now(&self) -> Instant {
        self.begin + TICK.saturating_mul(self.tick as u32)
    }

    /// Returns the time before which a run's events may be sent.
    fn until_of(&self, run: RunId) -> SimTime {
        self.paused.get(&run).copied().unwrap_or(self.until)
    }

    fn pause_or_resume(&mut self, run: RunId) {
        if self.paused.remove(&run).is_some() {
            self.report.count("run resumed");
        } else {
            self.paused.insert(run, self.until);
            self.report.count("run paused");
        }
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
