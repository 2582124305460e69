//! Metrics are registered in one place of each crate.

use crate::finding::Finding;
use crate::source::{code_only, extension, numbered, without_tests};

/// What makes or registers a metric of the `prometheus` crate.
const REGISTRATIONS: &[&str] = &[
    "Opts::new(",
    "Counter::new(",
    "CounterVec::new(",
    "Gauge::new(",
    "GaugeVec::new(",
    "HistogramVec::new(",
    "::with_opts(",
    ".register(Box::new(",
    "register_counter",
    "register_gauge",
    "register_histogram",
    "register_int_",
];

/// Checks that only `metrics.rs` and the modules of a folder `metrics/` make metrics: that is where
/// whoever looks for the meaning of a number looks.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let product = path.starts_with("crates/") && path.contains("/src/") && extension(path) == "rs";
    if !product || path.ends_with("/metrics.rs") || path.contains("/metrics/") {
        return Vec::new();
    }
    let code = code_only(text);
    numbered(without_tests(&code))
        .filter_map(|(line, code)| {
            let found = REGISTRATIONS.iter().find(|registration| code.contains(*registration))?;
            let what = format!("a metric is made here (`{found}`)");
            Some(Finding::at(
                path,
                line,
                what,
                "make it in the crate's metrics.rs and pass the handle",
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_made_elsewhere_is_found() {
        let code = "fn f() {\n    let c = IntCounter::new(\"roaming_x_total\", \"X.\");\n}\n";
        let findings = check("crates/roaming-consumer/src/page.rs", code);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, Some(2));
        for registration in REGISTRATIONS {
            assert_eq!(check("crates/a/src/b.rs", registration).len(), 1, "{registration}");
        }
    }

    #[test]
    fn metrics_files_tests_and_prose_pass() {
        let code = "let c = IntCounter::new(NAME, HELP);\n";
        assert_eq!(check("crates/roaming-consumer/src/metrics.rs", code), []);
        assert_eq!(check("crates/roaming-consumer/src/metrics/lag.rs", code), []);
        assert_eq!(check("crates/a/src/b.rs", &format!("#[cfg(test)]\n{code}")), []);
        assert_eq!(check("crates/a/src/b.rs", &format!("// {code}")), []);
    }
}
