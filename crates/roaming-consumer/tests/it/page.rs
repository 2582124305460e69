//! The page and its JSON.

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Log, Running, records, simulation, store, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_a_run_from_nothing_to_its_verdict() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let store = store(&folder.path().join("run.db")).await;
    let consumer = Running::start(&log, store).await;
    let (status, page) = consumer.get("/").await;
    assert_eq!(status, 200);
    assert!(page.contains("<pre>load-scenarios --profile demo</pre>"));
    for outside in ["http://", "https://", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "the page needs nothing else: {outside}");
    }
    let runs =
        async || -> Value { serde_json::from_str(&consumer.get("/api/runs").await.1).unwrap() };
    assert_eq!(runs().await["runs"], Value::Array(Vec::new()));

    let simulation = simulation("shown");
    log.load(&simulation).await;
    until("the run is shown", async || runs().await["runs"][0]["phase"] == "waiting").await;
    let run = runs().await["runs"][0].clone();
    assert_eq!(run["name"], "shown");
    assert_eq!(run["balance"]["verdict"], "consistent");
    assert_eq!(run["lanes"].as_array().unwrap().len(), 8);
    assert_eq!(run["lanes"][7]["state"], "waiting");

    let records = records(&simulation);
    log.produce(&records).await;
    until("the verdict is shown", async || {
        runs().await["runs"][0]["balance"]["verdict"] == "holds"
    })
    .await;
    let run = runs().await["runs"][0].clone();
    assert_eq!(run["phase"], "finished");
    assert_eq!(run["progress"], 1.0);
    assert_eq!(run["events"], records.len() - 8);
    assert_eq!(run["balance"]["expected_events"], run["events"]);
    let sum: u64 = run["networks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|network| network["events"].as_u64().unwrap())
        .sum();
    assert_eq!(run["events"], sum);
    let (status, ready) = consumer.get("/readyz").await;
    assert_eq!((status, ready.as_str()), (200, r#"{"phase":"running","reasons":{}}"#));
    consumer.stop().await.unwrap();
}
