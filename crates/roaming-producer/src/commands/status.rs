//! `scenarios status`: how far the runs are, and how long they will take.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use roaming_events::{LaneId, RunId, SimTime};
use roaming_service::kafka::KafkaSettings;
use roaming_service::reader::{Read, TopicReader};
use roaming_service::topics;
use roaming_sim::Specification;
use roaming_sim::control::{ControlRecord, RunState, Speed};

use super::CommandError;
use super::scenarios::{records, speed_text};
use crate::clock::wall_unix_ms;
use crate::fleet::PartitionProgress;
use crate::progress::Progress;

/// How far a run is, by its recorded progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunProgress {
    events: u64,
    lanes_finished: usize,
    /// The least time that the lanes have reached; the end where all are finished.
    pub(super) reached: SimTime,
}

impl RunProgress {
    pub(super) fn of(
        specification: &Specification,
        run: RunId,
        progress: &PartitionProgress,
    ) -> Self {
        let lanes = || LaneId::all(specification.lanes).map(|lane| progress.get(&(run, lane)));
        let reached = |lane: Option<&Progress>| match lane {
            None => specification.start(),
            Some(lane) if lane.ended => specification.end(),
            Some(lane) => lane.emission_time,
        };
        Self {
            events: lanes().flatten().map(|lane| lane.acknowledged.get()).sum(),
            lanes_finished: lanes().flatten().filter(|lane| lane.ended).count(),
            reached: lanes().map(reached).min().unwrap_or(specification.start()),
        }
    }
}

/// Writes one line for each run.
///
/// # Errors
/// Fails where a topic is missing or no broker answers.
pub async fn status(settings: &KafkaSettings, out: &mut impl Write) -> Result<(), CommandError> {
    let records = records(settings).await?;
    if records.is_empty() {
        return writeln!(out, "no run is loaded").map_err(CommandError::Output);
    }
    let progress = read_progress(settings).await?;
    let now = wall_unix_ms();
    for (name, record) in records {
        let run = RunProgress::of(&record.specification, record.run, &progress);
        writeln!(out, "{name}: {}", line(&record, &run, now)).map_err(CommandError::Output)?;
    }
    Ok(())
}

fn line(record: &ControlRecord, run: &RunProgress, now: u64) -> String {
    let specification = &record.specification;
    let lanes = usize::from(specification.lanes);
    let state = if run.lanes_finished == lanes { "finished" } else { state_text(record.state) };
    let whole = specification.end().since(specification.start()).ms().max(1);
    let done = run.reached.since(specification.start()).ms();
    let mut line = format!(
        "{state}, {}.{} %, {} events acknowledged, {} of {lanes} lanes finished, at {}, speed {}",
        done * 100 / whole,
        done * 1000 / whole % 10,
        run.events,
        run.lanes_finished,
        run.reached,
        speed_text(record.speed),
    );
    if state == state_text(RunState::Running)
        && let Some(seconds) = seconds_to_go(record, run, now)
    {
        let _ = write!(line, ", {seconds} s to go");
    }
    line
}

/// Returns how many wall seconds a running run needs to its end; `None` where it has not moved yet.
fn seconds_to_go(record: &ControlRecord, run: &RunProgress, now: u64) -> Option<u64> {
    match record.speed {
        Speed::Factor(factor) => {
            // The anchor's line crosses the end after this much wall time.
            let end = record.specification.end().since(record.anchor.sim).ms() as f64 / factor;
            let at = Duration::try_from_secs_f64(end / 1000.0).unwrap_or(Duration::MAX);
            let elapsed = Duration::from_millis(now.saturating_sub(record.anchor.wall_unix_ms));
            Some(at.saturating_sub(elapsed).as_secs())
        }
        // As fast as since it was started or resumed.
        Speed::Max => {
            let left = record.specification.end().since(run.reached).ms();
            let done = run.reached.since(record.anchor.sim).ms();
            let elapsed = now.saturating_sub(record.anchor.wall_unix_ms);
            let to_go = u128::from(left) * u128::from(elapsed) / u128::from(done).max(1);
            (done > 0).then(|| u64::try_from(to_go.div_ceil(1000)).unwrap_or(u64::MAX))
        }
    }
}

pub(super) fn state_text(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Paused => "paused",
        RunState::Stopped => "stopped",
    }
}

/// Reads the progress of all lanes of all runs.
pub(super) async fn read_progress(
    settings: &KafkaSettings,
) -> Result<PartitionProgress, CommandError> {
    let mut reader = TopicReader::open(settings, topics::LANES)?;
    let mut progress = BTreeMap::new();
    while let Read::Record(record) = reader.next().await? {
        // What cannot be read is logged by the daemon that owns the lane.
        let value = record.payload.unwrap_or_default();
        if let Ok(lane) = Progress::decode(&record.key, &value) {
            progress.insert((lane.run, lane.lane), lane);
        }
    }
    Ok(progress)
}
