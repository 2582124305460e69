//! Metrics are registered in one place of each crate, with labels that Prometheus leaves as they are.

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

/// Labels that Prometheus gives each series by where it read it: those of a metric itself become `exported_job` and
/// `exported_instance`, and a query that asks for them finds nothing
/// (<https://prometheus.io/docs/concepts/jobs_instances/>).
const OF_PROMETHEUS: &[&str] = &["\"job\"", "\"instance\""];

/// Checks that metrics are made where they belong, and with labels of their own.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let product = path.starts_with("crates/") && path.contains("/src/") && extension(path) == "rs";
    if !product {
        Vec::new()
    } else if path.ends_with("/metrics.rs") || path.contains("/metrics/") {
        check_labels(path, text)
    } else {
        check_place(path, text)
    }
}

fn check_labels(path: &str, text: &str) -> Vec<Finding> {
    numbered(without_tests(text))
        .filter_map(|(line, code)| {
            let found = OF_PROMETHEUS.iter().find(|label| code.contains(*label))?;
            let what = format!("Prometheus has a label {found} of its own");
            Some(Finding::at(path, line, what, "give the metric's label another name"))
        })
        .collect()
}

/// Checks that only `metrics.rs` and the modules of a folder `metrics/` make metrics: that is where
/// whoever looks for the meaning of a number looks.
fn check_place(path: &str, text: &str) -> Vec<Finding> {
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
    fn a_label_that_prometheus_sets_itself_is_found() {
        for label in OF_PROMETHEUS {
            let code = format!("fn f() {{\n    gauges(\"roaming_x\", \"X.\", &[{label}])\n}}\n");
            let findings = check("crates/roaming-consumer/src/metrics.rs", &code);
            assert_eq!(findings.len(), 1, "{label}");
            assert_eq!(findings[0].line, Some(2));
            let test = format!("#[cfg(test)]\n{code}");
            assert_eq!(check("crates/roaming-consumer/src/metrics.rs", &test), []);
        }
        let code = "gauges(\"roaming_x\", \"X.\", &[\"batch_job\"])\n";
        assert_eq!(check("crates/roaming-consumer/src/metrics.rs", code), []);
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
