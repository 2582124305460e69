//! The pure crates know no clock, no socket, no file, no environment and no order but their own.

use crate::finding::Finding;
use crate::source::{code_only, extension, numbered, without_tests};
use crate::tidy::arrows;
use crate::workspace::Package;

/// The pure crates.
const PURE: &[&str] = &["roaming-analytics", "roaming-events", "roaming-sim"];

/// What a pure crate may be built from: values, formats and hashes, none of which does input or output.
const PURE_DEPENDENCIES: &[&str] = &[
    "foldhash",
    "indexmap",
    "itoa",
    "postcard",
    "schemars",
    "serde",
    "serde-saphyr",
    "serde_json",
    "strsim",
    "thiserror",
    "uuid",
    "xxhash-rust",
];

/// What the `clippy.toml` of a pure crate must ban, beside all that the root's bans.
const PURE_BANS: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::sleep",
    "std::env::var",
    "f64::ln",
    "f64::exp",
    "f64::powf",
    "f64::sin",
    "f64::cos",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::hash::RandomState",
];

/// Modules of the standard library that reach out of the process or hold state of it. Clippy can ban a
/// function or a type, but no module.
const IMPURE_MODULES: &[&str] = &["env", "fs", "net", "os", "process", "thread"];

/// Whether a crate is one of the pure ones.
pub(super) fn is_pure(name: &str) -> bool {
    PURE.contains(&name)
}

/// Checks what a pure crate is built from.
pub(super) fn check_dependencies(name: &str, package: &Package, manifest: &str) -> Vec<Finding> {
    let path = format!("{}/Cargo.toml", package.folder);
    package
        .dependencies
        .iter()
        .filter(|to| !arrows::is_own(to) && !PURE_DEPENDENCIES.contains(&to.as_str()))
        .map(|to| {
            let line = arrows::line_of(manifest, to).unwrap_or(1);
            let what = format!("pure crate {name} depends on {to}");
            let remedy = "move what needs it to an edge crate; if it does no input or output, add it to \
                          PURE_DEPENDENCIES in xtask/src/tidy/purity.rs";
            Finding::at(&path, line, what, remedy)
        })
        .collect()
}

/// Checks a pure crate's `clippy.toml`. Clippy reads the nearest such file only, so it must repeat the root's.
pub(super) fn check_clippy(folder: &str, own: Option<&str>, root: &str) -> Vec<Finding> {
    let path = format!("{folder}/clippy.toml");
    let Some(own) = own else {
        let what = "a pure crate without a clippy.toml of its own".to_owned();
        let remedy = "copy that of another pure crate";
        return vec![Finding::of(&path, what, remedy)];
    };
    let own_bans: Vec<&str> = bans(own).collect();
    let missing_bans = bans(root)
        .chain(PURE_BANS.iter().copied())
        .filter(|ban| !own_bans.contains(ban))
        .map(|ban| format!("{ban} is not banned"));
    let missing_settings = settings(root)
        .filter(|setting| !settings(own).any(|line| line == *setting))
        .map(|setting| format!("the root's `{setting}` is missing"));
    let remedy =
        "add the line: clippy reads the nearest file only and does not merge with the root's";
    missing_bans.chain(missing_settings).map(|what| Finding::of(&path, what, remedy)).collect()
}

/// The banned paths of a `clippy.toml`.
fn bans(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split("path = \"").skip(1))
        .filter_map(|rest| rest.split('"').next())
}

/// The single settings of a `clippy.toml`: lines `key = value` that open no list.
fn settings(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| {
        line.starts_with(|c: char| c.is_ascii_lowercase())
            && line.contains(" = ")
            && !line.ends_with('[')
    })
}

