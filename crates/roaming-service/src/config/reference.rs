//! The reference: a table for people, and a file with every key.

use std::fmt::Write as _;

use super::setting::{Program, Setting, Spelling};
use super::table::ALL;

/// Makes the sections of the reference page, one table each.
pub fn reference_page() -> String {
    let mut page = String::new();
    let mut current = "";
    for setting in ALL {
        let (section, _) = setting.key.split_once('.').unwrap_or(("General", ""));
        if section != current {
            let _ = write!(page, "\n## {section}\n");
            current = section;
        }
        entry(&mut page, setting);
    }
    page
}

fn entry(page: &mut String, setting: &Setting) {
    let (direct, by_file) = setting.spellings(Program::Consumer);
    let ways: Vec<Spelling> = std::iter::once(direct).chain(by_file).collect();
    let ways = |text: fn(&Spelling) -> String| ways.iter().map(text).collect::<Vec<_>>().join(", ");
    // What the lab has otherwise, behind what all others have.
    let lab = |differs: bool, text: String| {
        if differs { format!("; {text} in `roaming-lab`") } else { String::new() }
    };
    let (lab_flag, lab_default) = (setting.flag(Program::Lab), setting.default(Program::Lab));
    let code = |text: Option<&str>| text.map_or("none".to_owned(), |text| format!("`{text}`"));
    let programs = setting.programs.iter().map(|program| format!("`{}`", program.name()));
    let rows = [
        ("variable", ways(|way| format!("`{}`", way.env))),
        (
            "flag",
            ways(|way| format!("`--{}`", way.flag))
                + &lab(lab_flag != setting.flag, format!("`--{lab_flag}`")),
        ),
        (
            "default",
            code(setting.default) + &lab(lab_default != setting.default, code(lab_default)),
        ),
        ("allowed", setting.kind.to_string()),
        ("what changes", setting.moves.to_owned()),
        ("read by", programs.collect::<Vec<_>>().join(", ")),
    ];
    let _ =
        write!(page, "\n### `{setting}`\n\n{}.\n\n| | |\n| --- | --- |\n", setting.about.trim());
    for (name, value) in rows {
        let _ = writeln!(page, "| {name} | {value} |");
    }
}

/// Makes a file that says what holds anyway: every key with its default, or as a comment where there is none.
pub fn reference_yaml() -> String {
    let mut yaml = String::from(
        "# Every setting that a file can hold, with its default; made by `cargo xtask gen`.\n\
         # Keep what you change and remove the rest: see configuration.md.\n",
    );
    let mut current = "";
    for setting in ALL {
        let Some((section, name)) = setting.key.split_once('.') else { continue };
        if section != current {
            let _ = write!(yaml, "\n{section}:\n");
            current = section;
        }
        let _ = writeln!(yaml, "  # {}.", setting.about.trim());
        let _ = writeln!(yaml, "  # Allowed: {}. Variable: {}.", setting.kind, setting.env);
        match setting.default {
            Some(default) => writeln!(yaml, "  {name}: {default}"),
            None => writeln!(yaml, "  # {name}: …"),
        }
        .expect("a text takes everything");
    }
    yaml
}
