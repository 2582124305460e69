//! What a check found.

use std::fmt;

/// One violation of one rule: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the root of the workspace.
    pub(crate) path: String,
    /// Line, from 1; `None` where the rule is about the file as a whole.
    pub(crate) line: Option<usize>,
    /// What is wrong.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) remedy: &'static str,
}

impl Finding {
    /// Makes a finding about a line.
    pub(crate) fn at(path: &str, line: usize, what: String, remedy: &'static str) -> Self {
        Self { path: path.to_owned(), line: Some(line), what, remedy }
    }

    /// Makes a finding about a file.
    pub(crate) fn of(path: &str, what: String, remedy: &'static str) -> Self {
        Self { path: path.to_owned(), line: None, what, remedy }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.path, self.line.unwrap_or(1), self.what, self.remedy)
    }
}
