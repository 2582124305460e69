use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use roaming_consumer::{Config, verify};
use roaming_events::{EventType, Outcome, SimDuration, Tally};
use roaming_producer::commands::LoadArgs;
use roaming_service::topics::PARTITIONS;
use roaming_sim::Simulation;

use crate::setup::{DEADLINE, config, small_demo, start};

/// Metrics that users' alerts and dashboards rely on.
const PROMISED: [&str; 7] = [
    "roaming_events_processed_total",
    "roaming_consumer_lag",
    "roaming_db_write_seconds",
    "roaming_anomalies_total",
    "roaming_errors_total",
    "roaming_duplicates_dropped_total",
    "roaming_attach_latency_seconds",
];

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_well_formed_and_count_what_the_ledger_counts() {
    let dir = tempfile::tempdir().expect("a folder");
    let scenario = small_demo(dir.path());
    let mut lab = start(config(dir.path())).await.expect("started");
    let report = tokio::time::timeout(DEADLINE, lab.run(&scenario))
        .await
        .expect("a run ends within the deadline")
        .expect("a run that nothing disturbs");
    let url = format!("http://{}/metrics", lab.page());
    let text = tokio::task::spawn_blocking(move || {
        ureq::get(&url).call().expect("served").body_mut().read_to_string().expect("text")
    })
    .await
    .expect("read");
    lab.stop().await.expect("a clean end");

    for name in PROMISED {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} is missing");
    }
    assert!(report.verification.holds(), "{report}");
    let ledger = ledger(&scenario);
    for procedure in EventType::ALL {
        for outcome in Outcome::ALL {
            let labels = [format!("outcome=\"{outcome}\""), format!("procedure=\"{procedure}\"")];
            let counted = sum(&text, "roaming_events_processed_total", &labels);
            assert_eq!(counted, events(&ledger, *procedure, *outcome), "{labels:?}");
        }
    }
    for outcome in Outcome::ALL {
        let attached = sum(&text, "roaming_attach_total", &[format!("outcome=\"{outcome}\"")]);
        assert_eq!(attached, events(&ledger, EventType::LocationUpdate, *outcome), "{outcome}");
    }
    assert_eq!(sum(&text, "roaming_events_processed_total", &[]), ledger.events());
    assert_eq!(sum(&text, "roaming_duplicates_dropped_total", &[]), 0);
    assert_eq!(sum(&text, "roaming_errors_total", &[]), 0);
    assert_eq!(promtool(&text), "", "promtool check metrics has something to say");
}

/// Returns what the run must add up to, made without a broker.
fn ledger(scenario: &LoadArgs) -> Tally {
    let specification = scenario.specification(PARTITIONS, PARTITIONS).expect("a good profile");
    let simulation = Simulation::try_new(Arc::new(specification)).expect("this engine's stream");
    let window = SimDuration::from_secs(u64::from(Config::WINDOW_MINUTES) * 60);
    verify::ledger(&Arc::new(simulation), window, &BTreeMap::new())
}

fn events(ledger: &Tally, procedure: EventType, outcome: Outcome) -> u64 {
    let rows = ledger.rows.iter();
    let rows = rows.filter(|(key, _)| key.procedure == procedure && key.outcome == outcome);
    rows.map(|(_, totals)| totals.events).sum()
}

/// Adds up the samples of a counter that have all of these labels.
fn sum(text: &str, name: &str, labels: &[String]) -> u64 {
    let samples = text.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label.as_str()))
    });
    samples
        .map(|line| line.rsplit_once(' ').expect("a value").1.parse::<u64>().expect("whole"))
        .sum()
}

/// Returns what `promtool check metrics` prints.
fn promtool(text: &str) -> String {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing; run `make setup`");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("read");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
