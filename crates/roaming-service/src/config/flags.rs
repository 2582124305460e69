//! The settings as flags of a command line.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches};

use super::setting::{Program, Setting, Spelling};
use super::table::ALL;

/// The settings given on a command line, by their flags without dashes.
#[derive(Clone, Debug, Default)]
pub struct Flags(BTreeMap<String, String>);

impl Flags {
    /// Returns what was given before or after a subcommand; after it is stronger.
    pub(super) fn of_matches(program: Program, matches: &ArgMatches) -> Self {
        // The parser hands values of these flags down to the last subcommand.
        let mut last = matches;
        while let Some((_, matches)) = last.subcommand() {
            last = matches;
        }
        let given = |id: String| last.get_one::<String>(&id).map(|value| (id, value.clone()));
        let flags = spellings(program).map(|(_, spelling)| spelling.flag);
        Self(flags.filter_map(given).collect())
    }

    pub(super) fn get(&self, flag: &str) -> Option<&str> {
        self.0.get(flag).map(String::as_str)
    }
}

impl<F: Into<String>, V: Into<String>> FromIterator<(F, V)> for Flags {
    fn from_iter<I: IntoIterator<Item = (F, V)>>(flags: I) -> Self {
        Self(flags.into_iter().map(|(flag, value)| (flag.into(), value.into())).collect())
    }
}

/// Makes the flags of a program. They stand before or behind a subcommand, and any text is taken: values are
/// checked in one place, whatever source they are from.
pub(super) fn arguments(program: Program) -> impl Iterator<Item = Arg> {
    spellings(program).map(move |(setting, spelling)| {
        Arg::new(spelling.flag.clone())
            .help(help(setting, program, &spelling))
            .long(spelling.flag)
            .value_name("VALUE")
            .global(true)
            .help_heading("Settings")
            .hide_short_help(true)
    })
}

fn help(setting: &Setting, program: Program, spelling: &Spelling) -> String {
    let what = if spelling.env == setting.env { "" } else { "File with the value of: " };
    let default = setting.default(program).filter(|_| !setting.secret);
    let default = default.map(|value| format!(" [default: {value}]")).unwrap_or_default();
    format!("{what}{}{default} [env: {}]", setting.about.trim(), spelling.env)
}

fn spellings(program: Program) -> impl Iterator<Item = (&'static Setting, Spelling)> {
    let own = ALL.iter().copied().filter(move |setting| setting.programs.contains(&program));
    own.flat_map(move |setting| {
        let (direct, by_file) = setting.spellings(program);
        std::iter::once(direct).chain(by_file).map(move |spelling| (setting, spelling))
    })
}
