//! The rows of runs that ended long ago are removed.

use std::time::Duration;

use roaming_store::{EndedRun, PostgresOptions, Retention};
use tracing::info;

use crate::moment::Moment;
use crate::{Done, JobError};

/// Removes the aggregate rows of all runs that ended more than `keep` before `now`. What makes an event that
/// comes again a duplicate stays: runs, lanes, watermarks and offsets.
///
/// # Errors
/// Fails where the store cannot be read or written. Each run is a transaction of its own: those before are
/// cleaned up, and the next attempt goes on with the others.
pub async fn clean_up(
    options: &PostgresOptions,
    keep: Duration,
    now: Moment,
) -> Result<Done, JobError> {
    let mut retention = Retention::open(options).await?;
    let ended = retention.ended(now.unix_ms()).await?;
    let (mut runs, mut rows) = (0_u64, 0);
    for run in ended.iter().filter(|run| is_removed(run, keep, now)) {
        let Some(removed) = retention.clean_up(run, now.unix_ms()).await? else { continue };
        info!(name = run.name, run = %run.run, rows = removed, "run cleaned up");
        runs += 1;
        rows += removed;
    }
    Ok(Done(format!("runs cleaned up: {runs}, rows removed: {rows}")))
}

fn is_removed(run: &EndedRun, keep: Duration, now: Moment) -> bool {
    run.cleaned_ms.is_none() && now.since(Moment::from_unix_ms(run.ended_ms)) > keep
}

#[cfg(test)]
mod tests {
    use roaming_events::RunId;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn run() -> EndedRun {
        EndedRun {
            run: RunId::from_hash(4),
            name: "demo".to_owned(),
            ended_ms: 1_795_548_000_000,
            cleaned_ms: None,
        }
    }

    #[track_caller]
    fn check(run: &EndedRun, after: Duration, expect: bool) {
        let now = Moment::from_unix_ms(run.ended_ms + after.as_millis() as u64);
        assert_eq!(is_removed(run, 2 * DAY, now), expect, "{run:?} after {after:?}");
    }

    #[test]
    fn rows_are_removed_that_are_older_and_only_once() {
        let run = run();
        check(&run, 2 * DAY, false);
        check(&run, 2 * DAY + Duration::from_millis(1), true);
        check(&EndedRun { cleaned_ms: Some(1), ..run }, 3 * DAY, false);
    }

    #[test]
    fn a_clock_that_was_set_back_removes_nothing() {
        let run = run();
        assert!(!is_removed(&run, DAY, Moment::from_unix_ms(run.ended_ms - 1)));
    }
}
