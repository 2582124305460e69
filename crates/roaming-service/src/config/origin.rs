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
