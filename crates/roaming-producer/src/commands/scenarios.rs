//! `scenarios load|list|pause|resume|stop`: the desired state of the runs.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use roaming_events::SimTime;
use roaming_service::control;
use roaming_service::kafka::KafkaSettings;
use roaming_service::topics;
use roaming_sim::control::{ControlRecord, RunState, Speed};
use roaming_sim::{Simulation, Specification};

use super::status::{self, RunProgress};
use super::{CommandError, ProfileArgs};
use crate::clock::wall_unix_ms;

/// How far ahead of the wall clock a pause is set, so that it reaches every producer before its time and
/// lanes stop exactly there.
const PAUSE_LEAD_MS: u64 = 2000;

/// Names a run to be loaded, and its speed.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    /// Simulated seconds per wall second, or `max`
    #[arg(long, default_value = "60", value_parser = parse_speed)]
    speed: Speed,
}

impl LoadArgs {
    /// Says where profiles of the user's own are.
    pub fn look_in(&mut self, scenario_path: Option<PathBuf>) {
        self.profile.scenario_path = scenario_path;
    }

    /// Says which profile is meant where neither the arguments nor a setting name one.
    pub fn or_profile(&mut self, name: &str) {
        let profile = &mut self.profile;
        if !profile.scenario_path.as_ref().is_some_and(|path| path.is_file()) {
            profile.profile.get_or_insert_with(|| name.to_owned());
        }
    }

    /// Returns the run's specification on topics with so many partitions; asks no broker.
    ///
    /// # Errors
    /// Fails where the profile is unknown or wrong, or the run cannot have this name.
    pub fn specification(
        &self,
        events_partitions: u16,
        lanes_partitions: u16,
    ) -> Result<Specification, CommandError> {
        self.profile.specification(events_partitions, lanes_partitions)
    }
}

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

fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(Speed::Factor(factor)),
        _ => Err("allowed is `max`, or a number above 0 such as 1, 60 or 0.5".to_owned()),
    }
}

/// Prints a speed as a person writes it.
pub(super) fn speed_text(speed: Speed) -> String {
    match speed {
        Speed::Max => "max".to_owned(),
        Speed::Factor(factor) => factor.to_string(),
    }
}

/// Loads a run, so that the producers begin it. Loading it again changes nothing.
///
/// # Errors
/// Fails where the profile is unknown or wrong, another run has the name, or the topics are missing.
pub async fn load(
    settings: &KafkaSettings,
    args: &LoadArgs,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    // A wrong profile is told without a broker.
    args.specification(1, 1)?;
    let partitions = (
        topics::partitions(settings, topics::EVENTS)?,
        topics::partitions(settings, topics::LANES)?,
    );
    let specification = Arc::new(args.specification(partitions.0, partitions.1)?);
    Simulation::try_new(Arc::clone(&specification))?;
    let name = &specification.name;
    if let Some(loaded) = records(settings).await?.into_iter().find(|(known, _)| known == name) {
        let message = already_loaded(&specification, &loaded.1)?;
        return writeln!(out, "{message}").map_err(CommandError::Output);
    }
    let record = ControlRecord::start(Arc::clone(&specification), args.speed, wall_unix_ms());
    write(settings, name, &record).await?;
    writeln!(
        out,
        "run `{name}` loaded: id {}, {} subscribers in {} lanes, seed {}, from {} to {}, speed {}",
        record.run,
        specification.profile.subscribers,
        specification.lanes,
        specification.seed,
        specification.start(),
        specification.end(),
        speed_text(args.speed),
    )
    .map_err(CommandError::Output)
}

fn already_loaded(wanted: &Specification, loaded: &ControlRecord) -> Result<String, CommandError> {
    let found = &*loaded.specification;
    if wanted == found {
        return Ok(format!(
            "run `{}` is loaded already with this specification: id {}, {}; nothing changed",
            wanted.name,
            loaded.run,
            status::state_text(loaded.state),
        ));
    }
    let differences = [
        ("profile", wanted.profile != found.profile, String::new()),
        ("seed", wanted.seed != found.seed, format!(" {}", found.seed)),
        ("lanes", wanted.lanes != found.lanes, format!(" {}", found.lanes)),
        (
            "partitions of roaming.events",
            wanted.events_partitions != found.events_partitions,
            format!(" {}", found.events_partitions),
        ),
        (
            "partitions of roaming.lanes",
            wanted.lanes_partitions != found.lanes_partitions,
            format!(" {}", found.lanes_partitions),
        ),
        (
            "stream version",
            wanted.stream_version != found.stream_version,
            format!(" {}", found.stream_version),
        ),
    ];
    let different: Vec<String> = differences
        .into_iter()
        .filter(|(_, differs, _)| *differs)
        .map(|(what, _, value)| format!("{what}{value}"))
        .collect();
    Err(CommandError::NameTaken { name: wanted.name.clone(), difference: different.join(", ") })
}

