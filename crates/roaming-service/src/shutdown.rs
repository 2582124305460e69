//! How a daemon's tasks begin, are asked to stop, and are waited for.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::telemetry::chain;

/// What a shell adds to a signal's number for the status of the process that it ended.
const STATUS_OF_SIGNALS: i32 = 128;

/// Cancels `stop` at SIGTERM or SIGINT; a second signal ends the process at once, with the status that
/// shells give to it (130 for SIGINT, 143 for SIGTERM).
///
/// It listens on a thread of its own for as long as the process lives: also where the daemon's runtime
/// waits for a task that hangs.
///
/// # Errors
/// Fails where the signal handlers cannot be installed, or the system gives no thread.
pub fn stop_on_signal(stop: CancellationToken) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    drop(entered);
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => ("SIGTERM", SignalKind::terminate()),
            _ = interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
        }
    };
    let listen = async move {
        let (signal, _) = next().await;
        info!(signal, "stopping; a second signal ends the process at once");
        stop.cancel();
        let (signal, kind) = next().await;
        warn!(signal, "ended before everything was at rest");
        #[expect(clippy::disallowed_methods, reason = "main hangs, or whoever asks would wait")]
        std::process::exit(STATUS_OF_SIGNALS + kind.as_raw_value())
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(listen))?;
    Ok(())
}

/// The tasks of one daemon, whose errors are of type `E`.
///
/// A task that fails or panics stops all others: half a daemon is worse than none.
pub struct Tasks<E> {
    stop: CancellationToken,
    tracker: TaskTracker,
    shared: Arc<Mutex<Shared<E>>>,
}

struct Shared<E> {
    next: u64,
    /// Tasks that have not ended, to say which one hangs.
    running: BTreeMap<u64, &'static str>,
    /// The first failure; later ones follow from it and are only logged.
    failure: Option<TaskFailure<E>>,
}

impl<E: Error + Send + 'static> Tasks<E> {
    /// Makes an empty set of tasks that ends when `stop` is cancelled.
    pub fn new(stop: CancellationToken) -> Self {
        let shared = Shared { next: 0, running: BTreeMap::new(), failure: None };
        Self { stop, tracker: TaskTracker::new(), shared: Arc::new(Mutex::new(shared)) }
    }

    /// Returns the token that asks every task to stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task of the runtime.
    pub fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let handle = tokio::spawn(task);
        self.watch(name, async move {
            match handle.await {
                Ok(result) => result.map_err(|error| Cause::Error(Box::new(error))),
                Err(_) => Err(Cause::Panic),
            }
        });
    }

    /// Starts a task with a thread of its own: for work that computes without a break, or that blocks.
    ///
    /// # Errors
    /// Fails where the system gives no thread.
    pub fn spawn_thread(
        &self,
        name: &'static str,
        task: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> io::Result<()> {
        let (done, result) = oneshot::channel();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Nobody listens only where the runtime is gone, and then nobody asks.
            let _ = done.send(task());
        })?;
        self.watch(name, async move {
            match result.await {
                Ok(result) => result.map_err(|error| Cause::Error(Box::new(error))),
                // A thread that panics drops its end of the channel.
                Err(_) => Err(Cause::Panic),
            }
        });
        Ok(())
    }

    fn watch(
        &self,
        name: &'static str,
        end: impl Future<Output = Result<(), Cause<E>>> + Send + 'static,
    ) {
        let shared = Arc::clone(&self.shared);
        let stop = self.stop.clone();
        let id = {
            let mut shared = lock(&shared);
            shared.next += 1;
            let id = shared.next;
            shared.running.insert(id, name);
            id
        };
        self.tracker.spawn(async move {
            let result = end.await;
            let mut shared = lock(&shared);
            shared.running.remove(&id);
            if let Err(cause) = result {
                let failure = TaskFailure { task: name, cause };
                error!(task = name, error = chain(&failure), "task failed, stopping");
                shared.failure.get_or_insert(failure);
                stop.cancel();
            }
        });
    }

    /// Waits until a stop is asked for, and then for every task to end, at most for `grace`.
    ///
    /// # Errors
    /// Fails where a task failed, or did not end in time.
    pub async fn wait(self, grace: Duration) -> Result<(), ShutdownError<E>> {
        self.tracker.close();
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.tracker.wait() => {}
        }
        let in_time = tokio::time::timeout(grace, self.tracker.wait()).await.is_ok();
        let mut shared = lock(&self.shared);
        if let Some(failure) = shared.failure.take() {
            return Err(ShutdownError::Failed(failure));
        }
        if in_time {
            return Ok(());
        }
        Err(ShutdownError::Hung { tasks: shared.running.values().copied().collect(), grace })
    }
}

