//! Where a value comes from.

use std::fmt;

/// Where a value was found, the strongest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// On the command line; the flag without its dashes.
    Flag(String),
    /// In a variable of the environment.
    Variable(String),
    /// In the file of the settings.
    File {
        /// The file.
        file: String,
        /// The line of the key.
        line: u64,
    },
    /// Nowhere: it is the default.
    Default,
}

impl Origin {
    /// Whether a value from here goes before one from there: between two settings that mean the same thing.
    pub fn goes_before(&self, other: &Self) -> bool {
        let place = |origin: &Self| match origin {
            Self::Flag(_) => 0,
            Self::Variable(_) => 1,
            Self::File { .. } => 2,
            Self::Default => 3,
        };
        place(self) < place(other)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Variable(name) => write!(f, "env {name}"),
            Self::File { file, line } => write!(f, "file {file}:{line}"),
            Self::Default => f.write_str("default"),
        }
    }
}