/// Lists the loaded runs.
///
/// # Errors
/// Fails where the topic is missing or no broker answers.
pub async fn list(settings: &KafkaSettings, out: &mut impl Write) -> Result<(), CommandError> {
    let records = records(settings).await?;
    if records.is_empty() {
        return writeln!(out, "no run is loaded").map_err(CommandError::Output);
    }
    for (name, record) in records {
        let specification = &record.specification;
        writeln!(
            out,
            "{name}: {}, id {}, seed {}, {} lanes, {} to {}, speed {}",
            status::state_text(record.state),
            record.run,
            specification.seed,
            specification.lanes,
            specification.start(),
            specification.end(),
            speed_text(record.speed),
        )
        .map_err(CommandError::Output)?;
    }
    Ok(())
}

/// Lets a run's simulated time stand still.
///
/// # Errors
/// Fails where there is no such run, or it is stopped.
pub async fn pause(
    settings: &KafkaSettings,
    args: &NameArgs,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let record = find(settings, &args.name).await?;
    if record.state == RunState::Paused {
        return say(out, &args.name, "is paused already");
    }
    let reached = reached(settings, &record).await?;
    let paused = record.pause(wall_unix_ms() + PAUSE_LEAD_MS, reached);
    write(settings, &args.name, &paused).await?;
    say(out, &args.name, &format!("stands still from {} on", paused.anchor.sim))
}

/// Lets a run go on from where it stands, at once and without catching up.
///
/// # Errors
/// Fails where there is no such run, or it is stopped.
pub async fn resume(
    settings: &KafkaSettings,
    args: &ResumeArgs,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let mut record = find(settings, &args.name).await?;
    let goes_on = record.state == RunState::Running;
    if goes_on && args.speed.is_none_or(|speed| speed == record.speed) {
        return say(out, &args.name, "runs already");
    }
    if let Some(speed) = args.speed {
        let reached = reached(settings, &record).await?;
        record = record.with_speed(speed, wall_unix_ms(), reached);
    }
    if !goes_on {
        record = record.resume(wall_unix_ms());
    }
    write(settings, &args.name, &record).await?;
    let speed = speed_text(record.speed);
    say(out, &args.name, &format!("goes on from {} at speed {speed}", record.anchor.sim))
}

/// Ends a run early, for good.
///
/// # Errors
/// Fails where there is no such run.
pub async fn stop(
    settings: &KafkaSettings,
    args: &NameArgs,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let record = match find(settings, &args.name).await {
        Err(CommandError::Stopped { name }) => return say(out, &name, "is stopped already"),
        found => found?,
    };
    let reached = reached(settings, &record).await?;
    write(settings, &args.name, &record.stop(wall_unix_ms(), reached)).await?;
    say(out, &args.name, "is stopped; each lane ends where it is, without an end marker")
}

fn say(out: &mut impl Write, name: &str, what: &str) -> Result<(), CommandError> {
    writeln!(out, "run `{name}` {what}").map_err(CommandError::Output)
}

/// Returns the least time that the run's lanes have reached, as far as it is recorded.
async fn reached(
    settings: &KafkaSettings,
    record: &ControlRecord,
) -> Result<SimTime, CommandError> {
    let progress = status::read_progress(settings).await?;
    Ok(RunProgress::of(&record.specification, record.run, &progress).reached)
}

/// Returns a run that can still be changed.
async fn find(settings: &KafkaSettings, name: &str) -> Result<ControlRecord, CommandError> {
    let records = records(settings).await?;
    let known = records.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let found = records.into_iter().find(|(known, _)| known == name);
    match found {
        Some((name, record)) if record.state == RunState::Stopped => {
            Err(CommandError::Stopped { name })
        }
        Some((_, record)) => Ok(record),
        None => Err(CommandError::UnknownRun { name: name.to_owned(), known }),
    }
}

/// Returns the control records of all runs, by name.
pub(super) async fn records(
    settings: &KafkaSettings,
) -> Result<Vec<(String, ControlRecord)>, CommandError> {
    let runs = control::read(settings).await?.runs;
    let parse = |(name, bytes): (String, Vec<u8>)| match serde_json::from_slice(&bytes) {
        Ok(record) => Ok((name, record)),
        Err(source) => Err(CommandError::Record { name, source }),
    };
    runs.into_iter().map(parse).collect()
}

async fn write(
    settings: &KafkaSettings,
    name: &str,
    record: &ControlRecord,
) -> Result<(), CommandError> {
    let bytes = serde_json::to_vec(record).expect("a tree of structs, texts and numbers");
    Ok(control::write(settings, name, &bytes).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_read_as_they_are_written() {
        for text in ["max", "1", "60", "0.5"] {
            assert_eq!(parse_speed(text).map(speed_text), Ok(text.to_owned()));
        }
        for text in ["0", "-1", "inf", "NaN", "fast"] {
            assert!(parse_speed(text).is_err(), "{text}");
        }
    }
}
