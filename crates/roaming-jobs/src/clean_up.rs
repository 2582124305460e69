//! The rows of runs that ended long ago are removed.

use std::time::Duration;

use roaming_store::{EndedRun, PostgresOptions, Retention};
use tracing::info;

use crate::moment::Moment;
use crate::{Done, JobError};

/// Which rows are kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// For how long after the end of their run they are kept.
    pub period: Duration,
    /// Whether they are kept, however old, until their run is archived.
    pub until_archived: bool,
}

/// Removes the aggregate rows of all runs that have ended, but for those that are kept. What makes an event that
/// comes again a duplicate stays: runs, lanes, watermarks and offsets.
///
/// # Errors
/// Fails where the store cannot be read or written. Each run is a transaction of its own: those before are
/// cleaned up, and the next attempt goes on with the others.
pub async fn clean_up(
    options: &PostgresOptions,
    keep: Keep,
    now: Moment,
) -> Result<Done, JobError> {
    let mut retention = Retention::open(options).await?;
    let ended = retention.ended(now.unix_ms()).await?;
    let (mut runs, mut rows) = (0_u64, 0);
    for run in ended.iter().filter(|run| keep.lets_go(run, now)) {
        let Some(removed) = retention.clean_up(run, now.unix_ms()).await? else { continue };
        info!(name = run.name, run = %run.run, rows = removed, "run cleaned up");
        runs += 1;
        rows += removed;
    }
    Ok(Done(format!("runs cleaned up: {runs}, rows removed: {rows}")))
}

impl Keep {
    fn lets_go(self, run: &EndedRun, now: Moment) -> bool {
        let is_old = now.since(Moment::from_unix_ms(run.ended_ms)) > self.period;
        let is_kept = self.until_archived && run.archived_ms.is_none();
        is_old && !is_kept && run.cleaned_ms.is_none()
    }
}

#[cfg(test)]
mod tests {
    use roaming_events::RunId;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const KEEP: Keep = Keep { period: Duration::from_hours(48), until_archived: false };

    fn run() -> EndedRun {
        EndedRun {
            run: RunId::from_hash(4),
            name: "demo".to_owned(),
            ended_ms: 1_795_548_000_000,
            archived_ms: None,
            cleaned_ms: None,
        }
    }

    #[track_caller]
    fn check(run: &EndedRun, after: Duration, expect: bool) {
        let now = Moment::from_unix_ms(run.ended_ms + after.as_millis() as u64);
        assert_eq!(KEEP.lets_go(run, now), expect, "{run:?} after {after:?}");
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
        assert!(!KEEP.lets_go(&run, Moment::from_unix_ms(run.ended_ms - 1)));
    }

    #[test]
    fn rows_may_have_to_wait_for_the_archive() {
        let (keep, run) = (Keep { until_archived: true, ..KEEP }, run());
        let now = Moment::from_unix_ms(run.ended_ms + 1_000_000_000_000);
        assert!(!keep.lets_go(&run, now));
        let archived = EndedRun { archived_ms: Some(run.ended_ms), ..run };
        assert!(keep.lets_go(&archived, now));
        assert!(!keep.lets_go(&archived, Moment::from_unix_ms(archived.ended_ms)));
    }
}
