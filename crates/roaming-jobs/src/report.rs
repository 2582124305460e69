//! The report on a week, in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use roaming_events::{Grouped, Outcome, PlmnId, Totals};
use roaming_store::{
    EndedRun, JobOutcome, JobRun, NetworksKey, PostgresOptions, Retention, StoreError,
    StoreSnapshot,
};

use crate::moment::Moment;
use crate::place::Place;
use crate::week::Week;
use crate::{Done, JobError};

/// Writes the report on the last whole week before `now` into `to`. The same store gives the same report.
///
/// # Errors
/// Fails where the store cannot be read or the place not be written.
pub async fn report(options: &PostgresOptions, to: &Place, now: Moment) -> Result<Done, JobError> {
    Retention::open(options).await?.ended(now.unix_ms()).await?;
    let mut snapshot = StoreSnapshot::take(options).await?;
    let report = Report::read(&mut snapshot, Week::of(now).before()).await?;
    let name = format!("report-{}.md", report.week);
    to.put(&name, report.to_markdown()).await?;
    let (runs, jobs) = (report.runs.len(), report.jobs.len());
    Ok(Done(format!("runs: {runs}, runs of jobs: {jobs}, in {to}/{name}")))
}

/// What is told of a week.
struct Report {
    week: Week,
    /// Runs that ended in it, the earliest first.
    runs: Vec<RunLine>,
    networks: BTreeMap<(PlmnId, PlmnId), NetworksLine>,
    /// Runs of jobs that began in it, the earliest first.
    jobs: Vec<JobRun>,
}

/// A run, with sums over its lanes.
struct RunLine {
    run: EndedRun,
    events: u64,
    duplicates: u64,
    missing: u64,
    rejected: u64,
}

/// A home and a visited network, of all runs together.
#[derive(Default)]
struct NetworksLine {
    totals: Totals,
    successful: u64,
}

impl Report {
    async fn read(snapshot: &mut StoreSnapshot, week: Week) -> Result<Self, StoreError> {
        let span = week.span();
        let (mut runs, mut networks) = (Vec::new(), BTreeMap::new());
        for run in snapshot.ended().await? {
            if span.contains(&Moment::from_unix_ms(run.ended_ms)) {
                add(&mut networks, snapshot.networks(run.run).await?);
                runs.push(RunLine::read(snapshot, run).await?);
            }
        }
        let jobs = snapshot.job_runs(span.start.unix_ms()..span.end.unix_ms()).await?;
        Ok(Self { week, runs, networks, jobs })
    }

    fn to_markdown(&self) -> String {
        let span = self.week.span();
        let mut text = format!("# Roaming, week {}\n\n", self.week);
        let _ = writeln!(text, "From {} to {}, wall time.", span.start, span.end);
        self.write_runs(&mut text);
        self.write_networks(&mut text);
        self.write_jobs(&mut text);
        text
    }

    fn write_runs(&self, text: &mut String) {
        text.push_str("\n## Runs that ended\n\n");
        if self.runs.is_empty() {
            text.push_str("None.\n");
            return;
        }
        text.push_str(
            "| run | id | seen at its end | events | duplicates dropped | missing | rejected |\n",
        );
        text.push_str("| --- | --- | --- | ---: | ---: | ---: | ---: |\n");
        for line in &self.runs {
            let (name, run) = (cell(&line.run.name), line.run.run);
            let ended = Moment::from_unix_ms(line.run.ended_ms);
            let _ = write!(text, "| {name} | {run} | {ended} |");
            for sum in [line.events, line.duplicates, line.missing, line.rejected] {
                let _ = write!(text, " {} |", Grouped(sum));
            }
            text.push('\n');
        }
    }

