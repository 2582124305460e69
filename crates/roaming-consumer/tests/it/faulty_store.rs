//! A store that fails in every way that a store can: nothing is lost, nothing is counted twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use roaming_analytics::Checkpoint;
use roaming_consumer::verify::{find_run, ledger, verify};
use roaming_events::{RowKey, RunId, SimDuration, Totals};
use roaming_sim::Simulation;
use roaming_store::{
    Acquired, Epoch, Found, JobRun, JobStanding, Progress, RunRow, SqliteStore, Store, StoreError,
    StoredRow, SummaryKey,
};
use tempfile::TempDir;

use crate::harness::{Log, Running, records, simulation, store, until, until_finished};

/// What happens to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The store cannot be reached.
    Unavailable,
    /// The store cannot be reached, not even to write a run.
    Away,
    /// The store takes everything but this partition.
    UnavailableFor(u16),
    /// The transaction counts, and its answer is lost.
    AnswerLost,
    /// The transaction is lost, and its answer too.
    AllLost,
    /// Somebody else acquires the partition first.
    Fenced,
}

/// Wraps a store; commits meet the fault that is set, or each of a list in turn.
#[derive(Clone)]
struct Faulty {
    store: SqliteStore,
    faults: Arc<Mutex<Vec<Fault>>>,
    commits: Arc<AtomicU64>,
}

impl Faulty {
    fn new(store: SqliteStore, faults: &[Fault]) -> Self {
        let faults = Arc::new(Mutex::new(faults.to_vec()));
        Self { store, faults, commits: Arc::default() }
    }

    fn set(&self, faults: &[Fault]) {
        *self.faults.lock().unwrap() = faults.to_vec();
    }

    fn next(&self) -> Fault {
        let commit = self.commits.fetch_add(1, Ordering::Relaxed);
        let faults = self.faults.lock().unwrap();
        faults[usize::try_from(commit).unwrap() % faults.len()]
    }
}

fn pulled_plug() -> StoreError {
    StoreError::Unavailable { source: "pulled plug".into() }
}

impl Store for Faulty {
    async fn commit(&self, epoch: Epoch, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let partition = checkpoint.partition;
        let unknown = || StoreError::UnknownOutcome { partition, source: "cut off".into() };
        match self.next() {
            Fault::UnavailableFor(faulty) if faulty == partition => {
                Err(StoreError::Unavailable { source: "bad block".into() })
            }
            Fault::None | Fault::UnavailableFor(_) => self.store.commit(epoch, checkpoint).await,
            Fault::Unavailable | Fault::Away => Err(pulled_plug()),
            Fault::AllLost => Err(unknown()),
            Fault::AnswerLost => {
                self.store.commit(epoch, checkpoint).await?;
                Err(unknown())
            }
            Fault::Fenced => {
                self.store.acquire(partition, "rival").await?;
                self.store.commit(epoch, checkpoint).await
            }
        }
    }

    async fn bind_log(&self, token: &str) -> Result<(), StoreError> {
        self.store.bind_log(token).await
    }

    async fn bind_window(&self, window: SimDuration) -> Result<(), StoreError> {
        self.store.bind_window(window).await
    }

    async fn window(&self) -> Result<Option<SimDuration>, StoreError> {
        self.store.window().await
    }

    async fn put_run(&self, run: &RunRow) -> Result<(), StoreError> {
        let is_away = self.faults.lock().unwrap().contains(&Fault::Away);
        if is_away { Err(pulled_plug()) } else { self.store.put_run(run).await }
    }

