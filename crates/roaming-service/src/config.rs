//! The settings of all programs: what there is, where values come from, and what is wrong with them.
//!
//! A value comes from the command line, else from the environment, else from a file, else it is the default.
//! [`table`] declares each setting once, and everything else is made from it: the flags, the variables, the
//! keys of the file, what `config --print` shows, and the reference page. [`read`] is what a `main` calls;
//! it gives [`Settings`] in which every value has passed its check and all fit together, or says everything
//! that is wrong. Programs make their own, typed configurations from them.

mod environment;
mod error;
mod file;
mod flags;
mod origin;
mod reference;
mod setting;
mod show;
pub mod table;
#[cfg(test)]
mod tests;
mod together;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::FromArgMatches;

pub use environment::Environment;
pub use error::{ConfigError, ConfigErrors, did_you_mean};
pub use flags::Flags;
pub use origin::Origin;
pub use reference::{reference_page, reference_yaml};
pub use setting::{InLab, Kind, Program, Setting, Spelling, integer};
pub use show::ConfigArgs;

use crate::{Exit, Secret};
use file::SettingsFile;

/// The values of a program's settings; each has passed its check.
#[derive(Clone, Debug)]
pub struct Settings {
    program: Program,
    /// By key. Some are secrets, so that none shows in debug output.
    values: BTreeMap<&'static str, (Secret, Origin)>,
}

/// A further check of a setting, by who knows what it means: says what is wrong with a value, to follow the
/// value or the stars in its place.
pub type Check = (&'static Setting, fn(&str) -> Result<(), String>);

/// Reads a program's command line and its settings, or says what is wrong with them.
///
/// # Errors
/// Returns how to end, where there is nothing to do: after help, or after what is wrong was said.
pub fn read<C: FromArgMatches>(
    program: Program,
    command: clap::Command,
    checks: &[Check],
) -> Result<(C, Settings), Exit> {
    let parsed = command.args(flags::arguments(program)).try_get_matches().and_then(|matches| {
        let flags = Flags::of_matches(program, &matches);
        Ok((C::from_arg_matches(&matches)?, flags))
    });
    let (arguments, flags) = parsed.map_err(|error| {
        // Where not even standard error can be written, the status has to do.
        let _ = error.print();
        if error.use_stderr() { Exit::Usage } else { Exit::Done }
    })?;
    let settings = Settings::resolve(program, &flags, &Environment::of_process(), checks);
    Ok((arguments, settings.map_err(|errors| errors.tell())?))
}

impl Settings {
    /// Finds the values of a program's settings and checks each of them.
    ///
    /// # Errors
    /// Returns everything that is wrong: unknown variables, unknown keys, and values that are not allowed.
    pub fn resolve(
        program: Program,
        flags: &Flags,
        environment: &Environment,
        checks: &[Check],
    ) -> Result<Self, ConfigErrors> {
        let mut errors = environment.unknown();
        let file = SettingsFile::default();
        let mut sources = Sources { program, flags, environment, file, checks };
        let mut values = BTreeMap::new();
        for setting in
            table::ALL.iter().copied().filter(|setting| setting.programs.contains(&program))
        {
            let told = errors.len();
            let Some((value, origin)) = sources.find(setting, &mut errors) else { continue };
            // It is the first of the table, so that the file is a source for all others.
            if setting.key == table::CONFIG.key && errors.len() == told {
                sources.file = SettingsFile::read(value.reveal(), &mut errors);
            }
            values.insert(setting.key, (value, origin));
        }
        let settings = Self { program, values };
        errors.extend(together::check(&settings));
        ConfigErrors::unless_empty(errors, settings)
    }

    /// Returns the program whose settings these are.
    pub fn program(&self) -> Program {
        self.program
    }

    /// Returns a value and where it comes from, where there is one.
    pub fn find(&self, setting: &Setting) -> Option<(&str, &Origin)> {
        assert!(
            setting.programs.contains(&self.program),
            "{setting} is none of {:?}",
            self.program
        );
        self.values.get(setting.key).map(|(value, origin)| (value.reveal(), origin))
    }

    /// Returns the value of a setting that has a default.
    pub fn text(&self, setting: &Setting) -> &str {
        self.find(setting).expect("a setting with a default has a value").0
    }

    /// Returns the value of a number that has a default.
    pub fn integer<T: TryFrom<u64>>(&self, setting: &Setting) -> T {
        let number = self.text(setting).parse().ok().and_then(|number: u64| number.try_into().ok());
        number.expect("the check of the setting lets only such numbers pass")
    }

    /// Returns the value of an address that has a default.
    pub fn address(&self, setting: &Setting) -> SocketAddr {
        self.text(setting).parse().expect("the check of the setting lets only addresses pass")
    }

    /// Returns the file or folder that a setting names.
    pub fn path(&self, setting: &Setting) -> Option<PathBuf> {
        self.find(setting).map(|(value, _)| value.into())
    }

    /// Returns a secret, where there is one.
    pub fn secret(&self, setting: &Setting) -> Option<Secret> {
        self.find(setting).map(|(value, _)| Secret::new(value))
    }
}

/// Where the values of a program may stand.
struct Sources<'a> {
    program: Program,
    flags: &'a Flags,
    environment: &'a Environment,
    file: SettingsFile,
    checks: &'a [Check],
}

