//! Rules that hold for every file, whatever its language.

use crate::finding::Finding;
use crate::source::numbered;

/// The largest file: what is bigger is made by a script, or does not belong into a repository.
const OCTETS_MAX: u64 = 256 * 1024;

/// Marks of unfinished work. Each is put together here so that this file does not find itself.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Checks the size of a file.
pub(super) fn check_size(path: &str, octets: u64) -> Option<Finding> {
    let what = || format!("{octets} octets, more than {OCTETS_MAX}");
    let remedy = "generate it when it is needed, or store what it is made from";
    (octets > OCTETS_MAX).then(|| Finding::of(path, what(), remedy))
}

/// Checks a file's text for unfinished work and for paths of one machine.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, content) in numbered(text) {
        for mark in MARKS.iter().filter(|mark| has_word(content, mark)) {
            let what = format!("unfinished: {mark}");
            findings.push(Finding::at(path, line, what, "finish it, or say in words why it is so"));
        }
        for start in MACHINE_PATHS.iter().filter(|start| has_path(content, start)) {
            let what = format!("a path of one machine: {start}…");
            let remedy = "use a path from the repository's root, or ask for it as an argument";
            findings.push(Finding::at(path, line, what, remedy));
        }
    }
    findings
}

/// Whether `word` stands in the line by itself and not as a part of another.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

/// Whether an absolute path that begins with `start` stands in the line; `a/home/b` and `~/work/` are none.
fn has_path(line: &str, start: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '~' | '}' | ')');
    line.match_indices(start).any(|(at, _)| !line[..at].ends_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn finds(text: &str, count: usize) {
        assert_eq!(check("a.md", text).len(), count, "{text}");
    }

    #[test]
    fn unfinished_work_is_found_with_its_line() {
        for mark in MARKS {
            let findings = check("a.rs", &format!("fine\n// {mark}: later\n"));
            assert_eq!(findings.len(), 1, "{mark}");
            assert_eq!(findings[0].line, Some(2));
        }
        finds(&format!("the {}S of a word", MARKS[0]), 0);
    }

    #[test]
    fn machine_paths_are_found() {
        for start in MACHINE_PATHS {
            finds(&format!("cd {start}x"), 1);
            finds(&format!("path = \"{start}x\""), 1);
            finds(&format!("src{start}x"), 0);
            finds(&format!("https://example.org{start}x"), 0);
        }
    }

    #[test]
    fn large_files_are_found() {
        assert_eq!(check_size("a", OCTETS_MAX), None);
        assert!(check_size("a", OCTETS_MAX + 1).is_some());
    }
}
