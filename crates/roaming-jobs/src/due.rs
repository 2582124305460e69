//! When a job is due: a pure function of the time, and of what the store remembers of it.

use std::time::Duration;

use roaming_store::{JobOutcome, JobStanding};

use crate::Job;
use crate::moment::Moment;
use crate::week::Week;

const DAY: Duration = Duration::from_hours(24);

/// Time until a job that failed is tried again.
const RETRY: Duration = Duration::from_mins(15);

/// Jobs that are done by the clock, in the order in which they are done where several are due: what is removed
/// is in a backup, and archived, before.
pub(crate) const SCHEDULED: [Job; 4] = [Job::Backup, Job::Archive, Job::CleanUp, Job::Report];

/// Returns those of `jobs` that are due. Each is done once a day, counted from the start of its last run, whoever
/// started it, and a report once in each week; one that never ran is due at once.
pub(crate) fn due(jobs: &[Job], standings: &[JobStanding], now: Moment) -> Vec<Job> {
    jobs.iter().copied().filter(|job| is_due(*job, standings, now)).collect()
}

fn is_due(job: Job, standings: &[JobStanding], now: Moment) -> bool {
    let Some(JobStanding { last, .. }) =
        standings.iter().find(|standing| standing.last.job == job.as_str())
    else {
        return true;
    };
    let [started, ended] = [last.started_ms, last.ended_ms].map(Moment::from_unix_ms);
    match last.outcome {
        // A clock that was set back must not stop the jobs until it has caught up.
        _ if started > now => true,
        JobOutcome::Failed => now.since(ended) >= RETRY,
        JobOutcome::Done if job == Job::Report => Week::of(started) != Week::of(now),
        JobOutcome::Done => now.since(started) >= DAY,
    }
}

#[cfg(test)]
mod tests {
    use roaming_store::JobRun;

    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    /// 2026-11-29T20:00:00Z.
    const SUNDAY_MS: u64 = 1_795_982_400_000;

    #[track_caller]
    fn check(job: Job, outcome: JobOutcome, after_ms: u64, expect: bool) {
        let last = JobRun {
            job: job.to_string(),
            started_ms: SUNDAY_MS,
            ended_ms: SUNDAY_MS + HOUR_MS,
            outcome,
            detail: String::new(),
        };
        let standing = JobStanding { last, succeeded_ms: None };
        let now = Moment::from_unix_ms(SUNDAY_MS + after_ms);
        assert_eq!(is_due(job, &[standing], now), expect, "{job} {outcome} after {after_ms} ms");
    }

    #[test]
    fn a_job_is_done_once_a_day_and_again_soon_where_it_failed() {
        check(Job::Backup, JobOutcome::Done, 24 * HOUR_MS - 1, false);
        check(Job::Backup, JobOutcome::Done, 24 * HOUR_MS, true);
        check(Job::Backup, JobOutcome::Failed, HOUR_MS + HOUR_MS / 4 - 1, false);
        check(Job::Backup, JobOutcome::Failed, HOUR_MS + HOUR_MS / 4, true);
    }

    #[test]
    fn a_report_is_made_in_each_week() {
        check(Job::Report, JobOutcome::Done, 4 * HOUR_MS - 1, false);
        check(Job::Report, JobOutcome::Done, 4 * HOUR_MS, true);
        check(Job::Report, JobOutcome::Failed, HOUR_MS + HOUR_MS / 4, true);
    }

    #[test]
    fn a_job_that_never_ran_is_due_at_once() {
        assert_eq!(due(&SCHEDULED, &[], Moment::from_unix_ms(0)), SCHEDULED);
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nothing() {
        let last = JobRun {
            job: "backup".to_owned(),
            started_ms: 9,
            ended_ms: 9,
            outcome: JobOutcome::Done,
            detail: String::new(),
        };
        let standing = JobStanding { last, succeeded_ms: None };
        assert!(is_due(Job::Backup, &[standing], Moment::from_unix_ms(8)));
    }
}
