//! Generated files are what the code would generate.

use crate::finding::Finding;
use crate::generate::Generated;

/// Compares a generated file with its text in the repository.
pub(super) fn check(generated: &Generated, found: Option<&str>) -> Option<Finding> {
    let remedy = "run `cargo xtask gen` and review the difference";
    let Some(found) = found else {
        return Some(Finding::of(generated.path, "not there".to_owned(), remedy));
    };
    if found == generated.text {
        return None;
    }
    let same = found.lines().zip(generated.text.lines()).take_while(|(a, b)| a == b).count();
    let what = "differs from what the code generates".to_owned();
    Some(Finding::at(generated.path, same + 1, what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_file_is_found_with_its_first_stale_line() {
        let generated = Generated { path: "a.json", text: "1\n2\n3\n".to_owned() };
        assert_eq!(check(&generated, Some("1\n2\n3\n")), None);
        assert_eq!(check(&generated, Some("1\nx\n3\n")).unwrap().line, Some(2));
        assert_eq!(check(&generated, Some("1\n2\n")).unwrap().line, Some(3));
        assert!(check(&generated, None).is_some());
    }
}
