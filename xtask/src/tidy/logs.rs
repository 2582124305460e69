//! Errors are logged with their whole chain.

use crate::finding::Finding;
use crate::source::{code_only, extension, numbered};

/// Names by which errors go.
const ERROR_NAMES: &[&str] = &["e", "err", "error", "source"];

/// Checks that no tracing macro prints an error by `%err` or `?err`: the first says only the outermost
/// clause, the second is for debuggers. `chain(&err)` prints every cause.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    if extension(path) != "rs" {
        return Vec::new();
    }
    numbered(&code_only(text))
        .filter_map(|(line, code)| Some((line, bare_error(code)?)))
        .map(|(line, field)| {
            let what = format!("`{field}` logs an error without its causes");
            Finding::at(
                path,
                line,
                what,
                "write `error = chain(&err)` (roaming_service::telemetry)",
            )
        })
        .collect()
}

/// The sigil and name of an error field, as in `error = %err` or `(%err, "…")`.
fn bare_error(code: &str) -> Option<&str> {
    code.match_indices(['%', '?']).find_map(|(at, sigil)| {
        let rest = &code[at + sigil.len()..];
        let length =
            rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
        let name = rest[..length].rsplit('.').next().unwrap_or("");
        let is_error =
            ERROR_NAMES.contains(&name) || name.ends_with("_err") || name.ends_with("_error");
        // `a % e` is arithmetic and `f()?` an early return: a field's sigil follows `=`, `,`, `(` or nothing.
        let before = code[..at].trim_end();
        let is_field = before.is_empty() || before.ends_with(['=', ',', '(']);
        (is_error && is_field).then(|| &code[at..at + sigil.len() + length])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_line(code: &str, field: Option<&str>) {
        assert_eq!(bare_error(&code_only(code)), field, "{code}");
    }

    #[test]
    fn an_error_without_its_chain_is_found() {
        check_line(r#"warn!(error = %err, "refused")"#, Some("%err"));
        check_line(r#"warn!(%e, "refused")"#, Some("%e"));
        check_line(r#"warn!(lane, ?error, "refused")"#, Some("?error"));
        check_line("    %self.last_error,", Some("%self.last_error"));
        let findings = check("a.rs", "fn f() {\n    warn!(%err);\n}\n");
        assert_eq!(findings[0].line, Some(2));
    }

    #[test]
    fn chains_other_fields_and_arithmetic_pass() {
        check_line(r#"warn!(lane, error = chain(&err), "refused")"#, None);
        check_line(r#"info!(%address, "listens")"#, None);
        check_line("let a = b % e;", None);
        check_line("let a = f(b)?;", None);
        check_line("// never %err", None);
        check_line(r#"let s = "(%err";"#, None);
    }
}
