//! What a setting is: its spellings, its default and what is allowed.

use std::fmt;
use std::fs::File;

use super::error::did_you_mean;

/// One setting in all its spellings: the single source of the flags, the variables, the keys of a file,
/// the output of `config --print` and the reference page.
#[derive(Debug)]
pub struct Setting {
    /// Section and name in a file, as in `kafka.bootstrap_servers`.
    pub key: &'static str,
    /// Environment variable.
    pub env: &'static str,
    /// Flag, without its dashes; the lab may have another one.
    pub flag: &'static str,
    /// What is allowed.
    pub kind: Kind,
    /// Value where none is given, written as a person would; the lab may have another one.
    pub default: Option<&'static str>,
    /// What holds in [`Program::Lab`] instead.
    pub lab: Option<InLab>,
    /// Whether nobody may see the value. Then a file can hold it, see [`Self::spellings`].
    pub secret: bool,
    /// What it is, in one line.
    pub about: &'static str,
    /// What is to be seen after it was changed.
    pub moves: &'static str,
    /// Who reads it.
    pub programs: &'static [Program],
}

/// One way to write a setting, in each source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// The flag, without its dashes.
    pub flag: String,
    /// The variable.
    pub env: String,
    /// The key, with its section.
    pub key: String,
}

/// What is different in the lab, which has both daemons' settings and is for one person at one machine.
#[derive(Debug)]
pub struct InLab {
    /// The flag.
    pub flag: &'static str,
    /// The default.
    pub default: &'static str,
}

/// A program that has settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `roaming-producer`
    Producer,
    /// `load-scenarios`
    LoadScenarios,
    /// `roaming-consumer`
    Consumer,
    /// `roaming-jobs`
    Jobs,
    /// `roaming-lab`
    Lab,
}

/// What is allowed as a value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text that passes a check.
    Text {
        /// The check.
        check: fn(&str) -> bool,
        /// What passes it, to follow "allowed is".
        allowed: &'static str,
    },
    /// A whole number.
    Integer {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A file that exists and may be read.
    File,
    /// A file or folder that exists and may be read.
    FileOrFolder,
}

impl Program {
    /// Returns the name of the executable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Producer => "roaming-producer",
            Self::LoadScenarios => "load-scenarios",
            Self::Consumer => "roaming-consumer",
            Self::Jobs => "roaming-jobs",
            Self::Lab => "roaming-lab",
        }
    }
}

impl Setting {
    /// Returns the flag of a program, without its dashes.
    pub fn flag(&self, program: Program) -> &'static str {
        self.in_lab(program).map_or(self.flag, |lab| lab.flag)
    }

    /// Returns how the setting is written; for a secret, also how a file is named that holds it.
    pub fn spellings(&self, program: Program) -> (Spelling, Option<Spelling>) {
        let (flag, env, key) = (self.flag(program), self.env, self.key);
        let by_file = Spelling {
            flag: format!("{flag}-file"),
            env: format!("{env}_FILE"),
            key: format!("{key}_file"),
        };
        let direct = Spelling { flag: flag.to_owned(), env: env.to_owned(), key: key.to_owned() };
        (direct, self.secret.then_some(by_file))
    }

    /// Returns the default of a program.
    pub fn default(&self, program: Program) -> Option<&'static str> {
        self.in_lab(program).map_or(self.default, |lab| Some(lab.default))
    }

    fn in_lab(&self, program: Program) -> Option<&InLab> {
        self.lab.as_ref().filter(|_| program == Program::Lab)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key)
    }
}

impl Kind {
    /// Says what is wrong with a value.
    pub(super) fn check(self, value: &str) -> Result<(), String> {
        let fits = match self {
            Self::Text { check, .. } => check(value),
            Self::Integer { min, max } => {
                value.parse().is_ok_and(|value| (min..=max).contains(&value))
            }
            Self::Choice(words) => words.contains(&value),
            Self::File | Self::FileOrFolder => {
                let found = File::open(value).and_then(|file| file.metadata());
                let found =
                    found.map_err(|error| format!("cannot be read; allowed is {self}: {error}"))?;
                !found.is_dir() || matches!(self, Self::FileOrFolder)
            }
        };
        if fits {
            return Ok(());
        }
        let slip = match self {
            Self::Choice(words) => did_you_mean(value, words.iter().copied()),
            _ => String::new(),
        };
        Err(format!("is not allowed; allowed is {self}{slip}"))
    }
}

/// What is allowed, to follow "allowed is".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { allowed, .. } => f.write_str(allowed),
            Self::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Choice(words) => f.write_str(&words.join(", ")),
            Self::File => f.write_str("a file that exists and may be read"),
            Self::FileOrFolder => f.write_str("a file or folder that exists and may be read"),
        }
    }
}

/// Returns a parser for a command's own number, such as `--lanes`, which says what is allowed.
pub fn integer<T: TryFrom<u64>>(
    min: u64,
    max: u64,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let kind = Kind::Integer { min, max };
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or(format!("allowed is {kind}"))
    }
}