impl Sources<'_> {
    /// Returns the value of a setting and where it comes from. What is wrong with it goes to `errors`.
    fn find(
        &self,
        setting: &'static Setting,
        errors: &mut Vec<ConfigError>,
    ) -> Option<(Secret, Origin)> {
        let told = errors.len();
        let Some((value, origin)) = self.strongest(setting, errors) else {
            let default = setting.default(self.program)?;
            return Some((Secret::new(default), Origin::Default));
        };
        // A secret whose file cannot be read has been told of, and has no value to check.
        let checked =
            if errors.len() > told { Ok(()) } else { self.check(setting, value.reveal()) };
        if let Err(complaint) = checked {
            let value =
                if setting.secret { "***".to_owned() } else { format!("`{}`", value.reveal()) };
            let origin = origin.clone();
            errors.push(ConfigError::Value { setting, origin, value, complaint });
        }
        Some((value, origin))
    }

    fn check(&self, setting: &Setting, value: &str) -> Result<(), String> {
        setting.kind.check(value)?;
        let mut further = self.checks.iter().filter(|(checked, _)| checked.key == setting.key);
        further.try_for_each(|(_, check)| check(value))
    }

    /// Returns what the strongest source says that says anything.
    fn strongest(
        &self,
        setting: &'static Setting,
        errors: &mut Vec<ConfigError>,
    ) -> Option<(Secret, Origin)> {
        let (direct, by_file) = setting.spellings(self.program);
        [Self::flag, Self::variable, Self::key].into_iter().find_map(|look| {
            let direct = look(self, &direct);
            let by_file = by_file.as_ref().and_then(|spelling| look(self, spelling));
            if let (Some((_, direct)), Some((_, by_file))) = (&direct, &by_file) {
                let (direct, by_file) = (direct.clone(), by_file.clone());
                errors.push(ConfigError::Twice { setting, direct, by_file });
            }
            direct.map(|(value, origin)| (Secret::new(value), origin)).or_else(|| {
                let (path, origin) = by_file?;
                Some((secret(setting, path, &origin, errors), origin))
            })
        })
    }

    fn flag(&self, spelling: &Spelling) -> Option<(String, Origin)> {
        let value = self.flags.get(&spelling.flag)?;
        Some((value.to_owned(), Origin::Flag(spelling.flag.clone())))
    }

    fn variable(&self, spelling: &Spelling) -> Option<(String, Origin)> {
        let value = self.environment.get(&spelling.env)?;
        Some((value.to_owned(), Origin::Variable(spelling.env.clone())))
    }

    fn key(&self, spelling: &Spelling) -> Option<(String, Origin)> {
        self.file.get(&spelling.key)
    }
}

/// Reads a secret from its file, without the line break that editors and `echo` leave at the end.
fn secret(
    setting: &'static Setting,
    path: String,
    origin: &Origin,
    errors: &mut Vec<ConfigError>,
) -> Secret {
    let origin = origin.clone();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => {
            errors.push(ConfigError::SecretFileEmpty { setting, origin, path });
            String::new()
        }
        Ok(text) => text,
        Err(source) => {
            errors.push(ConfigError::SecretFile { setting, origin, path, source });
            String::new()
        }
    };
    let value = text.strip_suffix('\n').unwrap_or(&text);
    Secret::new(value.strip_suffix('\r').unwrap_or(value))
}
