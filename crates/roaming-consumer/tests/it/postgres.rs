//! A run counted into PostgreSQL, which is away at first and once more in the middle.

use roaming_consumer::verify::{find_run, verify};
use roaming_store::{PostgresStore, Store};
use roaming_testbed::services::{Postgres, PostgresOptions as Server};

use crate::harness::{Log, Running, records, simulation, until, until_counted, until_finished};

async fn until_it_says_that_the_store_is_away(consumer: &Running) {
    until("readiness says why", async || {
        let (status, ready) = consumer.get("/readyz").await;
        status == 503 && ready.contains("the store is not available") && ready.contains("refused")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_at_start_and_later_is_waited_for() {
    let server = Postgres::start(&Server::default());
    let store = PostgresStore::new(server.create_database().parse().unwrap());
    server.stop();
    let (log, simulation) = (Log::start().await, simulation("postgres"));
    log.load(&simulation).await;
    let consumer = Running::start(&log, store.clone()).await;
    until_it_says_that_the_store_is_away(&consumer).await;

    server.start_again();
    let records = records(&simulation);
    let (first, rest) = records.split_at(records.len() / 2);
    log.produce(first).await;
    until_counted(&store, &simulation, 1).await;
    server.stop();
    log.produce(rest).await;
    until_it_says_that_the_store_is_away(&consumer).await;

    server.start_again();
    until_finished(&store, &simulation).await;
    until("it is ready again", async || consumer.get("/readyz").await.0 == 200).await;
    let verification = verify(&store, &find_run(&store, "postgres").await.unwrap()).await.unwrap();
    assert!(verification.holds(), "{verification}");
    consumer.stop().await.unwrap();
    store.close().await;
}
