//! `scenarios pause|resume|speed|stop|delete`: a loaded run is changed while it runs.
//!
//! Each command reads the run's control record and writes the next one. Of two at the same time, the one
//! that writes last counts.

use std::io::Write;
use std::time::{Duration, Instant};

use roaming_events::SimTime;
use roaming_service::kafka::KafkaSettings;
use roaming_sim::control::{ControlRecord, RunState, Speed};

use super::CommandError;
use super::scenarios::{Records, parse_speed, speed_text, write};
use super::status::{self, RunProgress};
use crate::clock::wall_unix_ms;

/// How far ahead of the wall clock a pause or another pace is set, so that it reaches every producer before
/// its time: lanes stop exactly there, and none has gone further at the pace before.
const LEAD_MS: u64 = 2000;
/// For how long no progress is recorded of lanes that are at rest: owners record it once a second.
const REST: Duration = Duration::from_millis(2500);
/// The longest that lanes are waited for.
const REST_MAX: Duration = Duration::from_secs(20);
/// Pause between two looks at progress.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Names a loaded run.
#[derive(Clone, Debug, clap::Args)]
pub struct NameArgs {
    /// Name of the run
    name: String,
}

/// Names a run to go on, perhaps at another speed.
#[derive(Clone, Debug, clap::Args)]
pub struct ResumeArgs {
    /// Name of the run
    name: String,
    /// Simulated seconds per wall second, or `max` [default: as before]
    #[arg(long, value_parser = parse_speed)]
    speed: Option<Speed>,
}

/// Names a run and its new speed.
#[derive(Clone, Debug, clap::Args)]
pub struct SpeedArgs {
    /// Name of the run
    name: String,
    /// Simulated seconds per wall second, or `max`
    #[arg(value_parser = parse_speed)]
    speed: Speed,
}

/// Lets a run's simulated time stand still.
///
/// # Errors
/// Fails where there is no such run, or it is at its end, stopped or deleted.
pub async fn pause(
    settings: &KafkaSettings,
    args: &NameArgs,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let found = Found::alive(settings, &args.name).await?;
    if found.record.state == RunState::Paused {
        return say(out, &args.name, "is paused already");
    }
    let paused = found.record.pause(wall_unix_ms() + LEAD_MS, found.progress.reached);
    write(settings, &args.name, &paused).await?;
    say(out, &args.name, &format!("stands still from {} on", paused.anchor.sim))
}

/// Lets a run go on from where it stands, at once and without catching up.
///
/// # Errors
/// As [`pause`].
pub async fn resume(
    settings: &KafkaSettings,
    args: &ResumeArgs,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let found = Found::alive(settings, &args.name).await?;
    let speed = args.speed.unwrap_or(found.record.speed);
    let record = match found.record.state {
        RunState::Running if speed == found.record.speed => {
            return say(out, &args.name, "runs already");
        }
        RunState::Running => found.at_speed(settings, speed).await?,
        _ => {
            let reached = match (found.record.speed, speed) {
                (Speed::Max, Speed::Factor(_)) => at_rest(settings, &found.record).await?,
                _ => found.progress.reached,
            };
            let now = wall_unix_ms();
            found.record.with_speed(speed, now, reached).resume(now, reached)
        }
    };
    write(settings, &args.name, &record).await?;
    let speed = speed_text(record.speed);
    say(out, &args.name, &format!("goes on from {} at speed {speed}", record.anchor.sim))
}

/// Gives a run another speed. Simulated time neither jumps nor catches up.
///
/// # Errors
/// As [`pause`].
pub async fn speed(
    settings: &KafkaSettings,
    args: &SpeedArgs,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let found = Found::alive(settings, &args.name).await?;
    let text = speed_text(args.speed);
    if found.record.speed == args.speed {
        return say(out, &args.name, &format!("has speed {text} already"));
    }
    let record = found.at_speed(settings, args.speed).await?;
    write(settings, &args.name, &record).await?;
    let from = record.anchor.sim;
    match record.state {
        RunState::Running => say(out, &args.name, &format!("has speed {text} from {from} on")),
        _ => say(
            out,
            &args.name,
            &format!(
                "is paused at {from} and will have speed {text}; let it go on with `roaming-producer scenarios resume {}`",
                args.name
            ),
        ),
    }
}

