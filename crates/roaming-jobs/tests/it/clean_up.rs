//! The rows of runs go that ended long ago, and of no other.

use std::time::Duration;

use roaming_jobs::archive::archive;
use roaming_jobs::clean_up::{Keep, clean_up};
use roaming_jobs::moment::Moment;
use roaming_store::Store;

use crate::sample::{Bench, run};

const WEEK: Keep = Keep { period: Duration::from_hours(7 * 24), until_archived: false };

fn day(number: u64) -> Moment {
    Moment::from_unix_ms(1_795_548_000_000 + number * 86_400_000)
}

async fn rows(bench: &Bench, number: u64) -> usize {
    bench.store.found(run(number)).await.unwrap().rows.len()
}

#[tokio::test]
async fn rows_go_some_days_after_a_job_first_saw_that_their_run_has_ended() {
    let bench = Bench::with_runs().await;
    for number in [0, 7] {
        let done = clean_up(&bench.options(), WEEK, day(number)).await.unwrap();
        assert_eq!(done.to_string(), "runs cleaned up: 0, rows removed: 0");
        assert_eq!((rows(&bench, 1).await, rows(&bench, 2).await), (40, 40));
    }
    let done = clean_up(&bench.options(), WEEK, day(8)).await.unwrap();
    assert_eq!(done.to_string(), "runs cleaned up: 1, rows removed: 40");
    // The second run goes on.
    assert_eq!((rows(&bench, 1).await, rows(&bench, 2).await), (0, 40));
    let done = clean_up(&bench.options(), WEEK, day(100)).await.unwrap();
    assert_eq!(done.to_string(), "runs cleaned up: 0, rows removed: 0");
}

#[tokio::test]
async fn rows_wait_for_the_archive_where_there_is_one() {
    let bench = Bench::with_runs().await;
    let keep = Keep { until_archived: true, ..WEEK };
    for number in [0, 50] {
        clean_up(&bench.options(), keep, day(number)).await.unwrap();
        assert_eq!(rows(&bench, 1).await, 40);
    }
    archive(&bench.options(), &bench.place(), day(51)).await.unwrap();
    clean_up(&bench.options(), keep, day(51)).await.unwrap();
    assert_eq!((rows(&bench, 1).await, rows(&bench, 2).await), (0, 40));
    // Nor is what is gone archived.
    let done = archive(&bench.options(), &bench.place(), day(52)).await.unwrap();
    assert!(done.to_string().starts_with("runs archived: 0, "), "{done}");
}