    async fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.store.runs().await
    }

    async fn acquire(&self, partition: u16, owner: &str) -> Result<Acquired, StoreError> {
        self.store.acquire(partition, owner).await
    }

    async fn load_rows(
        &self,
        partition: u16,
        keys: &[(RunId, RowKey)],
    ) -> Result<Vec<StoredRow>, StoreError> {
        self.store.load_rows(partition, keys).await
    }

    async fn found(&self, run: RunId) -> Result<Found, StoreError> {
        self.store.found(run).await
    }

    async fn progress(&self, run: RunId) -> Result<Progress, StoreError> {
        self.store.progress(run).await
    }

    async fn summary(&self, run: RunId) -> Result<BTreeMap<SummaryKey, Totals>, StoreError> {
        self.store.summary(run).await
    }

    async fn put_job(&self, run: &JobRun) -> Result<(), StoreError> {
        self.store.put_job(run).await
    }

    async fn jobs(&self) -> Result<Vec<JobStanding>, StoreError> {
        self.store.jobs().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

/// Sum of all lines of a metric.
fn sum(metrics: &str, name: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// Checks that the counters are the ledger's.
async fn check_counters(consumer: &Running, store: &SqliteStore, simulation: &Arc<Simulation>) {
    let window = store.window().await.unwrap().unwrap();
    let expected = ledger(simulation, window, &BTreeMap::new()).events();
    until("the counters are the ledger's", async || {
        let (_, metrics) = consumer.get("/metrics").await;
        sum(&metrics, "roaming_events_processed_total{") == expected
    })
    .await;
}

/// Counts a run through `faults`, and checks that it balances and that the counters are the ledger's.
async fn check(name: &str, faults: &[Fault], kind: &str) {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let store = store(&folder.path().join("run.db")).await;
    let simulation = simulation(name);
    log.load(&simulation).await;
    let consumer = Running::start(&log, Faulty::new(store.clone(), faults)).await;
    // In pieces, so that there are many checkpoints.
    let records = records(&simulation);
    for piece in records.chunks(records.len() / 8 + 1) {
        log.produce(piece).await;
    }
    until_finished(&store, &simulation).await;

    let verification = verify(&store, &find_run(&store, name).await.unwrap()).await.unwrap();
    assert!(verification.holds(), "{verification}");
    assert_eq!(verification.balance.sums().duplicates, 0);
    check_counters(&consumer, &store, &simulation).await;
    let (_, metrics) = consumer.get("/metrics").await;
    assert!(sum(&metrics, &format!("roaming_errors_total{{kind=\"{kind}\"}}")) > 0, "{kind}");
    consumer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_whose_answer_is_lost_are_counted_once() {
    check("answer lost", &[Fault::AnswerLost, Fault::None], "store_unknown_outcome").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_are_lost_are_made_again() {
    check("all lost", &[Fault::AllLost, Fault::None], "store_unknown_outcome").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_owner_acquires_again() {
    check("fenced", &[Fault::Fenced, Fault::None, Fault::None], "store_fenced").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_waited_for_and_readiness_says_so() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let store = store(&folder.path().join("run.db")).await;
    let simulation = simulation("away");
    log.load(&simulation).await;
    let faulty = Faulty::new(store.clone(), &[Fault::Unavailable]);
    let consumer = Running::start(&log, faulty.clone()).await;
    log.produce(&records(&simulation)).await;
    until("readiness says why", async || {
        let (status, ready) = consumer.get("/readyz").await;
        status == 503
            && ready.contains("the store is not available")
            && ready.contains("pulled plug")
    })
    .await;
    let run = simulation.specification().run_id();
    assert!(store.found(run).await.unwrap().rows.is_empty());

    faulty.set(&[Fault::None]);
    until_finished(&store, &simulation).await;
    until("it is ready again", async || consumer.get("/readyz").await.0 == 200).await;
    let verification = verify(&store, &find_run(&store, "away").await.unwrap()).await.unwrap();
    assert!(verification.holds(), "{verification}");
    check_counters(&consumer, &store, &simulation).await;
    consumer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_met_while_the_store_is_away_waits_for_it() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let store = store(&folder.path().join("run.db")).await;
    let simulation = simulation("met while away");
    let faulty = Faulty::new(store.clone(), &[Fault::Away]);
    let consumer = Running::start(&log, faulty.clone()).await;
    log.load(&simulation).await;
    log.produce(&records(&simulation)).await;
    until("readiness says so", async || {
        let (status, ready) = consumer.get("/readyz").await;
        status == 503 && ready.contains("pulled plug")
    })
    .await;

    faulty.set(&[Fault::None]);
    until_finished(&store, &simulation).await;
    until("it is ready again", async || consumer.get("/readyz").await.0 == 200).await;
    consumer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_partition_that_waits_keeps_readiness_while_others_are_stored() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let store = store(&folder.path().join("run.db")).await;
    let simulation = simulation("one waits");
    let run = simulation.specification().run_id();
    log.load(&simulation).await;
    let faulty = Faulty::new(store.clone(), &[Fault::UnavailableFor(0)]);
    let consumer = Running::start(&log, faulty.clone()).await;
    let (waiting, others): (Vec<_>, Vec<_>) =
        records(&simulation).into_iter().partition(|record| record.partition == 0);
    log.produce(&waiting).await;
    let says_so = async || {
        let (status, ready) = consumer.get("/readyz").await;
        status == 503 && ready.contains("partition 0 waits") && ready.contains("bad block")
    };
    until("readiness says so", says_so).await;
    for piece in others.chunks(others.len() / 8 + 1) {
        log.produce(piece).await;
    }
    until("the other lanes are finished", async || {
        assert!(says_so().await, "another partition's checkpoint took it back");
        let lanes = store.progress(run).await.unwrap().lanes;
        lanes.iter().filter(|lane| lane.is_finished()).count() == 6
    })
    .await;

    faulty.set(&[Fault::None]);
    until_finished(&store, &simulation).await;
    until("it is ready again", async || consumer.get("/readyz").await.0 == 200).await;
    consumer.stop().await.unwrap();
}