/// Ends a run early, for good.
///
/// # Errors
/// Fails where there is no such run, or it is deleted.
pub async fn stop(
    settings: &KafkaSettings,
    args: &NameArgs,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let Found { record, progress, .. } = match Found::alive(settings, &args.name).await {
        Err(CommandError::Stopped { name }) => return say(out, &name, "is stopped already"),
        Err(CommandError::Finished { name }) => {
            return say(out, &name, "is finished: nothing is left to stop");
        }
        found => found?,
    };
    write(settings, &args.name, &record.stop(wall_unix_ms(), progress.reached)).await?;
    say(out, &args.name, "is stopped; each lane ends where it is, without an end marker")
}

/// Ends a run where it is not at its end, and has the producers forget it. What consumers counted of it, and
/// still find in the log, stays.
///
/// # Errors
/// Fails where there is no such run.
pub async fn delete(
    settings: &KafkaSettings,
    args: &NameArgs,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let Found { record, progress, .. } = Found::any(settings, &args.name).await?;
    if record.state == RunState::Deleted {
        return say(out, &args.name, "is deleted already");
    }
    write(settings, &args.name, &record.delete(wall_unix_ms(), progress.reached)).await?;
    say(
        out,
        &args.name,
        "is deleted: the producers forget it, what is counted of it stays in the store, and its name is free for a run of another seed or profile",
    )
}

fn say(out: &mut impl Write, name: &str, what: &str) -> Result<(), CommandError> {
    writeln!(out, "run `{name}` {what}").map_err(CommandError::Output)
}

/// A loaded run.
struct Found {
    name: String,
    record: ControlRecord,
    progress: RunProgress,
}

impl Found {
    /// Returns a run in any state.
    async fn any(settings: &KafkaSettings, name: &str) -> Result<Self, CommandError> {
        let mut records = Records::read(settings).await?;
        let Some(record) = records.take(name)? else {
            let known: Vec<String> = records.named.into_keys().collect();
            return Err(CommandError::UnknownRun {
                name: name.to_owned(),
                known: known.join(", "),
            });
        };
        // A change that is ahead of the clock comes first: the next one begins where that one leads to.
        let ahead = record.anchor.wall_unix_ms.saturating_sub(wall_unix_ms());
        tokio::time::sleep(Duration::from_millis(ahead.min(LEAD_MS))).await;
        let progress = progress(settings, &record).await?;
        Ok(Self { name: name.to_owned(), record, progress })
    }

    /// Returns a run that has something left to send.
    async fn alive(settings: &KafkaSettings, name: &str) -> Result<Self, CommandError> {
        let found = Self::any(settings, name).await?;
        let name = name.to_owned();
        match found.record.state {
            RunState::Deleted => Err(CommandError::Deleted { name }),
            RunState::Stopped => Err(CommandError::Stopped { name }),
            _ if found.progress.is_finished() => Err(CommandError::Finished { name }),
            RunState::Running | RunState::Paused => Ok(found),
        }
    }

    /// Returns the record with another speed.
    async fn at_speed(
        &self,
        settings: &KafkaSettings,
        speed: Speed,
    ) -> Result<ControlRecord, CommandError> {
        let (record, reached) = (&self.record, self.progress.reached);
        Ok(match (record.state, record.speed, speed) {
            (RunState::Running, Speed::Max, Speed::Factor(_)) => {
                // At full speed no clock says where the run is: its lanes come to rest first.
                let paused = record.pause(wall_unix_ms(), reached);
                write(settings, &self.name, &paused).await?;
                let reached = at_rest(settings, &paused).await?;
                let now = wall_unix_ms();
                paused.with_speed(speed, now, reached).resume(now, reached)
            }
            (RunState::Running, Speed::Factor(_), Speed::Factor(_)) => {
                record.with_speed(speed, wall_unix_ms() + LEAD_MS, reached)
            }
            _ => record.with_speed(speed, wall_unix_ms(), reached),
        })
    }
}

/// Waits until the lanes of a paused run stand still; returns where.
async fn at_rest(
    settings: &KafkaSettings,
    record: &ControlRecord,
) -> Result<SimTime, CommandError> {
    let begin = Instant::now();
    let (mut last, mut since) = (progress(settings, record).await?, Instant::now());
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        // What a look shows is as old as its begin: it may take long itself.
        let looked = Instant::now();
        let now = progress(settings, record).await?;
        let is_still = now == last && looked.saturating_duration_since(since) > REST;
        if is_still || begin.elapsed() > REST_MAX {
            return Ok(now.reached);
        }
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

async fn progress(
    settings: &KafkaSettings,
    record: &ControlRecord,
) -> Result<RunProgress, CommandError> {
    let progress = status::read_progress(settings).await?;
    Ok(RunProgress::of(&record.specification, record.run, &progress))
}
