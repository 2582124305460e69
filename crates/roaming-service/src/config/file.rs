//! The file with settings: sections with keys, in YAML.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use serde_saphyr::Spanned;

use super::error::{ConfigError, did_you_mean};
use super::origin::Origin;
use super::table::spellings;

/// Sections with keys, each with its place; a section may have all its keys commented out.
type Sections = HashMap<Spanned<String>, Option<HashMap<Spanned<String>, Option<String>>>>;

/// What a file says: the text and the line of each key, named as in [`Setting::key`](super::Setting).
#[derive(Debug, Default)]
pub(super) struct SettingsFile {
    name: String,
    values: BTreeMap<String, (String, u64)>,
}

impl SettingsFile {
    /// Reads a file.
    pub(super) fn read(path: &str, errors: &mut Vec<ConfigError>) -> Self {
        match fs::read_to_string(path) {
            Ok(yaml) => Self::parse(path, &yaml, errors),
            Err(error) => {
                let what = format!(" cannot be read: {error}");
                errors.push(ConfigError::File { file: path.to_owned(), what });
                Self::default()
            }
        }
    }

    /// Reads the text of a file. What is wrong goes to `errors`, and the rest is read all the same.
    pub(super) fn parse(name: &str, yaml: &str, errors: &mut Vec<ConfigError>) -> Self {
        let mut file = Self { name: name.to_owned(), values: BTreeMap::new() };
        match serde_saphyr::from_str::<Option<Sections>>(yaml) {
            Ok(sections) => file.keep_known(sections.unwrap_or_default(), errors),
            Err(error) => errors.push(syntax(name, &error)),
        }
        file
    }

    /// Returns the text of a key, and where it stands.
    pub(super) fn get(&self, key: &str) -> Option<(String, Origin)> {
        let (text, line) = self.values.get(key)?;
        Some((text.clone(), Origin::File { file: self.name.clone(), line: *line }))
    }

    fn keep_known(&mut self, sections: Sections, errors: &mut Vec<ConfigError>) {
        let known: Vec<String> = spellings().map(|spelling| spelling.key).collect();
        let known = || known.iter().filter_map(|key| key.split_once('.'));
        for (section, keys) in in_order(sections) {
            let names: Vec<&str> =
                known().filter(|(of, _)| *of == section.value).map(|(_, name)| name).collect();
            if names.is_empty() {
                let mut sections: Vec<&str> = known().map(|(section, _)| section).collect();
                sections.dedup();
                errors.push(self.unknown("section".to_owned(), &section, &sections));
                continue;
            }
            for (name, value) in in_order(keys.unwrap_or_default()) {
                let line = name.referenced.line();
                if !names.contains(&name.value.as_str()) {
                    errors.push(self.unknown(format!("key in {}", section.value), &name, &names));
                } else if let Some(text) = value {
                    self.values.insert(format!("{}.{}", section.value, name.value), (text, line));
                } else {
                    let name = &name.value;
                    let what =
                        format!(":{line}: `{name}` has no value; write one, or remove the line");
                    errors.push(ConfigError::File { file: self.name.clone(), what });
                }
            }
        }
    }

    fn unknown(&self, place: String, name: &Spanned<String>, known: &[&str]) -> ConfigError {
        ConfigError::UnknownKey {
            file: self.name.clone(),
            line: name.referenced.line(),
            place,
            suggestion: did_you_mean(&name.value, known.iter().copied()),
            name: name.value.clone(),
            known: known.join(", "),
        }
    }
}

/// Returns what a map has, from the first line to the last.
fn in_order<V>(map: HashMap<Spanned<String>, V>) -> Vec<(Spanned<String>, V)> {
    let mut entries: Vec<_> = map.into_iter().collect();
    entries.sort_by_key(|(name, _)| name.referenced.line());
    entries
}

fn syntax(name: &str, error: &serde_saphyr::Error) -> ConfigError {
    let error = error.without_snippet();
    let mut place = String::new();
    if let serde_saphyr::Error::DuplicateMappingKey { key, location } = error {
        let (line, column) = (location.line(), location.column());
        let key = key.as_deref().unwrap_or("a key");
        let what = format!(":{line}:{column}: `{key}` stands twice; remove one");
        return ConfigError::File { file: name.to_owned(), what };
    }
    let mut what = error.to_string();
    if let Some(location) = error.location() {
        // The place stands in front.
        let behind = format!(" at line {}, column {}", location.line(), location.column());
        what.truncate(what.strip_suffix(&behind).map_or(what.len(), str::len));
        place = format!(":{}:{}", location.line(), location.column());
    }
    let what =
        format!("{place}: {what}; allowed are sections with keys, as in reference-config.yaml");
    ConfigError::File { file: name.to_owned(), what }
}
