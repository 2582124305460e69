//! Links between documents lead somewhere.

use crate::finding::Finding;
use crate::source::{extension, numbered};

/// Checks the relative links of a Markdown file; `exists` answers for a path from the root.
pub(super) fn check(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    if extension(path) != "md" {
        return Vec::new();
    }
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    for (line, content) in numbered(text) {
        for target in content.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or("");
            let elsewhere = file.is_empty() || file.contains("://") || file.starts_with("mailto:");
            if !elsewhere && !exists(&resolve(folder, file)) {
                let what = format!("link to {target}, which is not there");
                findings.push(Finding::at(path, line, what, "correct the link or write the file"));
            }
        }
    }
    findings
}

/// Joins a folder and a relative path, both from the root.
fn resolve(folder: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exists(path: &str) -> bool {
        matches!(path, "docs/events.md" | "README.md")
    }

    #[test]
    fn a_link_to_nowhere_is_found_with_its_line() {
        let findings = check("docs/a.md", "fine\n[b](b.md) and [c](../README.md)\n", exists);
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (findings[0].line, findings[0].what.as_str()),
            (Some(2), "link to b.md, which is not there")
        );
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let text = "[a](events.md#voice) [b](../README.md) [c](#here) [d](https://example.org/x)";
        assert_eq!(check("docs/a.md", text, exists), []);
        assert_eq!(check("README.md", "[a](docs/events.md)", exists), []);
        assert_eq!(check("src/a.rs", "x[0](y)", exists), []);
    }
}
