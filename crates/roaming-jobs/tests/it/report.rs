//! The report on a week is a golden file.

use std::fs;
use std::time::Duration;

use roaming_events::Sequence;
use roaming_jobs::archive::archive;
use roaming_jobs::clean_up::{Keep, clean_up};
use roaming_jobs::moment::Moment;
use roaming_jobs::report::report;
use roaming_store::{JobOutcome, JobRun, RunRow, Store};

use crate::sample::{Bench, End, lane, run_row};

/// Monday 2026-11-23T00:00:00Z.
const MONDAY_MS: u64 = 1_795_392_000_000;
const HOUR_MS: u64 = 3_600_000;

fn hour(number: u64) -> Moment {
    Moment::from_unix_ms(MONDAY_MS + number * HOUR_MS)
}

async fn put_job(bench: &Bench, job: &str, started: Moment, outcome: JobOutcome, detail: &str) {
    let run = JobRun {
        job: job.to_owned(),
        started_ms: started.unix_ms(),
        ended_ms: started.unix_ms() + 1000,
        outcome,
        detail: detail.to_owned(),
    };
    bench.store.put_job(&run).await.unwrap();
}

/// A week in which three runs ended, and one just after it.
async fn week() -> Bench {
    let bench = Bench::with_runs().await;
    let keep = Keep { period: Duration::from_hours(24), until_archived: false };
    for number in [10, 50] {
        clean_up(&bench.options(), keep, hour(number)).await.unwrap();
    }
    let mut broken = lane(2, 0, End::Open);
    broken.gaps = vec![(Sequence::try_new(3).unwrap(), Sequence::try_new(5).unwrap())];
    broken.rejected = 1;
    bench.count(1, &[broken], 40).await;
    let stopped = RunRow { state: "stopped".to_owned(), ..run_row(2, "") };
    bench.store.put_run(&stopped).await.unwrap();
    bench.store.put_run(&run_row(3, "a | b")).await.unwrap();
    bench.count(0, &[lane(3, 0, End::Reached), lane(3, 1, End::Reached)], 7).await;
    archive(&bench.options(), &bench.place(), hour(80)).await.unwrap();
    bench.store.put_run(&run_row(4, "later")).await.unwrap();
    bench.count(0, &[lane(4, 0, End::Reached), lane(4, 1, End::Reached)], 7).await;

    let (done, failed) = (JobOutcome::Done, JobOutcome::Failed);
    put_job(&bench, "backup", Moment::from_unix_ms(MONDAY_MS - 1), failed, "the week before").await;
    put_job(&bench, "backup", hour(0), done, "").await;
    put_job(&bench, "backup", hour(24), failed, "could not write s3://a/b: 503\n| try again").await;
    put_job(&bench, "backup", hour(25), done, "").await;
    put_job(&bench, "clean-up", hour(26), done, "").await;
    put_job(&bench, "clean-up", hour(7 * 24), failed, "the week after").await;
    bench
}

#[tokio::test]
async fn a_week_is_told_as_in_the_golden_file() {
    let bench = week().await;
    for number in [7 * 24, 14 * 24 - 1] {
        let done = report(&bench.options(), &bench.place(), hour(number)).await.unwrap();
        assert!(done.to_string().starts_with("runs: 3, runs of jobs: 4, in file://"), "{done}");
        let told = fs::read_to_string(bench.path("report-2026-W48.md")).unwrap();
        assert_eq!(told, include_str!("../golden/report-2026-W48.md"), "{told}");
    }
}

#[tokio::test]
async fn a_week_in_which_nothing_was_says_so() {
    let bench = week().await;
    report(&bench.options(), &bench.place(), hour(0)).await.unwrap();
    let told = fs::read_to_string(bench.path("report-2026-W47.md")).unwrap();
    for says in ["## Runs that ended\n\nNone.\n", "No events.\n", "| backup | 0 | 1 |\n"] {
        assert!(told.contains(says), "{told}");
    }
}
