//! `ledger`, `generate` and `truth`: JSON Lines from the engine alone, without a broker.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use roaming_events::{LaneId, LaneTally, RowKey, RunId, Tally, Totals, json};
use roaming_service::config::integer;
use roaming_service::topics;
use roaming_sim::{Simulation, ledger as engine_ledger, truth as engine_truth};
use serde::Serialize;

use super::{CommandError, ProfileArgs, lane, quiet_pipe};
use crate::fleet::WINDOW;

/// Names a run without a broker to ask.
#[derive(Clone, Debug, clap::Args)]
pub struct OfflineArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    /// Partitions of roaming.events; part of a run's identity
    #[arg(long, default_value_t = topics::PARTITIONS, value_parser = integer::<u16>(1, u16::MAX.into()))]
    events_partitions: u16,
    /// Partitions of roaming.lanes; part of a run's identity
    #[arg(long, default_value_t = topics::PARTITIONS, value_parser = integer::<u16>(1, u16::MAX.into()))]
    lanes_partitions: u16,
}

/// Names a run, and the lanes of it that are wanted.
#[derive(Clone, Debug, clap::Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    run: OfflineArgs,
    /// Only this lane; may be repeated [default: all, one after the other]
    #[arg(long, value_parser = integer::<u16>(0, u64::from(LaneId::COUNT_MAX) - 1))]
    lane: Vec<u16>,
}

impl OfflineArgs {
    /// Says where profiles of the user's own are.
    pub fn look_in(&mut self, scenario_path: Option<PathBuf>) {
        self.profile.scenario_path = scenario_path;
    }

    fn simulation(&self) -> Result<Arc<Simulation>, CommandError> {
        let specification =
            self.profile.specification(self.events_partitions, self.lanes_partitions)?;
        Ok(Arc::new(Simulation::try_new(Arc::new(specification))?))
    }
}

impl GenerateArgs {
    /// Says where profiles of the user's own are.
    pub fn look_in(&mut self, scenario_path: Option<PathBuf>) {
        self.run.look_in(scenario_path);
    }

    fn lanes(&self) -> Result<Vec<LaneId>, CommandError> {
        let lanes = self.run.profile.lanes;
        if self.lane.is_empty() {
            return Ok(LaneId::all(lanes).collect());
        }
        self.lane.iter().map(|&number| lane(number, lanes)).collect()
    }
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum LedgerLine<'a> {
    Lane {
        lane: LaneId,
        events: u64,
        /// As text: many readers of JSON round numbers of 64 bits.
        digest: String,
    },
    Row {
        #[serde(flatten)]
        key: &'a RowKey,
        #[serde(flatten)]
        totals: &'a Totals,
    },
    Run {
        run: RunId,
        name: &'a str,
        lanes: u16,
        events: u64,
        digest: String,
    },
}

/// Writes what a run must add up to: a line for each lane, for each aggregate row, and for the run.
///
/// # Errors
/// Fails where there is no such run, or the output cannot be written.
pub fn ledger(args: &OfflineArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let simulation = args.simulation()?;
    quiet_pipe(write_ledger(&simulation, out))
}

fn write_ledger(simulation: &Arc<Simulation>, out: &mut impl Write) -> Result<(), CommandError> {
    let specification = simulation.specification();
    let mut total = Tally::default();
    for id in LaneId::all(specification.lanes) {
        let tally = engine_ledger::lane(simulation, id, WINDOW, None);
        for (&lane, LaneTally { events, digest }) in &tally.lanes {
            let digest = digest.to_string();
            write_line(out, &LedgerLine::Lane { lane, events: *events, digest })?;
        }
        total.merge(&tally);
    }
    for (key, totals) in &total.rows {
        write_line(out, &LedgerLine::Row { key, totals })?;
    }
    let run = LedgerLine::Run {
        run: simulation.run(),
        name: &specification.name,
        lanes: specification.lanes,
        events: total.events(),
        digest: total.digest().to_string(),
    };
    write_line(out, &run)?;
    out.flush().map_err(CommandError::Output)
}

/// Writes a run's events, as they stand on `roaming.events`, lane by lane.
///
/// # Errors
/// Fails where there is no such run or lane, or the output cannot be written.
pub fn generate(args: &GenerateArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let simulation = args.run.simulation()?;
    quiet_pipe(write_events(&simulation, &args.lanes()?, out))
}

fn write_events(
    simulation: &Arc<Simulation>,
    lanes: &[LaneId],
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let mut line = Vec::new();
    for &lane in lanes {
        for event in simulation.lane(lane) {
            line.clear();
            json::encode(&event, &mut line);
            line.push(b'\n');
            out.write_all(&line).map_err(CommandError::Output)?;
        }
    }
    out.flush().map_err(CommandError::Output)
}

/// Writes the labels of a run's faults and fraud, lane by lane.
///
/// # Errors
/// As [`generate`].
pub fn truth(args: &GenerateArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let simulation = args.run.simulation()?;
    quiet_pipe(write_labels(&simulation, &args.lanes()?, out))
}

fn write_labels(
    simulation: &Arc<Simulation>,
    lanes: &[LaneId],
    out: &mut impl Write,
) -> Result<(), CommandError> {
    for &lane in lanes {
        for label in engine_truth::lane(simulation, lane) {
            write_line(out, &label)?;
        }
    }
    out.flush().map_err(CommandError::Output)
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> Result<(), CommandError> {
    serde_json::to_writer(&mut *out, line).map_err(|error| CommandError::Output(error.into()))?;
    out.write_all(b"\n").map_err(CommandError::Output)
}
