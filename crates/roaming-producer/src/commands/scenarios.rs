//! `scenarios load|list`: the runs that are asked for.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use roaming_events::RunId;
use roaming_service::control;
use roaming_service::kafka::KafkaSettings;
use roaming_service::telemetry::chain;
use roaming_service::topics;
use roaming_sim::control::{ControlRecord, RunState, Speed};
use roaming_sim::profile::BUILTIN;
use roaming_sim::{Profile, Simulation, Specification};

use super::status::{self, RunProgress};
use super::{CommandError, ProfileArgs};
use crate::clock::wall_unix_ms;

/// Key of a deleted run's record, before its id, once its name has another run. No name has a slash.
const GRAVE: &str = "deleted/";

/// Names a run to be loaded, and its speed.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    /// Simulated seconds per wall second, or `max` [default: 60]
    #[arg(long, value_parser = parse_speed)]
    speed: Option<Speed>,
}

/// The speed where none is asked for.
const SPEED: Speed = Speed::Factor(60.0);

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

    /// Says which speed is meant where the arguments name none.
    pub fn or_speed(&mut self, speed: Speed) {
        self.speed.get_or_insert(speed);
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

pub(super) fn parse_speed(text: &str) -> Result<Speed, String> {
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
    let mut records = Records::read(settings).await?;
    if records.deleted.contains_key(&specification.run_id()) {
        return Err(CommandError::Deleted { name: name.clone() });
    }
    match records.take(name)? {
        None => {}
        Some(earlier) if earlier.state == RunState::Deleted => {
            // The name's record is replaced: what says that the earlier run was deleted needs another key.
            write(settings, &format!("{GRAVE}{}", earlier.run), &earlier).await?;
        }
        Some(loaded) => {
            let progress = status::read_progress(settings).await?;
            let progress = RunProgress::of(&loaded.specification, loaded.run, &progress);
            let message = already_loaded(&specification, args.speed, &loaded, &progress)?;
            return writeln!(out, "{message}").map_err(CommandError::Output);
        }
    }
    let speed = args.speed.unwrap_or(SPEED);
    let record = ControlRecord::start(Arc::clone(&specification), speed, wall_unix_ms());
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
        speed_text(speed),
    )
    .map_err(CommandError::Output)
}

fn already_loaded(
    wanted: &Specification,
    wanted_speed: Option<Speed>,
    loaded: &ControlRecord,
    progress: &RunProgress,
) -> Result<String, CommandError> {
    let (found, name) = (&*loaded.specification, &wanted.name);
    if wanted == found {
        let (id, state) = (loaded.run, loaded.state.as_str());
        return match loaded.state {
            RunState::Stopped => Err(CommandError::Stopped { name: name.clone() }),
            _ if progress.is_finished() => Ok(format!(
                "run `{name}` is finished already: id {id}; nothing changed; to run it once more, load it under another name with --name, or delete it with `roaming-producer scenarios delete {name}` and load it with another --seed"
            )),
            _ => {
                let other_speed = wanted_speed.filter(|speed| *speed != loaded.speed).map(|speed| {
                    format!(
                        "; its speed is {}, change that with `roaming-producer scenarios speed {name} {}`",
                        speed_text(loaded.speed),
                        speed_text(speed),
                    )
                });
                Ok(format!(
                    "run `{name}` is loaded already with this specification: id {id}, {state}; nothing changed{}",
                    other_speed.unwrap_or_default()
                ))
            }
        };
    }
    Err(CommandError::NameTaken { name: name.clone(), difference: difference(found, wanted) })
}

