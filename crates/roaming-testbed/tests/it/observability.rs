//! Alerts fire when they should, and whatever asks for a metric asks for one that exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the files of a folder whose names end so.
pub(crate) fn files(folder: &str, end: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join(folder)).with_context(|| format!("no {folder}"))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(end) {
            files.push(path);
        }
    }
    ensure!(!files.is_empty(), "{folder} has no file *{end}");
    files.sort();
    Ok(files)
}

fn promtool(arguments: &[&str], files: &[PathBuf]) -> Result<()> {
    let output = Command::new("promtool").args(arguments).args(files).output().context(
        "promtool cannot be started: install it (Debian package prometheus), or run make setup",
    )?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "promtool: {}", String::from_utf8_lossy(&said));
    Ok(())
}

/// Returns the names of all metrics of the programs, as their `metrics.rs` register them.
fn metrics() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for crate_ in ["roaming-producer", "roaming-consumer"] {
        let source = fs::read_to_string(root().join(format!("crates/{crate_}/src/metrics.rs")))?;
        let product = source.split("#[cfg(test)]").next().unwrap_or("");
        names.extend(words(product).filter(|word| product.contains(&format!("\"{word}\","))));
    }
    ensure!(names.contains("roaming_consumer_lag"), "the names of metrics are not found");
    Ok(names)
}

/// Returns the words of a text that begin as our metrics do.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| ["roaming_", "backup_job_"].iter().any(|start| word.starts_with(start)))
        .map(str::to_owned)
}

/// Returns the queries of a dashboard, with the interval that a page chooses.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets
        .filter_map(|target| target["expr"].as_str())
        .map(|query| query.replace("$__rate_interval", "1m"))
        .collect()
}

#[test]
fn alerts_fire_when_they_should_and_not_before() -> Result<()> {
    let rules = files("observability/alerts", ".rules.yml")?;
    promtool(&["check", "rules"], &rules)?;
    for rules in rules {
        let test = rules.to_string_lossy().replace(".rules.yml", ".test.yml");
        ensure!(Path::new(&test).exists(), "{} has no unit tests", rules.display());
    }
    promtool(&["test", "rules"], &files("observability/alerts", ".test.yml")?)
}

#[test]
fn prometheus_understands_its_configuration() -> Result<()> {
    let file = root().join("observability/prometheus/prometheus.yml");
    promtool(&["check", "config", "--syntax-only"], &[file])
}

#[test]
fn dashboards_and_alerts_ask_for_metrics_that_exist() -> Result<()> {
    let known = metrics()?;
    let mut asking = files("observability/dashboards", ".json")?;
    asking.extend(files("observability/alerts", ".rules.yml")?);
    for path in asking {
        let text = fs::read_to_string(&path)?;
        for word in words(&text) {
            let exists = ["", "_bucket", "_count", "_sum"]
                .iter()
                .any(|end| word.strip_suffix(end).is_some_and(|name| known.contains(name)));
            ensure!(exists, "{}: no program has a metric {word}", path.display());
        }
    }
    Ok(())
}

#[test]
fn each_query_of_a_dashboard_is_promql() -> Result<()> {
    for path in files("observability/dashboards", ".json")? {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let queries = queries(&dashboard);
        ensure!(!queries.is_empty(), "{} asks for nothing", path.display());
        let rules: Vec<Value> = queries
            .iter()
            .enumerate()
            .map(|(index, query)| serde_json::json!({"record": format!("query_{index}"), "expr": query}))
            .collect();
        // JSON is YAML.
        let file = tempfile::NamedTempFile::with_suffix(".yml")?;
        let group = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
        fs::write(file.path(), group.to_string())?;
        promtool(&["check", "rules"], &[file.path().to_owned()])
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

#[test]
fn panels_have_their_own_places_and_say_what_they_show() -> Result<()> {
    for path in files("observability/dashboards", ".json")? {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let mut taken = BTreeSet::new();
        for panel in dashboard["panels"].as_array().context("no panels")? {
            let title = panel["title"].as_str().context("a panel has no title")?;
            let at = |key: &str| panel["gridPos"][key].as_u64().context("gridPos");
            for x in at("x")?..at("x")? + at("w")? {
                for y in at("y")?..at("y")? + at("h")? {
                    ensure!(x < 24 && taken.insert((x, y)), "`{title}` lies on another panel");
                }
            }
            let is_row = panel["type"] == "row";
            ensure!(is_row || panel["description"].is_string(), "`{title}` says nothing");
            ensure!(is_row || panel["fieldConfig"]["defaults"]["unit"].is_string(), "`{title}`");
        }
    }
    Ok(())
}