    fn write_networks(&self, text: &mut String) {
        text.push_str("\n## Networks\n\n");
        for line in &self.runs {
            if let Some(ms) = line.run.cleaned_ms {
                let (name, at) = (cell(&line.run.name), Moment::from_unix_ms(ms));
                let _ = writeln!(text, "Without run {name}, whose rows were cleaned up at {at}.\n");
            }
        }
        if self.networks.is_empty() {
            text.push_str("No events.\n");
            return;
        }
        text.push_str("Events of these runs. A latency is the upper bound of its bucket; success is rounded down.\n\n");
        text.push_str("| home | visited | events | success | latency p50 | latency p95 |\n");
        text.push_str("| --- | --- | ---: | ---: | ---: | ---: |\n");
        for ((home, visited), line) in &self.networks {
            let (events, success) = (Grouped(line.totals.events), line.success());
            let [p50, p95] = [50, 95].map(|percent| latency(&line.totals, percent));
            let _ = writeln!(text, "| {home} | {visited} | {events} | {success} | {p50} | {p95} |");
        }
    }

    fn write_jobs(&self, text: &mut String) {
        text.push_str("\n## Batch jobs\n\n");
        if self.jobs.is_empty() {
            text.push_str("None ran.\n");
            return;
        }
        let mut counts: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
        for run in &self.jobs {
            let [done, failed] = counts.entry(&run.job).or_default();
            match run.outcome {
                JobOutcome::Done => *done += 1,
                JobOutcome::Failed => *failed += 1,
            }
        }
        text.push_str("| job | done | failed |\n| --- | ---: | ---: |\n");
        for (job, [done, failed]) in counts {
            let _ = writeln!(text, "| {} | {done} | {failed} |", cell(job));
        }
        let failures = || self.jobs.iter().filter(|run| run.outcome == JobOutcome::Failed);
        if failures().next().is_none() {
            return;
        }
        text.push_str("\n| failed | began | why |\n| --- | --- | --- |\n");
        for run in failures() {
            let (job, began) = (cell(&run.job), Moment::from_unix_ms(run.started_ms));
            let _ = writeln!(text, "| {job} | {began} | {} |", cell(&run.detail));
        }
    }
}

impl RunLine {
    async fn read(snapshot: &mut StoreSnapshot, run: EndedRun) -> Result<Self, StoreError> {
        let mut line = Self { run, events: 0, duplicates: 0, missing: 0, rejected: 0 };
        for lane in snapshot.lanes(line.run.run).await? {
            line.events += lane.tally.events;
            line.duplicates += lane.duplicates;
            line.missing += lane.missing();
            line.rejected += lane.rejected;
        }
        Ok(line)
    }
}

impl NetworksLine {
    /// Returns the share of successful events in per cent, to one decimal.
    fn success(&self) -> String {
        match (self.successful * 1000).checked_div(self.totals.events) {
            Some(per_mille) => format!("{}.{} %", per_mille / 10, per_mille % 10),
            None => "-".to_owned(),
        }
    }
}

fn add(
    networks: &mut BTreeMap<(PlmnId, PlmnId), NetworksLine>,
    of_run: BTreeMap<NetworksKey, Totals>,
) {
    for (key, totals) in of_run {
        let line = networks.entry((key.home_plmn, key.visited_plmn)).or_default();
        line.totals.merge(&totals);
        if key.outcome == Outcome::Success {
            line.successful += totals.events;
        }
    }
}

fn latency(totals: &Totals, percent: u64) -> String {
    match totals.latency_percentile_us(percent) {
        Some(bound) => format!("{} ms", bound / 1000),
        None => "above".to_owned(),
    }
}

/// Returns a text as it may stand in a cell: names and messages are other people's.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '|' | '<' | '`' | '*' | '_' | '[' => cell.extend(['\\', character]),
            character if character.is_control() => cell.push(' '),
            character => cell.push(character),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_in_its_cell() {
        assert_eq!(cell("a | b\nc"), "a \\| b c");
        assert_eq!(cell("<b>_x_"), "\\<b>\\_x\\_");
    }

    #[test]
    fn success_is_whole_only_where_all_succeeded() {
        let of = |successful, events| {
            NetworksLine { totals: Totals { events, ..Totals::default() }, successful }.success()
        };
        assert_eq!(of(9_999, 10_000), "99.9 %");
        assert_eq!(of(10_000, 10_000), "100.0 %");
        assert_eq!(of(1, 3), "33.3 %");
    }
}