fn lock<E>(shared: &Mutex<Shared<E>>) -> MutexGuard<'_, Shared<E>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task that ended as it must not.
#[derive(Debug)]
pub struct TaskFailure<E> {
    /// The task's name.
    pub task: &'static str,
    cause: Cause<E>,
}

#[derive(Debug)]
enum Cause<E> {
    // In a box, because it travels inside other errors.
    Error(Box<E>),
    Panic,
}

impl<E> TaskFailure<E> {
    /// Returns the task's error; `None` where it panicked.
    pub fn into_error(self) -> Option<E> {
        match self.cause {
            Cause::Error(error) => Some(*error),
            Cause::Panic => None,
        }
    }
}

impl<E> fmt::Display for TaskFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Error(_) => write!(f, "task `{}` failed", self.task),
            Cause::Panic => {
                write!(f, "task `{}` panicked; its message is in the log above", self.task)
            }
        }
    }
}

impl<E: Error + 'static> Error for TaskFailure<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Cause::Error(error) => Some(&**error),
            Cause::Panic => None,
        }
    }
}

/// Why a daemon did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError<E: Error + 'static> {
    /// A task failed.
    #[error(transparent)]
    Failed(TaskFailure<E>),
    /// Tasks did not end within the grace period.
    #[error("still running after a grace period of {grace:?}: {}", tasks.join(", "))]
    Hung {
        /// Their names.
        tasks: Vec<&'static str>,
        /// The grace period.
        grace: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("broken")]
    struct Broken;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn tasks_that_listen_end_in_time() {
        let tasks = Tasks::<Broken>::new(CancellationToken::new());
        let stop = tasks.stop_token();
        let heard = stop.clone();
        tasks.spawn("listener", async move {
            heard.cancelled().await;
            Ok(())
        });
        stop.cancel();
        tasks.wait(LONG).await.expect("a clean end");
    }

    #[tokio::test]
    async fn a_task_that_hangs_is_named() {
        let tasks = Tasks::<Broken>::new(CancellationToken::new());
        tasks.spawn("deaf", std::future::pending());
        tasks.stop_token().cancel();
        let error = tasks.wait(Duration::from_millis(1)).await.expect_err("hangs");
        assert_eq!(error.to_string(), "still running after a grace period of 1ms: deaf");
    }

    #[tokio::test]
    async fn a_failure_or_a_panic_stops_the_others() {
        for panics in [false, true] {
            let tasks = Tasks::<Broken>::new(CancellationToken::new());
            let stop = tasks.stop_token();
            tasks.spawn("listener", async move {
                stop.cancelled().await;
                Ok(())
            });
            tasks
                .spawn_thread("worker", move || {
                    assert!(!panics, "on purpose");
                    Err(Broken)
                })
                .expect("a thread");
            let error = tasks.wait(LONG).await.expect_err("failed");
            let ShutdownError::Failed(failure) = error else { panic!("hung: {error}") };
            assert_eq!(failure.task, "worker");
            assert_eq!(failure.into_error().is_none(), panics);
        }
    }
}
