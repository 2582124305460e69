//! What came of many rounds.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::kind::Kind;
use super::loss::{Loss, Told};
use super::round::Proof;
use super::stage::RECOVERY_LIMIT;

/// Faults and proofs, added up.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    recoveries: BTreeMap<Kind, Vec<Duration>>,
    losses: BTreeMap<Loss, Vec<Told>>,
    runs: u64,
    failed: u64,
    lost: u64,
    double: u64,
    events: u64,
    repeated: u64,
}

impl Tally {
    /// Counts a fault and how long recovery took.
    pub fn recovered(&mut self, kind: Kind, took: Duration) {
        self.recoveries.entry(kind).or_default().push(took);
    }

    /// Counts a run that was proved.
    pub fn proved(&mut self, proof: &Proof) {
        self.runs += 1;
        self.lost += proof.lost();
        self.double += proof.double();
        self.events += proof.expected;
        self.repeated += proof.repeated;
    }

    /// Counts a loss that was told exactly.
    pub fn told(&mut self, loss: Loss, told: Told) {
        self.losses.entry(loss).or_default().push(told);
    }

    /// Counts a round that failed.
    pub fn failed(&mut self) {
        self.failed += 1;
    }

    /// Whether nothing failed, was lost or counted twice, and every goal was kept.
    pub fn holds(&self) -> bool {
        let is_kept = |(kind, recoveries): (&Kind, &Vec<Duration>)| {
            recoveries.iter().all(|recovery| *recovery <= limit(*kind))
        };
        self.runs + self.losses.len() as u64 > 0
            && self.failed + self.lost + self.double == 0
            && self.recoveries.iter().all(is_kept)
    }
}

fn limit(kind: Kind) -> Duration {
    kind.goal().unwrap_or(RECOVERY_LIMIT)
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<27} {:>8}  {:>9} {:>7} {:>7}  {:>7}",
            "fault", "injected", "s shortest", "median", "longest", "goal"
        )?;
        for (kind, recoveries) in &self.recoveries {
            let mut sorted = recoveries.clone();
            sorted.sort_unstable();
            let median = sorted[sorted.len() / 2].as_secs_f64();
            let (shortest, longest) = (sorted[0], sorted[sorted.len() - 1]);
            let missed = if longest > limit(*kind) { "  MISSED" } else { "" };
            let goal = kind.goal().map_or("-".to_owned(), |goal| goal.as_secs().to_string());
            writeln!(
                f,
                "{kind:<27} {:>8}  {:>10.1} {median:>7.1} {:>7.1}  {goal:>7}{missed}",
                sorted.len(),
                shortest.as_secs_f64(),
                longest.as_secs_f64()
            )?;
        }
        for (loss, told) in &self.losses {
            let missing: u64 = told.iter().map(|told| told.missing).sum();
            writeln!(
                f,
                "{loss:<27} {:>8}  each told exactly, {missing} events altogether, and by the status",
                told.len()
            )?;
        }
        let faults: usize = self.recoveries.values().map(Vec::len).sum();
        write!(
            f,
            "{faults} faults in {} runs of {} events: lost {}, double {} ({} sent again and dropped); {} rounds failed",
            self.runs, self.events, self.lost, self.double, self.repeated, self.failed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(kind: Kind, recoveries_s: &[u64]) -> Tally {
        let mut tally = Tally { runs: 1, ..Tally::default() };
        for s in recoveries_s {
            tally.recovered(kind, Duration::from_secs(*s));
        }
        tally
    }

    #[test]
    fn a_missed_goal_is_shown_and_does_not_hold() {
        assert!(tally(Kind::ConsumerKilled, &[3, 9]).holds());
        let missed = tally(Kind::ConsumerKilled, &[3, 10, 5]);
        assert!(!missed.holds());
        let text = missed.to_string();
        assert!(text.contains("3         3.0     5.0    10.0        9  MISSED"), "{text}");
    }

    #[test]
    fn what_is_lost_does_not_hold() {
        let proof = Proof {
            expected: 10,
            on_topic: 10,
            counted: 10,
            repeated: 2,
            dropped: 2,
            took: Duration::ZERO,
        };
        let holds = |proof: &Proof| {
            let mut tally = Tally::default();
            tally.proved(proof);
            tally.holds()
        };
        assert!(holds(&proof));
        assert!(!holds(&Proof { counted: 9, ..proof.clone() }));
        assert!(!holds(&Proof { on_topic: 9, ..proof.clone() }));
        assert!(!holds(&Proof { counted: 11, ..proof.clone() }));
        assert!(!holds(&Proof { dropped: 1, ..proof }));
        assert!(!Tally::default().holds());
    }
}
