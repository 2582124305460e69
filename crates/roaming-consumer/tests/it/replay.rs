//! A log that is counted again gives the same store.

use roaming_consumer::ConsumerError;
use roaming_consumer::replay::{ReplayFrom, Replayed, replay};
use roaming_store::{SqliteStore, Store};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::harness::{Log, Running, config, records, simulation, store, until_finished};

/// Everything in a store that a replay must make again, as text. What says who wrote it, and when, is not.
async fn dump(store: &SqliteStore) -> String {
    let mut dump = Vec::new();
    for run in store.runs().await.unwrap() {
        let found = store.found(run.run).await.unwrap();
        let watermark = store.progress(run.run).await.unwrap().watermark;
        dump.push(format!("{run:?}\n{watermark:?}\n{:?}\n{:?}", found.lanes, found.rows));
    }
    dump.join("\n")
}

async fn replayed(
    log: &Log,
    store: &SqliteStore,
    from: ReplayFrom,
    stop: CancellationToken,
) -> Result<Replayed, ConsumerError> {
    let stop_soon = stop.clone();
    let stop_half_way = move |so_far: Replayed| {
        if so_far.records > 0 {
            stop_soon.cancel();
        }
    };
    replay(config(log), store.clone(), from, stop, stop_half_way).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replays_and_the_consumer_before_them_leave_the_same_rows() {
    let (log, folder) = (Log::start().await, TempDir::new().unwrap());
    let simulation = simulation("again");
    log.load(&simulation).await;
    let mut records = records(&simulation);
    records[20].payload = b"not an event".to_vec();
    let repeated = records[10..300].to_vec();
    log.produce(&repeated).await;
    log.produce(&records).await;
    let wanted = (repeated.len() + records.len()) as u64;

    let counted = store(&folder.path().join("counted.db")).await;
    let consumer = Running::start(&log, counted.clone()).await;
    until_finished(&counted, &simulation).await;
    consumer.stop().await.unwrap();
    let committed = log.committed();

    let (one, two) =
        (store(&folder.path().join("one.db")).await, store(&folder.path().join("two.db")).await);
    let whole =
        replay(config(&log), one.clone(), ReplayFrom::Beginning, CancellationToken::new(), |_| {});
    let whole = whole.await.unwrap();
    assert_eq!((whole.records, whole.records_wanted), (wanted, wanted));
    // The other in two parts, if it is stopped before its end.
    replayed(&log, &two, ReplayFrom::Beginning, CancellationToken::new()).await.unwrap();
    let rest =
        replay(config(&log), two.clone(), ReplayFrom::Stored, CancellationToken::new(), |_| {});
    let rest = rest.await.unwrap();
    assert_eq!(rest.records, wanted);

    let (first, second) = (dump(&one).await, dump(&two).await);
    assert!(first == second, "{first}\n{second}");
    assert!(first == dump(&counted).await, "the consumer's store differs");
    assert_eq!(log.committed(), committed, "the group heard of the replays");

    let error = replayed(&log, &two, ReplayFrom::Beginning, CancellationToken::new()).await;
    assert!(matches!(error, Err(ConsumerError::NotFresh { run }) if run == "again"));
    assert!(second == dump(&two).await, "a store that is not fresh was written to");
}
