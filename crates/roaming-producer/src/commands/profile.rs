//! From what a person names to a profile, and to a specification.

use std::path::{Path, PathBuf};

use roaming_events::LaneId;
use roaming_service::config::integer;
use roaming_service::control::LOG_KEY;
use roaming_sim::profile::BUILTIN;
use roaming_sim::{Profile, STREAM_VERSION, Specification};

use super::CommandError;

/// Lanes of a run where nothing else is asked for: enough to spread over many replicas.
const LANES: u16 = 64;

/// Names a run: the options that its event stream depends on.
#[derive(Clone, Debug, clap::Args)]
pub struct ProfileArgs {
    /// A profile's name, of those that come with the platform or of your own, or a YAML file
    /// [default: what the setting --scenario-path names, where that is a file]
    #[arg(long)]
    pub profile: Option<String>,
    /// The setting of that name: it is no argument of one command.
    #[arg(skip)]
    pub scenario_path: Option<PathBuf>,
    /// Name of the run [default: the profile's name]
    #[arg(long)]
    pub name: Option<String>,
    /// Seed of all random numbers
    #[arg(long, default_value_t = 1, value_parser = integer::<u64>(0, u64::MAX))]
    pub seed: u64,
    /// Number of lanes, the run's unit of order and of parallelism
    #[arg(long, default_value_t = LANES, value_parser = integer::<u16>(1, LaneId::COUNT_MAX.into()))]
    pub lanes: u16,
}

impl ProfileArgs {
    /// Returns the run's specification on topics with so many partitions.
    ///
    /// # Errors
    /// Fails where the profile is unknown or wrong, or the run cannot have this name.
    pub fn specification(
        &self,
        events_partitions: u16,
        lanes_partitions: u16,
    ) -> Result<Specification, CommandError> {
        let (profile_name, profile) = self.find()?;
        let name = self.name.clone().unwrap_or(profile_name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name == LOG_KEY || !(1..=64).contains(&name.len()) || !name.chars().all(plain) {
            return Err(CommandError::Name { name });
        }
        Ok(Specification {
            name,
            profile,
            seed: self.seed,
            lanes: self.lanes,
            events_partitions,
            lanes_partitions,
            stream_version: STREAM_VERSION,
        })
    }

    /// Finds the profile: a file, one of the folder, or one that comes with the platform, in this order.
    fn find(&self) -> Result<(String, Profile), CommandError> {
        let path = self.scenario_path.as_deref();
        let Some(wanted) = &self.profile else {
            let file = path.filter(|path| path.is_file());
            return read(file.ok_or_else(|| CommandError::NoProfile { known: built_in() })?);
        };
        let as_file = Path::new(wanted);
        if is_yaml(as_file) || wanted.contains(std::path::MAIN_SEPARATOR) {
            return read(as_file);
        }
        let in_folder = path.map(|folder| folder.join(format!("{wanted}.yaml")));
        match in_folder.filter(|path| path.is_file()) {
            Some(path) => read(&path),
            None => Ok((wanted.clone(), Profile::builtin(wanted)?)),
        }
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// Returns the names of the profiles that need no file.
fn built_in() -> String {
    BUILTIN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn read(path: &Path) -> Result<(String, Profile), CommandError> {
    let yaml = std::fs::read_to_string(path).map_err(|source| CommandError::ProfileFile {
        path: path.display().to_string(),
        known: built_in(),
        source,
    })?;
    let profile = Profile::parse(&path.display().to_string(), &yaml)?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    Ok((name.unwrap_or_default(), profile))
}

#[cfg(test)]
mod tests {
    use roaming_service::Exit;

    use super::*;

    fn args(profile: &str) -> ProfileArgs {
        ProfileArgs {
            profile: Some(profile.to_owned()),
            scenario_path: None,
            name: None,
            seed: 1,
            lanes: LANES,
        }
    }

    #[track_caller]
    fn check_refused(args: &ProfileArgs, says: &str) {
        let error = args.specification(8, 8).expect_err("refused");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.exit(), Exit::Usage);
    }

    #[test]
    fn an_unknown_profile_is_refused_with_those_there_are() {
        check_refused(&args("urbn"), "did you mean `urban`");
        check_refused(&args("no/such.yaml"), "no/such.yaml cannot be read");
    }

    #[test]
    fn a_name_that_could_not_be_told_from_another_key_is_refused() {
        for name in ["log", "", "two words", "a/b"] {
            check_refused(
                &ProfileArgs { name: Some(name.to_owned()), ..args("demo") },
                "cannot be named",
            );
        }
    }

    #[test]
    fn the_folder_comes_before_what_is_built_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_, urban) = BUILTIN[1];
        std::fs::write(folder.path().join("demo.yaml"), urban).expect("written");
        let mine = ProfileArgs { scenario_path: Some(folder.path().to_owned()), ..args("demo") };
        let found = mine.specification(8, 8).expect("found");
        assert_eq!(found.profile, Profile::builtin("urban").expect("built in"));
        assert_eq!(found.name, "demo");
    }

    #[test]
    fn where_no_profile_is_named_the_file_of_the_setting_is_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mine.yaml");
        std::fs::write(&path, BUILTIN[1].1).expect("written");
        let at = |path: &Path| ProfileArgs {
            profile: None,
            scenario_path: Some(path.to_owned()),
            ..args("")
        };
        assert_eq!(at(&path).specification(8, 8).expect("found").name, "mine");
        check_refused(&at(folder.path()), "name a profile with --profile; known: demo, ");
    }

    #[test]
    fn a_wrong_file_is_named_with_the_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mine.yaml");
        std::fs::write(&path, "no_such_key: 1\n").expect("written");
        check_refused(&args(path.to_str().expect("text")), "mine.yaml:1:");
    }
}
