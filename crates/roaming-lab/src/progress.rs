//! How far a run is, on the terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use roaming_events::SimTime;
use roaming_store::{Progress, RunRow};

/// Pause between two lines where the output is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// A progress bar on a terminal, and a line every few seconds elsewhere.
pub(crate) struct Display {
    bar: ProgressBar,
    began: Instant,
    /// When the last line was written; `None` on a terminal.
    line: Option<Instant>,
}

/// What is shown.
pub(crate) struct Shown<'a> {
    pub(crate) run: &'a RunRow,
    pub(crate) progress: &'a Progress,
    /// Events that the broker acknowledged to this process.
    pub(crate) accepted: u64,
}

impl Display {
    pub(crate) fn new(began: Instant) -> Self {
        const PER_MILLE: u64 = 1000;
        let style = ProgressStyle::with_template("{bar:32.cyan/dim} {percent:>3} %  {msg}")
            .expect("the template is a constant that parses")
            .progress_chars("█▌░");
        let is_terminal = std::io::stderr().is_terminal();
        let target =
            if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(PER_MILLE), target).with_style(style);
        Self { bar, began, line: (!is_terminal).then_some(began) }
    }

    /// Shows where the run is now.
    pub(crate) fn show(&mut self, shown: &Shown<'_>) {
        let counted = counted(shown.progress);
        let finished = shown.progress.lanes.iter().filter(|lane| lane.is_finished()).count();
        let message = format!(
            "{} accepted · {} counted · {}/s · lanes {finished}/{}",
            HumanCount(shown.accepted),
            HumanCount(counted),
            HumanCount(per_second(counted, self.began.elapsed())),
            shown.run.lanes,
        );
        let per_mille = per_mille(shown.run, shown.progress, finished);
        self.bar.set_position(per_mille);
        self.bar.set_message(message.clone());
        if self.line.is_some_and(|last| last.elapsed() >= LINE_INTERVAL) {
            self.line = Some(Instant::now());
            eprintln!("{:>3} %  {message}", per_mille / 10);
        }
    }

    /// Says something above the bar.
    pub(crate) fn say(&self, text: &str) {
        if self.line.is_some() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Returns the events counted in all lanes.
pub(crate) fn counted(progress: &Progress) -> u64 {
    progress.lanes.iter().map(|lane| lane.tally.events).sum()
}

/// Returns how many of `count` fall on a second, rounded down.
pub(crate) fn per_second(count: u64, time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1000) / millis
}

/// Returns how much of the run's simulated time has passed in its slowest lane.
pub(crate) fn per_mille(run: &RunRow, progress: &Progress, finished: usize) -> u64 {
    if finished == usize::from(run.lanes) {
        return 1000;
    }
    let reached: SimTime = progress.watermark.unwrap_or(run.start);
    let whole = run.end.since(run.start).ms().max(1);
    (reached.since(run.start).ms() * 1000 / whole).min(999)
}