/// Says in what two specifications differ: what is loaded, and what was asked for.
fn difference(found: &Specification, wanted: &Specification) -> String {
    let number = |what, found: u64, wanted: u64| {
        (found != wanted).then(|| format!("{what} {found}, not {wanted}"))
    };
    let (events, lanes) = ("partitions of roaming.events", "partitions of roaming.lanes");
    let version = |specification: &Specification| u64::from(specification.stream_version);
    let differences = [
        profile_difference(&found.profile, &wanted.profile),
        number("seed", found.seed, wanted.seed),
        number("lanes", found.lanes.into(), wanted.lanes.into()),
        number(events, found.events_partitions.into(), wanted.events_partitions.into()),
        number(lanes, found.lanes_partitions.into(), wanted.lanes_partitions.into()),
        number("stream version", version(found), version(wanted)),
    ];
    differences.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn profile_difference(found: &Profile, wanted: &Profile) -> Option<String> {
    if found == wanted {
        return None;
    }
    let name = |profile: &Profile| {
        let is_it = |name: &&str| Profile::builtin(name).is_ok_and(|builtin| builtin == *profile);
        BUILTIN.iter().map(|(name, _)| *name).find(is_it)
    };
    let own = "one of your own";
    Some(match (name(found), name(wanted)) {
        (None, None) => format!("profile with other {}", differing_parts(found, wanted)),
        (found, wanted) => {
            format!("profile {}, not {}", found.unwrap_or(own), wanted.unwrap_or(own))
        }
    })
}

/// Names the parts in which two profiles differ: what a file changed since it was loaded.
fn differing_parts(found: &Profile, wanted: &Profile) -> String {
    let parts = |profile| match serde_json::to_value(profile) {
        Ok(serde_json::Value::Object(parts)) => parts,
        _ => serde_json::Map::new(),
    };
    let (found, wanted) = (parts(found), parts(wanted));
    let differing = found.iter().filter(|(part, value)| wanted.get(*part) != Some(value));
    differing.map(|(part, _)| part.as_str()).collect::<Vec<_>>().join(", ")
}

/// Lists the loaded runs.
///
/// # Errors
/// Fails where a topic is missing or no broker answers.
pub async fn list(settings: &KafkaSettings, out: &mut impl Write) -> Result<(), CommandError> {
    let records = Records::read(settings).await?;
    let progress = status::read_progress(settings).await?;
    records.print(out, |record| {
        let specification = &record.specification;
        format!(
            "{}, id {}, seed {}, {} lanes, {} to {}, speed {}",
            RunProgress::of(specification, record.run, &progress).state(record),
            record.run,
            specification.seed,
            specification.lanes,
            specification.start(),
            specification.end(),
            speed_text(record.speed),
        )
    })
}

/// All control records.
#[derive(Default)]
pub(super) struct Records {
    /// Of the last run of each name.
    pub(super) named: BTreeMap<String, ControlRecord>,
    /// Names whose records cannot be read.
    pub(super) unreadable: BTreeMap<String, serde_json::Error>,
    /// Of deleted runs, by id; also those whose name has another run by now.
    deleted: BTreeMap<RunId, ControlRecord>,
}

impl Records {
    /// Reads the topic to its end.
    pub(super) async fn read(settings: &KafkaSettings) -> Result<Self, CommandError> {
        let mut records = Self::default();
        for (key, bytes) in control::read(settings).await?.runs {
            let record: ControlRecord = match serde_json::from_slice(&bytes) {
                Ok(record) => record,
                Err(error) => {
                    records.unreadable.insert(key, error);
                    continue;
                }
            };
            if record.state == RunState::Deleted {
                records.deleted.insert(record.run, record.clone());
            }
            if !key.starts_with(GRAVE) {
                records.named.insert(key, record);
            }
        }
        Ok(records)
    }

    /// Takes the record of the last run of a name, if there is one.
    ///
    /// # Errors
    /// Fails where it cannot be read.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<ControlRecord>, CommandError> {
        match self.unreadable.remove(name) {
            Some(source) => Err(CommandError::Record { name: name.to_owned(), source }),
            None => Ok(self.named.remove(name)),
        }
    }

    /// Prints every name, and what is to be said of it.
    ///
    /// # Errors
    /// Fails where the output cannot be written.
    pub(super) fn print(
        &self,
        out: &mut impl Write,
        line: impl Fn(&ControlRecord) -> String,
    ) -> Result<(), CommandError> {
        let lines = self.named.iter().map(|(name, record)| (name, line(record)));
        let unreadable = self.unreadable.iter().map(|(name, error)| {
            let what = "its control record cannot be read, it may be of another release";
            (name, format!("{what}: {}", chain(error)))
        });
        let mut lines: Vec<_> = lines.chain(unreadable).collect();
        if lines.is_empty() {
            return writeln!(out, "no run is loaded").map_err(CommandError::Output);
        }
        lines.sort();
        for (name, line) in lines {
            writeln!(out, "{name}: {line}").map_err(CommandError::Output)?;
        }
        Ok(())
    }
}

/// Writes a run's control record.
pub(super) async fn write(
    settings: &KafkaSettings,
    key: &str,
    record: &ControlRecord,
) -> Result<(), CommandError> {
    let bytes = serde_json::to_vec(record).expect("a tree of structs, texts and numbers");
    Ok(control::write(settings, key, &bytes).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_is_told_beside_what_was_asked_for() {
        let profile = |name| Profile::builtin(name).expect("built in");
        let other = Profile { subscribers: 7, ..profile("demo") };
        assert_eq!(profile_difference(&other, &other), None);
        let says = |found: &Profile, wanted: &Profile, text: &str| {
            assert_eq!(profile_difference(found, wanted).as_deref(), Some(text));
        };
        says(&profile("urban"), &profile("demo"), "profile urban, not demo");
        says(&other, &profile("demo"), "profile one of your own, not demo");
        let third = Profile { subscribers: 8, ..other.clone() };
        says(&other, &third, "profile with other subscribers");
    }

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