/// Checks that the product code of a pure crate names no impure module; its tests may.
pub(super) fn check_source(path: &str, text: &str) -> Vec<Finding> {
    let inside = PURE.iter().any(|name| path.starts_with(&format!("crates/{name}/src/")));
    if !inside || extension(path) != "rs" || is_test_file(path) {
        return Vec::new();
    }
    let code = code_only(text);
    numbered(without_tests(&code))
        .filter_map(|(line, code)| Some((line, impure_module(code)?)))
        .map(|(line, module)| {
            let what = format!("std::{module} in a pure crate");
            let remedy = "take the value as an argument and let an edge crate fetch it";
            Finding::at(path, line, what, remedy)
        })
        .collect()
}

/// Whether a file holds unit tests only.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The impure module that a line names, as `std::fs` or within `std::{…}`.
fn impure_module(code: &str) -> Option<&'static str> {
    code.match_indices("std::").find_map(|(at, found)| {
        let rest = &code[at + found.len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => group
                .split('}')
                .next()
                .unwrap_or("")
                .split(',')
                .map(|name| first_name(name.trim()))
                .collect(),
            None => vec![first_name(rest)],
        };
        IMPURE_MODULES.iter().copied().find(|module| names.contains(module))
    })
}

fn first_name(path: &str) -> &str {
    path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "allow-unwrap-in-tests = true\n\
                        disallowed-methods = [\n    { path = \"std::env::set_var\", reason = \"r\" },\n]\n";

    fn own() -> String {
        let bans: Vec<String> = PURE_BANS.iter().map(|ban| entry(ban)).collect();
        format!("{ROOT}disallowed-types = [\n{}]\n", bans.concat())
    }

    fn entry(ban: &str) -> String {
        format!("    {{ path = \"{ban}\", reason = \"r\" }},\n")
    }

    #[test]
    fn a_foreign_dependency_is_found_with_its_line() {
        let package = Package {
            folder: "crates/roaming-sim".to_owned(),
            dependencies: vec!["serde".to_owned(), "tokio".to_owned()],
        };
        let manifest = "[dependencies]\nserde.workspace = true\ntokio.workspace = true\n";
        let findings = check_dependencies("roaming-sim", &package, manifest);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, Some(3));
        assert_eq!(findings[0].what, "pure crate roaming-sim depends on tokio");
    }

    #[test]
    fn each_missing_ban_is_found() {
        assert_eq!(check_clippy("c", Some(&own()), ROOT), []);
        assert_eq!(check_clippy("c", None, ROOT).len(), 1);
        for ban in PURE_BANS.iter().chain(&["std::env::set_var"]) {
            let entry = entry(ban);
            let without = own().replace(&entry, "");
            let findings = check_clippy("c", Some(&without), ROOT);
            assert_eq!(findings.len(), 1, "{ban}");
            assert_eq!(findings[0].what, format!("{ban} is not banned"));
            let commented = own().replace(&entry, &format!("# {}", entry.trim_start()));
            assert_eq!(check_clippy("c", Some(&commented), ROOT).len(), 1, "{ban}");
        }
        let without = own().replace("allow-unwrap-in-tests = true\n", "");
        assert_eq!(check_clippy("c", Some(&without), ROOT).len(), 1);
    }

    #[track_caller]
    fn check_code(code: &str, line: Option<usize>) {
        let findings = check_source("crates/roaming-sim/src/lane.rs", code);
        assert_eq!(findings.first().and_then(|finding| finding.line), line, "{code}");
    }

    #[test]
    fn an_impure_module_is_found() {
        check_code("use std::fmt;\nuse std::fs;\n", Some(2));
        check_code("use std::{fmt, net::TcpStream};\n", Some(1));
        check_code("let v = std::env::args();\n", Some(1));
    }

    #[test]
    fn prose_and_tests_may_name_it() {
        check_code("// std::fs is banned\nconst S: &str = \"std::fs\";\n", None);
        check_code("fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n", None);
        assert_eq!(check_source("crates/roaming-store/src/lib.rs", "use std::fs;"), []);
        assert_eq!(check_source("crates/roaming-sim/src/lane/tests.rs", "use std::fs;"), []);
    }
}
