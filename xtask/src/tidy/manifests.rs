//! Every crate takes the workspace's lints.

use crate::finding::Finding;
use crate::source::numbered;

/// Checks that a manifest inherits the lints.
pub(super) fn check(folder: &str, manifest: &str) -> Option<Finding> {
    let mut lines = numbered(manifest).skip_while(|(_, line)| line.trim() != "[lints]");
    let header = lines.next();
    let inherits = lines.next().is_some_and(|(_, line)| line.replace(' ', "") == "workspace=true");
    if header.is_some() && inherits {
        return None;
    }
    let path = format!("{folder}/Cargo.toml");
    let remedy = "write `[lints]` and, on the next line, `workspace = true`";
    Some(match header {
        Some((line, _)) => Finding::at(&path, line, "lints of its own".to_owned(), remedy),
        None => Finding::of(&path, "no lints".to_owned(), remedy),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_without_the_workspaces_lints_is_found() {
        assert_eq!(check("a", "[package]\n[lints]\nworkspace = true\n"), None);
        assert!(check("a", "[package]\n").is_some());
        let own = check("a", "[package]\n[lints]\nrust.unsafe_code = \"allow\"\n").unwrap();
        assert_eq!((own.path.as_str(), own.line), ("a/Cargo.toml", Some(2)));
    }
}
