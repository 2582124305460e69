//! What is wrong with a profile, where, and what to do.

use std::fmt;

use serde_saphyr::Location;

/// Why there is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// No profile of this name comes with the platform.
    #[error("unknown profile `{name}`; known: {known}{}", DidYouMean(suggestion))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
        /// The one most like it.
        suggestion: Option<String>,
    },
    /// The text does not describe a profile.
    #[error("{source_name}:{line}:{column}: {what}{}", DidYouMean(suggestion))]
    Invalid {
        /// The file, or what else the text came from.
        source_name: String,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What is wrong, and what is allowed.
        what: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
}

impl ProfileError {
    pub(super) fn at(source_name: &str, location: Location, what: String) -> Self {
        Self::Invalid {
            source_name: source_name.to_owned(),
            line: location.line(),
            column: location.column(),
            what,
            suggestion: None,
        }
    }

    /// Adds the one of `known` that `written` most likely means.
    pub(super) fn suggesting<'a>(
        mut self,
        written: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let (Self::Unknown { suggestion, .. } | Self::Invalid { suggestion, .. }) = &mut self;
        *suggestion = closest(written, known);
        self
    }

    pub(super) fn from_yaml(source_name: &str, error: &serde_saphyr::Error) -> Self {
        let error = error.without_snippet();
        let location = error.location().unwrap_or(Location::UNKNOWN);
        let mut what = match error {
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
                format!("`{key}` stands twice; remove one")
            }
            error => error.to_string(),
        };
        // The place stands in front already.
        let place = format!(" at line {}, column {}", location.line(), location.column());
        if let Some(rest) = what.strip_suffix(&place) {
            what.truncate(rest.len());
        }
        let invalid = Self::at(source_name, location, what);
        match error {
            serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
                invalid.suggesting(field, expected.iter().copied())
            }
            serde_saphyr::Error::SerdeUnknownVariant { variant, expected, .. } => {
                invalid.suggesting(variant, expected.iter().copied())
            }
            _ => invalid,
        }
    }
}

/// Returns what is written most alike, where anything is alike enough to be a slip.
fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name.to_owned())
}

/// Prints a suggestion, where there is one.
struct DidYouMean<'a>(&'a Option<String>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, " (did you mean `{name}`?)"),
            None => Ok(()),
        }
    }
}
