//! The variables of the environment, read in this one place.

use std::collections::BTreeMap;

use super::error::{ConfigError, did_you_mean_behind};
use super::table::spellings;

/// What our variables begin with. Others, though some are ours too, may be anybody's: an unknown one is
/// somebody else's business.
const PREFIX: &str = "ROAMING_";

/// Variables of tests and scripts, which may stand in the environment of the programs too.
const NO_SETTINGS: &[&str] = &[
    "ROAMING_CONSUMER_PRINCIPAL",
    "ROAMING_OPERATOR_PRINCIPAL",
    "ROAMING_PRODUCER_PRINCIPAL",
    "ROAMING_JOBS_PASSWORD",
    "ROAMING_READER_PASSWORD",
    "ROAMING_READER_PRINCIPAL",
    "ROAMING_SEED",
    "ROAMING_WRITER_PASSWORD",
];

/// The environment of a process, or what a test says it is.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads the environment of this process.
    ///
    /// What is no UTF-8 is read with replacement characters, which no check lets pass.
    pub fn of_process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self(std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect())
    }

    /// Returns a variable's value. An empty one counts as absent: Compose files pass one for each variable
    /// that their user has not set.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns an error for each variable that looks like ours and belongs to no program: somebody believes
    /// that it does something.
    pub(super) fn unknown(&self) -> Vec<ConfigError> {
        let known = known();
        let is_known = |name: &str| known.iter().any(|known| known == name);
        self.0
            .keys()
            .filter(|name| name.starts_with(PREFIX) && !is_known(name))
            .filter(|name| !NO_SETTINGS.contains(&name.as_str()) && !self.is_service_link(name))
            .map(|name| ConfigError::UnknownVariable {
                suggestion: did_you_mean_behind(PREFIX, name, known.iter().map(String::as_str)),
                name: name.clone(),
            })
            .collect()
    }

    /// Whether Kubernetes made the variable: for a service `roaming-producer` it tells every container in the
    /// namespace `ROAMING_PRODUCER_SERVICE_HOST`, `ROAMING_PRODUCER_PORT` and many more.
    fn is_service_link(&self, name: &str) -> bool {
        let links = self.0.keys().filter_map(|name| name.strip_suffix("_SERVICE_HOST"));
        links.filter_map(|service| name.strip_prefix(service)).any(|rest| {
            rest.starts_with("_SERVICE_HOST")
                || rest.starts_with("_SERVICE_PORT")
                || rest == "_PORT"
                || rest.starts_with("_PORT_")
        })
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Returns the variables of all programs: one environment may serve all containers.
fn known() -> Vec<String> {
    spellings().map(|spelling| spelling.env).collect()
}
