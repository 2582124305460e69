//! The topic `roaming.scenarios`, and who writes to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use roaming_events::{LaneId, RunId, SimTime};
use roaming_producer::sender::Command;
use roaming_sim::control::{Anchor, ControlRecord, RunState, Speed};

use super::super::World;
use super::lanes_topic::LanesTopic;
use crate::engine::EngineScenario;
use crate::seed::Stream;

/// How far ahead of the wall clock a change is set at most.
const LEAD_MS_MAX: u64 = 2000;

/// The topic, and the last record of each run.
pub(super) struct ControlTopic {
    runs: BTreeMap<RunId, ControlRecord>,
    /// All records, in order; none where a run's was taken away.
    records: Vec<(String, Option<ControlRecord>)>,
    /// Speeds are drawn around this one, which brings runs to their end in time.
    factor: f64,
}

impl ControlTopic {
    /// Loads the runs of a scenario.
    pub(super) fn new(world: &World<'_>, scenario: &EngineScenario) -> Self {
        let factor = world.seed.stream_of(crate::Concern::Control, 1).between(300, 2000);
        let duration = world.options.tick.as_millis() as u64 * world.options.ticks;
        let length = scenario.specifications().map(|run| run.end().since(run.start()).ms()).max();
        let factor = length.unwrap_or(0) as f64 / duration as f64 * factor as f64 / 1000.0;
        let mut topic = Self { runs: BTreeMap::new(), records: Vec::new(), factor };
        let wall = world.wall_unix_ms();
        for specification in scenario.specifications() {
            let specification = Arc::clone(specification);
            topic.write(ControlRecord::start(specification, Speed::Factor(factor), wall));
        }
        topic
    }

    /// Tells the last record of each run; returns where to read on.
    pub(super) fn open(&self, commands: &mut VecDeque<Command>) -> usize {
        let last: BTreeMap<_, _> =
            self.records.iter().map(|(name, record)| (name, record)).collect();
        commands.extend(last.into_iter().map(|(name, record)| command(name, record.as_ref())));
        self.records.len()
    }

    /// Tells the record at a place, if there is one.
    pub(super) fn next(&self, place: usize) -> Option<Command> {
        self.records.get(place).map(|(name, record)| command(name, record.as_ref()))
    }

    /// Whether nothing stands at a place or later.
    pub(super) fn is_read(&self, place: usize) -> bool {
        place == self.records.len()
    }

    /// Changes a run in some way.
    pub(super) fn change(
        &mut self,
        world: &mut World<'_>,
        lanes: &LanesTopic,
        run: RunId,
        stream: &mut Stream,
    ) {
        let record = self.runs[&run].clone();
        let name = &record.specification.name;
        let is_there =
            self.records.iter().rfind(|(of, _)| of == name).is_some_and(|(_, last)| last.is_some());
        let wall = world.wall_unix_ms() + stream.below(LEAD_MS_MAX);
        let reached = reached(&record, lanes);
        let (what, changed) = match stream.below(6) {
            _ if !is_there => ("run loaded again", record),
            0 => {
                self.records.push((name.clone(), None));
                world.report.count("run taken away");
                return;
            }
            1 => ("run at full speed", record.with_speed(Speed::Max, wall, reached)),
            2 => {
                let factor = self.factor * stream.between(1, 40) as f64 / 10.0;
                ("run at another speed", record.with_speed(Speed::Factor(factor), wall, reached))
            }
            _ if record.state == RunState::Paused => ("run resumed", record.resume(wall, reached)),
            _ => ("run paused", record.pause(wall, reached)),
        };
        world.report.count(what);
        world.trace.note(format!("{}: {what}, from {}", world.tick, changed.anchor.sim));
        self.write(changed);
    }

    /// Lets all runs go up to `until` and stand still there, or go to their end.
    pub(super) fn go_up_to(&mut self, world: &World<'_>, until: SimTime) {
        let anchor = Anchor { sim: until, wall_unix_ms: world.wall_unix_ms() };
        for record in self.runs.clone().into_values() {
            let (state, speed) = if until > world.scenario.end() {
                (RunState::Running, Speed::Max)
            } else {
                (RunState::Paused, record.speed)
            };
            self.write(ControlRecord { state, speed, anchor, ..record });
        }
    }

    fn write(&mut self, record: ControlRecord) {
        self.records.push((record.specification.name.clone(), Some(record.clone())));
        self.runs.insert(record.run, record);
    }
}

fn command(name: &str, record: Option<&ControlRecord>) -> Command {
    Command::Control { name: name.to_owned(), record: record.cloned().map(Box::new) }
}

/// Returns the least time that the lanes of a run have recorded.
fn reached(record: &ControlRecord, lanes: &LanesTopic) -> SimTime {
    let start = record.specification.start();
    let progress =
        LaneId::all(record.specification.lanes).map(|lane| lanes.progress(record.run, lane));
    let unfinished = progress.filter(|progress| !progress.is_some_and(|progress| progress.ended));
    unfinished.map(|progress| progress.map_or(start, |p| p.emission_time)).min().unwrap_or(start)
}
