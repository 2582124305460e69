//! `config --print` and `config --check`.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::Settings;
use super::table::ALL;
use crate::Exit;

/// Shows or checks the settings, and does nothing else
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("what").args(["print", "check"]).required(true))]
pub struct ConfigArgs {
    /// Prints each setting: key, value, where it comes from, and its variable
    #[arg(long)]
    print: bool,
    /// Says all that is wrong, with status 64, or that nothing is
    #[arg(long)]
    check: bool,
    /// Form of what is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// A table for people
    Text,
    /// A JSON array for machines
    Json,
}

/// One setting, as it is printed.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    value: Option<&'a str>,
    origin: Option<String>,
    env: &'a str,
    flag: String,
    secret: bool,
}

impl ConfigArgs {
    /// Does what was asked for. Whatever is wrong has been said before the program came here.
    pub fn execute(&self, settings: &Settings) -> Exit {
        let text = match (self.check, self.format) {
            (true, _) => "the configuration is fine\n".to_owned(),
            (false, Format::Text) => table(settings),
            (false, Format::Json) => json(settings),
        };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed.tell(&error),
            _ => Exit::Done,
        }
    }
}

fn lines(settings: &Settings) -> impl Iterator<Item = Line<'_>> {
    let program = settings.program();
    ALL.iter().copied().filter(move |setting| setting.programs.contains(&program)).map(
        move |setting| {
            let found = settings.find(setting);
            Line {
                key: setting.key,
                value: found.map(|(value, _)| if setting.secret { "***" } else { value }),
                origin: found.map(|(_, origin)| origin.to_string()),
                env: setting.env,
                flag: format!("--{}", setting.flag(program)),
                secret: setting.secret,
            }
        },
    )
}

pub(super) fn table(settings: &Settings) -> String {
    let rows: Vec<[String; 4]> = lines(settings)
        .map(|line| {
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            let value = or_dash(line.value.map(ToOwned::to_owned));
            [line.key.to_owned(), value, or_dash(line.origin), line.env.to_owned()]
        })
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (key, value, origin) = (width(0), width(1), width(2));
    let mut table = String::new();
    for [a, b, c, d] in &rows {
        let _ = writeln!(table, "{a:key$}  {b:value$}  {c:origin$}  {d}");
    }
    table
}

pub(super) fn json(settings: &Settings) -> String {
    let lines: Vec<Line<'_>> = lines(settings).collect();
    let text = serde_json::to_string_pretty(&lines).expect("texts and nothing else");
    text + "\n"
}
