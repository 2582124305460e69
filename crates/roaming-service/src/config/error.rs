//! What can be wrong with a configuration.

use std::fmt;
use std::io;

use super::origin::Origin;
use super::setting::Setting;
use crate::Exit;
use crate::exit::tell;

/// One thing that is wrong. No message shows a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A variable that looks like ours and is not.
    #[error("unknown variable {name}{suggestion}; correct it, or unset it")]
    UnknownVariable {
        /// Its name.
        name: String,
        /// A likely name.
        suggestion: String,
    },
    /// A section or a key that no program has.
    #[error("{file}:{line}: unknown {place} `{name}`{suggestion}; known: {known}")]
    UnknownKey {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// `section`, or `key in` and the section.
        place: String,
        /// As written.
        name: String,
        /// A likely name.
        suggestion: String,
        /// All names.
        known: String,
    },
    /// The file of the settings cannot be read.
    #[error("{file}{what}")]
    File {
        /// The file.
        file: String,
        /// The line, and what is wrong there.
        what: String,
    },
    /// A value is wrong.
    #[error("{setting} ({origin}): {value} {complaint}")]
    Value {
        /// The setting.
        setting: &'static Setting,
        /// Where the value comes from.
        origin: Origin,
        /// The value, or stars.
        value: String,
        /// What is wrong with it, and what is allowed.
        complaint: String,
    },
    /// A secret is given, and by a file as well.
    #[error("{setting} is given twice, by {direct} and by {by_file}; remove one")]
    Twice {
        /// The setting.
        setting: &'static Setting,
        /// The value's own spelling.
        direct: Origin,
        /// The spelling that names a file.
        by_file: Origin,
    },
    /// The file that holds a secret cannot be read.
    #[error(
        "{setting} ({origin}): the file {path} cannot be read; name one that exists and may be read"
    )]
    SecretFile {
        /// The setting.
        setting: &'static Setting,
        /// What names the file.
        origin: Origin,
        /// The file.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file that holds a secret has nothing in it.
    #[error("{setting} ({origin}): the file {path} is empty; write the value into it")]
    SecretFileEmpty {
        /// The setting.
        setting: &'static Setting,
        /// What names the file.
        origin: Origin,
        /// The file.
        path: String,
    },
    /// What is given needs something else too.
    #[error("{setting} is missing, set it with --{} or {}: {because}", setting.flag, setting.env)]
    Missing {
        /// What is missing.
        setting: &'static Setting,
        /// What needs it.
        because: String,
    },
    /// What is given would not be used.
    #[error("{setting} ({origin}) would not be used: {because}")]
    Unused {
        /// What is given.
        setting: &'static Setting,
        /// Where.
        origin: Origin,
        /// Why, and what to do.
        because: String,
    },
}

/// Everything that is wrong with a configuration; at least one thing.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Returns `value` where nothing was found wrong.
    pub(crate) fn unless_empty<T>(errors: Vec<ConfigError>, value: T) -> Result<T, Self> {
        if errors.is_empty() { Ok(value) } else { Err(Self(errors)) }
    }

    /// Says all of it on standard error, and how to end.
    pub fn tell(&self) -> Exit {
        for error in &self.0 {
            tell(error);
        }
        Exit::Usage
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{}", crate::telemetry::chain(error))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Returns ` (did you mean …?)` with what is written most alike, where anything is alike enough to be a slip.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    did_you_mean_behind("", written, known)
}

/// The same of names that may begin with `prefix`, which says nothing of how alike they are.
pub(super) fn did_you_mean_behind<'a>(
    prefix: &str,
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    let behind = |name: &'a str| name.strip_prefix(prefix).unwrap_or(name);
    let written = written.strip_prefix(prefix).unwrap_or(written);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, behind(name)), name))
        .filter(|(distance, name)| *distance <= 1 + behind(name).len() / 6)
        .min()
        .map(|(_, name)| format!(" (did you mean `{name}`?)"))
        .unwrap_or_default()
}
