//! The schedule does what is due, once.

use std::time::{Duration, Instant};

use roaming_jobs::moment::Moment;
use roaming_jobs::schedule::{Schedule, Worker};
use roaming_jobs::{Done, Job, JobError, recorded};
use roaming_store::{PostgresOptions, Store};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::sample::{Bench, run_row};

const LIMIT: Duration = Duration::from_secs(30);

/// Tells of each job that it is asked for.
struct Telling {
    options: PostgresOptions,
    told: mpsc::UnboundedSender<Job>,
}

impl Worker for Telling {
    fn jobs(&self) -> Vec<Job> {
        vec![Job::Backup, Job::CleanUp]
    }

    async fn work(&self, job: Job) -> Result<Done, JobError> {
        let done = recorded(&self.options, job, async { Ok(Done("a line".to_owned())) }).await;
        self.told.send(job).unwrap();
        done
    }
}

struct Running {
    url: String,
    told: mpsc::UnboundedReceiver<Job>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start(bench: &Bench) -> Running {
    let (told, listener) = mpsc::unbounded_channel();
    let worker = Telling { options: bench.options(), told };
    let listen = "127.0.0.1:0".parse().unwrap();
    let schedule = Schedule::bind(listen, bench.options(), worker).await.unwrap();
    let url = format!("http://{}", schedule.address());
    let stop = CancellationToken::new();
    let run = schedule.run(stop.clone());
    let task = tokio::spawn(async { run.await.unwrap() });
    Running { url, told: listener, stop, task }
}

impl Running {
    /// Waits for the next two jobs.
    async fn next_two(&mut self) -> [Job; 2] {
        let mut next =
            async || tokio::time::timeout(LIMIT, self.told.recv()).await.unwrap().unwrap();
        [next().await, next().await]
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.url);
        let asking = tokio::task::spawn_blocking(move || {
            let agent = ureq::Agent::config_builder().http_status_as_error(false).build();
            let mut answer = ureq::Agent::from(agent).get(&url).call().unwrap();
            (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
        });
        asking.await.unwrap()
    }

    async fn until(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) {
        let began = Instant::now();
        loop {
            let (status, text) = self.get(path).await;
            if wanted(status, &text) {
                return;
            }
            assert!(began.elapsed() < LIMIT, "{path}: {status} {text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_done_once_and_not_again_after_a_restart() {
    let bench = Bench::with_runs().await;
    let mut first = start(&bench).await;
    assert_eq!(first.next_two().await, [Job::Backup, Job::CleanUp]);
    let counted = "roaming_job_runs_total{batch_job=\"backup\",outcome=\"done\"} 1";
    first.until("/metrics", |_, text| text.contains(counted)).await;
    first.until("/readyz", |status, _| status == 200).await;
    first.stop().await;

    let before = Moment::now().unix_ms();
    let mut second = start(&bench).await;
    second.until("/readyz", |status, _| status == 200).await;
    second.stop.cancel();
    second.task.await.unwrap();
    assert_eq!(second.told.recv().await, None);
    assert!(bench.store.jobs().await.unwrap()[0].last.started_ms <= before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_made_yet_is_waited_for() {
    let bench = Bench::empty();
    let mut running = start(&bench).await;
    running.until("/readyz", |status, text| status == 503 && text.contains("no store at")).await;
    bench.store.put_run(&run_row(1, "first")).await.unwrap();
    assert_eq!(running.next_two().await, [Job::Backup, Job::CleanUp]);
    running.until("/readyz", |status, _| status == 200).await;
    running.stop().await;
}
