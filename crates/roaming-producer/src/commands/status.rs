//! `scenarios status`: how far the runs are, and how long they will take.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use roaming_events::{Grouped, LaneId, RunId, SimTime};
use roaming_service::kafka::KafkaSettings;
use roaming_service::reader::{Read, TopicReader};
use roaming_service::topics;
use roaming_sim::control::{ControlRecord, RunState, Speed};
use roaming_sim::{STREAM_VERSION, Specification};

use super::CommandError;
use super::scenarios::{Records, speed_text};
use crate::clock::wall_unix_ms;
use crate::fleet::{PartitionProgress, WINDOW};
use crate::progress::{self, Progress};

/// How far a run is, by its recorded progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunProgress {
    events: u64,
    lanes: usize,
    lanes_finished: usize,
    /// The time that all lanes have reached, as far as it is recorded; the end where all are finished.
    pub(super) reached: SimTime,
}

impl RunProgress {
    pub(super) fn of(
        specification: &Specification,
        run: RunId,
        progress: &PartitionProgress,
    ) -> Self {
        let lanes = || LaneId::all(specification.lanes).map(|lane| progress.get(&(run, lane)));
        let partitions = 0..specification.lanes_partitions;
        let reached = partitions.map(|partition| {
            let lanes = LaneId::all(specification.lanes)
                .filter(|lane| lane.partition(specification.lanes_partitions) == partition);
            owner_reached(specification, lanes.map(|lane| progress.get(&(run, lane))))
        });
        Self {
            events: lanes().flatten().map(|lane| lane.acknowledged.get()).sum(),
            lanes: usize::from(specification.lanes),
            lanes_finished: lanes().flatten().filter(|lane| lane.ended).count(),
            reached: reached.min().unwrap_or(specification.start()),
        }
    }

    /// Whether every lane is at its end.
    pub(super) fn is_finished(&self) -> bool {
        self.lanes_finished == self.lanes
    }

    /// What the run does: what was asked of it, or that it is finished.
    pub(super) fn state(&self, record: &ControlRecord) -> &'static str {
        match record.state {
            RunState::Deleted => RunState::Deleted.as_str(),
            _ if self.is_finished() => "finished",
            state => state.as_str(),
        }
    }
}

/// Returns the time that lanes of one owner have reached, all that a partition of `roaming.lanes` holds.
///
/// A lane with nothing to say has old progress, or none. But lanes of one owner go together from window to
/// window: all have passed the start of the window in which the first of them is.
fn owner_reached<'a>(
    specification: &Specification,
    lanes: impl Iterator<Item = Option<&'a Progress>>,
) -> SimTime {
    let start = specification.start();
    let going_on = lanes.filter(|lane| lane.is_none_or(|lane| !lane.ended));
    let times: Vec<SimTime> =
        going_on.map(|lane| lane.map_or(start, |lane| lane.emission_time)).collect();
    match (times.iter().min(), times.iter().max()) {
        (Some(&last), Some(first)) => last.max(first.window_start(WINDOW)),
        _ => specification.end(),
    }
}

/// Writes one line for each run.
///
/// # Errors
/// Fails where a topic is missing or no broker answers.
pub async fn status(settings: &KafkaSettings, out: &mut impl Write) -> Result<(), CommandError> {
    let records = Records::read(settings).await?;
    let progress = read_progress(settings).await?;
    let now = wall_unix_ms();
    records.print(out, |record| {
        line(record, &RunProgress::of(&record.specification, record.run, &progress), now)
    })
}

fn line(record: &ControlRecord, run: &RunProgress, now: u64) -> String {
    let specification = &record.specification;
    let state = run.state(record);
    if record.state == RunState::Deleted {
        return format!("{state}; what was counted of it stays in the store");
    }
    let whole = specification.end().since(specification.start()).ms().max(1);
    let done = run.reached.since(specification.start()).ms();
    let mut line = format!(
        "{state}, {}.{} %, {} events acknowledged, {} of {} lanes finished, at {}, speed {}",
        done * 100 / whole,
        done * 1000 / whole % 10,
        Grouped(run.events),
        run.lanes_finished,
        run.lanes,
        run.reached,
        speed_text(record.speed),
    );
    if state == RunState::Running.as_str()
        && let Some(seconds) = seconds_to_go(record, run, now)
    {
        let _ = write!(line, ", {seconds} s to go");
    }
    if specification.stream_version != STREAM_VERSION {
        let _ = write!(
            line,
            ", stream version {}: producers of this release make version {STREAM_VERSION} and refuse the run",
            specification.stream_version
        );
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

/// Reads the progress of all lanes of all runs.
pub(super) async fn read_progress(
    settings: &KafkaSettings,
) -> Result<PartitionProgress, CommandError> {
    let mut reader = TopicReader::open(settings, topics::LANES).await?;
    let mut progress = BTreeMap::new();
    while let Read::Record(record) = reader.next().await? {
        // What cannot be read is logged by the daemon that owns the lane.
        if let Ok(lane) = Progress::read(&record.key, record.payload.as_deref()) {
            progress::keep(&mut progress, lane);
        }
    }
    Ok(progress)
}
